"""Capabilities have the kernel's names and numbers."""

from __future__ import annotations

import pytest

from carboy.linux import capabilities


def test_names_have_the_kernels_numbers() -> None:
    # <linux/capability.h>
    for name, number in {
        "CHOWN": 0,
        "NET_RAW": 13,
        "SYS_ADMIN": 21,
        "SETFCAP": 31,
        "CHECKPOINT_RESTORE": 40,
    }.items():
        assert capabilities.NUMBERS[f"CAP_{name}"] == number


def test_this_kernel_has_no_capability_without_a_name() -> None:
    assert capabilities.last_capability() < len(capabilities.NAMES)


def test_a_mask_has_the_bits_of_its_names() -> None:
    assert capabilities.mask(["CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_BPF"]) == 1 << 0 | 1 << 18 | 1 << 39
    with pytest.raises(KeyError):
        capabilities.mask(["CAP_NONSENSE"])


def test_the_sets_are_those_that_proc_shows() -> None:
    with open("/proc/self/status") as file:
        shown = dict(line.split(":\t") for line in file if line.startswith("Cap"))
    effective, permitted, inheritable = capabilities.capget()
    assert effective == int(shown["CapEff"], 16)
    assert permitted == int(shown["CapPrm"], 16)
    assert inheritable == int(shown["CapInh"], 16)
    assert capabilities.bounding(capabilities.last_capability()) == int(shown["CapBnd"], 16)
