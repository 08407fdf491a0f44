"""The files of control groups as numbers."""

from __future__ import annotations

from carboy.formats import cgroupstat


def test_flat_and_single_numbers() -> None:
    assert cgroupstat.flat("cache 12\nrss 0\nbad -1\n\nodd\n") == {"cache": 12, "rss": 0}
    assert cgroupstat.number("17\n") == 17
    assert cgroupstat.number("max\n") == cgroupstat.UNLIMITED
    assert cgroupstat.number("") == 0
    assert cgroupstat.numbers("1 2 3\n") == [1, 2, 3]


def test_input_and_output_of_both_versions() -> None:
    v1 = "8:0 Read 100\n8:0 Write 7\nTotal 107\nnonsense\n8:x Read 1\n"
    assert list(cgroupstat.blkio(v1)) == [(8, 0, "Read", 100), (8, 0, "Write", 7)]
    v2 = "254:16 rbytes=1459200 wbytes=314773504 rios=192\n8:0 \nodd\n"
    words = (("rbytes", "read"), ("wbytes", "write"))
    assert list(cgroupstat.io_stat(v2, words)) == [(254, 16, "read", 1459200), (254, 16, "write", 314773504)]


def test_processor_time_of_the_machine() -> None:
    text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1\ncpu3 1 1 1 1 1 1 1 1\nintr 5\ncpu9 1\n"
    assert cgroupstat.system_cpu(text) == (28 * cgroupstat.TICK, 2)


def test_interfaces_but_the_loopback() -> None:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0: 54 1 2 3 0 0 0 0 90 4 5 6 0 0 0 0\n"
    )
    assert cgroupstat.interfaces(text) == {"eth0": (54, 1, 2, 3, 0, 0, 0, 0, 90, 4, 5, 6, 0, 0, 0, 0)}
