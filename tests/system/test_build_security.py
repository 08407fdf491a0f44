"""Builds against hostile clients, contexts, Dockerfiles and programs: what security.md lists of builders."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.archives import Members, make_tar
from support.buildclient import Built, begin, build, plain
from support.daemon import IMAGE, Daemon, RequestError, Unix, daemon, own_daemon

__all__ = ["daemon", "own_daemon"]

pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(120)]

EMPTY = make_tar({"Dockerfile": b"FROM scratch\nLABEL a=b\n"})


def asked(daemon: Daemon, path: str, body: Any = b"", timeout: float = 40, **headers: str) -> tuple[int, str]:
    """A POST's status and body; TimeoutError when none comes, and then the client is gone."""
    connection = Unix(daemon.socket)
    connection.timeout = timeout
    try:
        data = body if isinstance(body, bytes) else json.dumps(plain(body)).encode()
        connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def handed(daemon: Daemon, descriptor: int, timeout: float = 40) -> tuple[int, str]:
    """The context is a descriptor of ours."""
    return asked(daemon, "/build", timeout=timeout, **{"X-Carboy-Descriptor": str(descriptor)})


def until(what: str, condition: Any, seconds: float = 30) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


# What a client hands over


def test_descriptors_that_are_no_files_are_refused(daemon: Daemon) -> None:
    with ExitStack() as stack:

        def opened(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        reading, writing = os.pipe()
        odd = [
            opened(os.open("/dev/zero", os.O_RDONLY)),
            opened(os.open("/", os.O_RDONLY | os.O_DIRECTORY)),
            opened(os.open("/etc/passwd", os.O_PATH)),
            opened(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)),
            opened(os.eventfd(0)),
            opened(os.pidfd_open(os.getpid())),
            opened(writing),
            opened(reading) and 99_999,
        ]
        for descriptor in odd:
            status, text = handed(daemon, descriptor)
            assert status == 400, text
        for descriptor in (*odd[:1], *odd[2:]):
            place = {"Descriptor": descriptor}
            for body in (
                {"Context": {"Kind": "directory", **place}},
                {"CacheTo": [{"Type": "local", **place}]},
            ):
                status, text = asked(daemon, "/build/begin", body)
                assert status == 400, text


@pytest.mark.parametrize("kind", ["pipe", "socket", "sparse"])
def test_what_never_ends_ends_with_its_client(daemon: Daemon, kind: str) -> None:
    """A thread that reads from the client must not wait for ever: not for it, nor for the daemon's end."""
    asked(daemon, "/build", EMPTY)  # so that what is opened once is open
    before = len(daemon.descriptors())
    with ExitStack() as stack:
        if kind == "socket":
            one, other = (stack.enter_context(each) for each in socket.socketpair())
            descriptor = one.fileno()
            other.sendall(EMPTY[:700])
        elif kind == "pipe":
            descriptor, writing = os.pipe()
            stack.callback(os.close, descriptor)
            stack.callback(os.close, writing)
            os.write(writing, EMPTY[:700])
        else:
            descriptor = os.memfd_create("sparse")
            stack.callback(os.close, descriptor)
            os.ftruncate(descriptor, 1 << 39)
        with pytest.raises(TimeoutError):
            handed(daemon, descriptor, timeout=0.7)
        until("the context is still being read", lambda: not os.listdir(f"{daemon.root}/ingest"))
        until("descriptors are left open", lambda: len(daemon.descriptors()) <= before)


def test_a_pipe_that_is_slow_is_a_context(daemon: Daemon) -> None:
    reading, writing = os.pipe()

    def feed() -> None:
        for position in range(0, len(EMPTY), 4000):
            os.write(writing, EMPTY[position : position + 4000])
            time.sleep(0.05)
        os.close(writing)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        status, text = handed(daemon, reading)
    finally:
        thread.join()
        os.close(reading)
    assert status == 200
    assert "Successfully built" in text


# Dockerfiles and contexts that ask for what is not theirs


def refused(daemon: Daemon, members: Members | str, *, begun: dict[str, Any] | None = None) -> str:
    """Why a build failed; it has to."""
    if begun is not None:
        options = {"Dockerfile": members.encode(), "Empty": True} if isinstance(members, str) else {}
        built = build(daemon, b"", build=begin(daemon, **options, **begun))
    else:
        try:
            built = build(daemon, members)
        except RequestError as error:
            return error.message
    assert built.error, built.text
    return built.error


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("--network=host", "network.host"),
        ("--security=insecure", "security.insecure"),
        ("--mount=type=bind,target=/m,bind-propagation=rslave,suid", "bind-propagation"),
        ("--mount=type=bind,target=/m,propagation=shared", "propagation"),
        ("--mount=type=bind,target=/m,source=../../etc", ""),
        ("--mount=type=tmpfs,target=/m,size=64m,exec", ""),
        ("--device=/dev/mem", ""),
    ],
)
def test_a_dockerfile_gets_no_rights(daemon: Daemon, instruction: str, words: str) -> None:
    """buildkit 2024-23653, buildah 2024-9407: privileges, options and sources that nobody allowed."""
    text = f"FROM scratch AS other\nFROM {IMAGE}\nRUN {instruction} echo it-ran; ls /m\n"
    ways: list[dict[str, Any] | None] = [None, {}]
    for begun in ways:
        error = refused(daemon, text, begun=begun)
        assert words in error
        assert "it-ran" not in error.replace("echo it-ran", "")
        assert "shadow" not in error


def test_the_seed_of_a_cache_stays_in_its_stage(daemon: Daemon) -> None:
    """buildah 2024-9675, 11218: a source that climbs stays below the stage's root."""
    for source in ("../../../../etc", "/../etc", "a/../../../etc"):
        mount = f"--mount=type=cache,target=/m,from=other,source={source},id=../../{source}"
        built = build(
            daemon, f"FROM scratch AS other\nFROM {IMAGE}\nRUN {mount} ls -a /m; echo bad > /m/bad\n"
        )
        assert "shadow" not in built.text
    assert not os.path.exists("/etc/bad")


def test_the_network_is_what_was_said(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN --network=none ls /sys/class/net; cat /proc/net/route | wc -l\n"
    built = build(daemon, text, nocache=1)
    assert "eth0" not in built.text
    assert "lo\n" in built.text
    host = f"FROM {IMAGE}\nRUN --network=host readlink /proc/self/ns/net\n"
    allowed = build(
        daemon, b"", build=begin(daemon, Dockerfile=host.encode(), Empty=True, Allow=["network.host"])
    )
    assert not allowed.error
    assert os.readlink("/proc/self/ns/net").encode() in output_of(allowed)


def output_of(built: Built) -> bytes:
    return b"".join(base64.b64decode(one["Data"]) for one in built.traces if one["Kind"] == "output")


@pytest.mark.parametrize("source", ["link", "deep/link", "link/shadow"])
def test_links_in_a_context_lead_nowhere(daemon: Daemon, tmp_path: Path, source: str) -> None:
    """buildah 2024-1753: the source of a bind, or of COPY, is a link to the host's files."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/shadow").write_text("of the host")
    members: Members = {
        "link": ("->", str(tmp_path / "victim")),
        "deep/link": ("->", "../../../../../../.." + str(tmp_path / "victim")),
    }
    for step in (
        f"RUN --mount=type=bind,source={source},target=/m,rw cat /m /m/shadow; echo bad > /m/new; true",
        f"COPY {source} /m/\nRUN cat /m/shadow /m/*; echo bad > /m/link; echo bad > /m/link/new; true",
        f"ADD {source} /m\nRUN cat /m/shadow /m; echo bad > /m/new; true",
    ):
        try:
            built = build(daemon, {"Dockerfile": f"FROM {IMAGE}\n{step}\n".encode(), **members})
        except RequestError:
            continue
        assert "of the host" not in built.text
    assert sorted(os.listdir(tmp_path / "victim")) == ["shadow"]
    assert (tmp_path / "victim/shadow").read_text() == "of the host"


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"])
def test_what_the_builder_reads_is_no_link_to_the_host(daemon: Daemon, tmp_path: Path, name: str) -> None:
    """buildah 2026-44517, for what is read before any step."""
    (tmp_path / "secret").write_text("UNKNOWN-INSTRUCTION-of-the-host\n")
    for target in (str(tmp_path / "secret"), "../../../../../../../.." + str(tmp_path / "secret")):
        members: Members = {"Dockerfile": b"FROM scratch\nCOPY . /\n", name: ("->", target)}
        try:
            told = json.dumps(build(daemon, members).messages)
        except RequestError as error:
            told = error.message
        assert "of-the-host" not in told


def test_targets_that_are_links_to_the_host(daemon: Daemon, tmp_path: Path) -> None:
    """buildkit 2024-23652: making and removing a mount's place reaches the host through no link."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("")
    members: Members = {"l": ("->", str(victim)), "empty": ("->", str(victim / "none"))}
    for target in ("/l", "/l/kept", "/l/new", "/empty"):
        for kind in ("cache", "tmpfs", "bind,source=l,from=links", "secret,id=s"):
            text = (
                f"FROM scratch AS links\nCOPY l empty /\nFROM {IMAGE}\nCOPY l empty /\n"
                f"RUN --mount=type={kind},target={target} rm -rf /l/* /l; true\n"
            )
            build(daemon, {"Dockerfile": text.encode(), **members})
    assert os.listdir(victim) == ["kept"]


def test_secrets_are_nowhere(own_daemon: Daemon, tmp_path: Path) -> None:
    """Not below the daemon's root, not in its log, not in what it tells of images and builds."""
    daemon = own_daemon
    marker, token = "m4rk3r-of-the-secret", "t0k3n-of-the-address"
    text = (
        f"FROM {IMAGE}\nARG TOKEN\n"
        "RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /size\n"
        'RUN --mount=type=secret,id=s,env=S test -n "$S"\n'
        "RUN --mount=type=secret,id=s,target=/etc/deep/file,mode=0400 test -s /etc/deep/file; false\n"
    )
    for _ in range(2):
        announced = begin(
            daemon,
            Dockerfile=text.encode(),
            Empty=True,
            Secrets={"s": marker.encode()},
            Proxies={"HTTP_PROXY": f"http://user:{token}@127.0.0.1:9"},
            Explain=True,
        )
        built = build(daemon, b"", build=announced, remote=f"http://user:{token}@127.0.0.1:9/x.git")
        assert built.error
    built = build(
        daemon,
        b"",
        build=begin(
            daemon,
            Dockerfile=text.replace("; false", "").encode(),
            Empty=True,
            Secrets={"s": marker.encode()},
        ),
        t="with-secret",
    )
    with suppress(RequestError):
        build(daemon, b"", remote=f"http://user:{token}@127.0.0.1:9/x.tar")
    build(daemon, f"FROM {IMAGE}\nADD http://user:{token}@127.0.0.1:9/x /x\n")
    told = json.dumps([daemon.get("/images/with-secret/json"), daemon.get("/images/with-secret/history")])
    told += json.dumps([daemon.get("/system/df"), built.messages]) + daemon.log()
    assert marker not in told
    assert token not in told
    assert daemon.stop() == 0
    found = []
    for place, _, names in os.walk(daemon.home):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                found += [(str(path), each) for each in (marker, token) if each.encode() in data]
    assert not found


# Clients and daemons that go


def nothing_under_way(daemon: Daemon) -> bool:
    folders = (f"{daemon.root}/containers", f"{daemon.run}/containers", f"{daemon.root}/ingest")
    return not any(os.listdir(folder) for folder in folders)


@pytest.mark.parametrize("phase", ["head", "half", "whole", "Step 1", "begun\\n", "late"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_in_any_phase(daemon: Daemon, phase: str, reset: bool) -> None:
    text = (
        f"FROM {IMAGE}\nCOPY a /\nRUN head -c 9000000 /dev/urandom >/x; echo begun; sleep .2\nRUN sleep 60\n"
    )
    body = make_tar({"Dockerfile": text.encode(), "a": os.urandom(2_000_000)})
    head = f"POST /build?nocache=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(40)
        client.connect(daemon.socket)
        client.sendall(head + body[: {"head": 0, "half": len(body) // 2}.get(phase, len(body))])
        words = {"late": b"begun\\n", "begun\\n": b"begun\\n", "Step 1": b"Step 1"}.get(phase)
        seen = b""
        while words and words not in seen:
            seen += client.recv(65536)
        if phase == "late":
            time.sleep(0.5)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
    until("something is left of a build whose client is gone", lambda: nothing_under_way(daemon))
    # Nothing waits for it: the same steps can be had at once.
    assert build(daemon, f"FROM {IMAGE}\nRUN head -c 9 /dev/zero > /x\n").id


def test_the_same_build_eight_times_is_done_once(daemon: Daemon) -> None:
    """And some of them are cancelled, the one that does the work perhaps among them."""
    text = f"FROM {IMAGE}\nRUN echo begun; sleep 1; head -c 9 /dev/urandom > /r\n"
    told: dict[str, Built] = {}

    def one(name: str) -> None:
        told[name] = build(daemon, text, buildid=name)

    threads = [threading.Thread(target=one, args=(f"same{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    for name in ("same0", "same5"):
        daemon.request("POST", f"/build/cancel?id={name}")
    for thread in threads:
        thread.join()
    done = [each for name, each in told.items() if name not in ("same0", "same5")]
    assert len({each.id for each in done}) == 1
    assert sum("begun\n" in each.text for each in done) <= 1
    until("something is left", lambda: nothing_under_way(daemon))


def test_an_output_that_many_fetch_at_once(daemon: Daemon) -> None:
    text = f"FROM {IMAGE}\nRUN head -c 4000000 /dev/urandom > /x\n"
    build_id = begin(daemon, Dockerfile=text.encode(), Empty=True, Outputs=[{"Type": "tar"}])
    build(daemon, b"", build=build_id)
    with socket.socket(socket.AF_UNIX) as client:  # one that goes in the middle of it
        client.connect(daemon.socket)
        client.sendall(f"GET /build/output?build={build_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.recv(1000)
    fetched: list[bytes] = []

    def fetch() -> None:
        with suppress(RequestError):
            fetched.append(daemon.request("GET", f"/build/output?build={build_id}"))

    threads = [threading.Thread(target=fetch) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched
    assert len(set(fetched)) == 1
    with pytest.raises(RequestError):
        daemon.request("GET", f"/build/output?build={build_id}")


def test_a_daemon_that_is_killed_at_any_moment(own_daemon: Daemon) -> None:
    """The next one sweeps, and every layer that it has is what its name says."""
    daemon = own_daemon
    random = Random(4)
    steps = "".join(f"RUN head -c 90000 /dev/urandom > /f{n}\nCOPY <<E /g{n}\n{n}\nE\n" for n in range(6))
    text = f"FROM {IMAGE}\n{steps}"

    def go() -> None:
        with suppress(Exception):
            build(daemon, {"Dockerfile": text.encode(), "pad": os.urandom(900_000)}, t="killed")

    for _ in range(6):
        threads = [threading.Thread(target=go) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(random.random())
        daemon.kill()
        for thread in threads:
            thread.join()
        daemon.start()
        until("the sweep left something", lambda: nothing_under_way(daemon))
    final = build(daemon, text, t="killed")
    for layer in daemon.get("/images/killed/json")["RootFS"]["Layers"]:
        tar = Path(daemon.root, "layers/sha256", layer[7:], "layer.tar").read_bytes()
        assert hashlib.sha256(tar).hexdigest() == layer[7:]
    assert build(daemon, text).id == final.id
    for image in daemon.get("/images/json"):
        daemon.request("DELETE", f"/images/{image['Id']}?force=1")
    daemon.post("/build/prune?all=1")
    until("layers that nothing needs", lambda: not os.listdir(f"{daemon.root}/layers/sha256"))


def test_holes_do_not_fill_the_disk(daemon: Daemon) -> None:
    """A tar holds holes as zeros: some are refused, and writing the others ends with its client."""
    sparse = "dd if=/dev/zero of=/big bs=1 count=1 seek={} 2>/dev/null; echo begun"
    built = build(daemon, f"FROM {IMAGE}\nRUN {sparse.format(1 << 37)}\n")
    assert "GiB of holes" in built.error
    # Many seconds of writing: who has gone does not wait for it, nor does the next one.
    with pytest.raises(TimeoutError):
        body = make_tar({"Dockerfile": f"FROM {IMAGE}\nRUN {sparse.format(12 << 30)}\n".encode()})
        asked(daemon, "/build", body, timeout=1)
    until("a layer is written for nobody", lambda: nothing_under_way(daemon), seconds=10)


def test_a_name_is_never_an_id_by_chance(daemon: Daemon) -> None:
    """`FROM ab` must not take the image whose ID begins so: another machine has others."""
    image = daemon.get(f"/images/{IMAGE}/json")["Id"][7:]
    for short in (image[:1], image[:4], image[:11]):
        assert "is not in the local store" in refused(daemon, f"FROM {short}\nLABEL a=b\n")
    for known in (image[:12], image, f"sha256:{image}"):
        assert build(daemon, f"FROM {known}\nLABEL a=b\n").id
