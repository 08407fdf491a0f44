"""`carboy build` from end to end: real Dockerfiles, contexts of all kinds, outputs, errors, ^C."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from support.commands import COMMAND, Home, home
from support.daemon import IMAGE

__all__ = ["home"]
pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(60)]

WHOLE = f"""# syntax=docker/dockerfile:1
ARG BASE={IMAGE}
FROM ${{BASE}} AS one
ARG WHO=world
ENV GREETING="hello ${{WHO}}" P=${{WHO:+set}}
RUN <<EOT
set -e
echo "$GREETING" > /greeting
EOT
COPY <<-"INLINE" /etc/inline.conf
	key=$not_expanded
INLINE
COPY --chmod=u=rwx,go=rx x.txt /bin/x
COPY --chown=12:34 --link sub /linked/
ADD ar.tar /unpacked/
COPY --parents sub/deep/*.txt /parents/
COPY --exclude=*.txt . /excluded/
RUN --mount=type=bind,target=/ctx,source=sub cat /ctx/deep/f.txt > /from-bind
RUN --mount=type=cache,target=/cache echo 1 > /cache/n; wc -l < /cache/n > /count
RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x
RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /secret-length
RUN --network=none test "$(ls /sys/class/net)" = lo
WORKDIR /home/w
USER 1000:1000
RUN --mount=type=tmpfs,target=/t touch /t/mine
LABEL a=b
HEALTHCHECK --interval=5s CMD true
VOLUME ["/data"]
EXPOSE 80/tcp
CMD ["cat", "/greeting"]
FROM scratch AS files
COPY --from=one /greeting /secret-length /out/
FROM one
"""


def project(path: Path) -> Path:
    """A context with something of everything."""
    (path / "sub/deep").mkdir(parents=True)
    (path / "sub/deep/f.txt").write_text("data\n")
    (path / "x.txt").write_text("x\n")
    (path / "kept.out.log").write_text("not in it\n")
    (path / ".dockerignore").write_text("*.log\n")
    with tarfile.open(path / "ar.tar", "w") as archive:
        member = tarfile.TarInfo("inside/member")
        archive.addfile(member)
    (path / "Dockerfile").write_text(WHOLE)
    return path


def simple(path: Path, *lines: str) -> str:
    """A context with a Dockerfile of these lines."""
    path.mkdir()
    (path / "Dockerfile").write_text("\n".join((f"FROM {IMAGE}", *lines, "")))
    return str(path)


def test_a_dockerfile_with_everything(home: Home, tmp_path: Path) -> None:
    context = project(tmp_path / "project")
    (tmp_path / "secret").write_text("s3cret-never-kept")
    secret = ["--secret", f"id=s,src={tmp_path}/secret"]
    home.run("build", "-t", "whole:1", "--build-arg", "WHO=me", *secret, str(context))
    assert home.text("run", "--rm", "--network", "none", "whole:1") == "hello me"
    look = (
        "cat /etc/inline.conf /from-bind /secret-length; stat -c '%a %u:%g' /bin/x /linked/deep/f.txt; id -u;"
    )
    look += "ls /unpacked /parents/sub/deep /excluded; pwd"
    said = home.text("run", "--rm", "--network", "none", "whole:1", "sh", "-c", look).split("\n")
    assert said[:6] == ["key=$not_expanded", "data", "17", "755 0:0", "644 12:34", "1000"]
    assert {"inside", "f.txt", "Dockerfile", "ar.tar", "sub"} <= set(said)
    assert "kept.out.log" not in said
    assert said[-1] == "/home/w"
    kept = home.run("save", "whole:1").stdout + home.run("history", "--no-trunc", "whole:1").stdout
    assert b"s3cret-never-kept" not in kept
    home.run("build", "-o", str(tmp_path / "out"), "--target", "files", *secret, str(context))
    assert (tmp_path / "out/out/secret-length").read_text() == "17\n"


def test_one_digest_everywhere(home: Home, tmp_path: Path) -> None:
    context = project(tmp_path / "project")
    (tmp_path / "secret").write_text("s3cret-never-kept")
    more = ["--secret", f"id=s,src={tmp_path}/secret"]
    first = home.text("build", "-q", *more, str(context))
    other = tmp_path / "elsewhere"
    shutil.copytree(context, other)
    for folder, _, names in os.walk(other):
        for name in names:
            path = os.path.join(folder, name)
            os.chmod(path, os.stat(path).st_mode | 0o020)
            os.chown(path, 1234, 1234)
            os.utime(path, (1, 1))
    command = ["unshare", "--uts", "sh", "-c", 'umask 002; hostname elsewhere; exec "$@"', "sh", *COMMAND]
    environment = {**home.environment, "TZ": "Asia/Kolkata", "LC_ALL": "C", "USER": "somebody"}
    done = subprocess.run(
        [*command, "build", "-q", "--no-cache", *more, str(other)],
        env=environment,
        capture_output=True,
        check=True,
        timeout=50,
    )
    assert done.stdout.decode().strip() == first
    packed = subprocess.run(["tar", "-C", str(other), "-cz", "."], capture_output=True, check=True).stdout
    assert home.text("build", "-q", "--no-cache", *more, "-", stdin=packed) == first
    (tmp_path / "packed.tar.gz").write_bytes(packed)
    with open(tmp_path / "packed.tar.gz", "rb") as stdin:  # handed over, not sent
        done = subprocess.run(
            [*COMMAND, "build", "-q", *more, "-"],
            stdin=stdin,
            env=home.environment,
            capture_output=True,
            check=True,
            timeout=50,
        )
    assert done.stdout.decode().strip() == first


def test_a_context_that_is_sent_is_the_same(home: Home, tmp_path: Path) -> None:
    context = tmp_path / "context"
    simple(context, "COPY . /app", "RUN ls -l /app")
    for name in (b"plain", b"\xff\xfe name", b"new\nline", b"\x1b[2Jescape"):
        Path(os.fsdecode(bytes(context) + b"/" + name)).write_bytes(name)
    os.link(context / "plain", context / "second name")
    os.symlink("loop", context / "loop")
    os.symlink("/etc/passwd", context / "absolute")
    os.mkfifo(context / "pipe")
    os.truncate(context / "plain", 5_000_000)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(context / "socket"))
    (context / ".dockerignore").write_text("kept-out\n!kept-out/but\n")
    (context / "kept-out/but").mkdir(parents=True)
    (context / "kept-out/but/this").touch()
    (context / "kept-out/that").touch()
    first = home.run("build", str(context))
    assert '"/pipe" is a named pipe: it is left out' in first.stderr.decode()
    image = home.text("build", "-q", str(context))
    with Proxy(f"{home.run_directory}/carboy.sock") as port:
        sent = home.text("-H", f"tcp://127.0.0.1:{port}", "build", "-q", "--no-cache", str(context))
    listener.close()
    assert sent == image


class Proxy:
    """A TCP port that leads to a unix socket: to the client it is another machine."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._others: list[threading.Thread] = []

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in self._others:
            one.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._others.append(threading.Thread(target=self._carry, args=(client,)))
            self._others[-1].start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            ends = {client: server, server: client}
            while True:
                for one in select.select(list(ends), [], [])[0]:
                    try:
                        data = one.recv(1 << 16)
                        ends[one].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return


def test_explain_says_what_changed(home: Home, tmp_path: Path) -> None:
    context = tmp_path / "context"
    simple(context, "COPY . /app", "RUN wc -c < /app/a > /size")
    (context / "a").write_text("1")
    (context / "tool").write_text("#!/bin/sh\n")
    assert "2 steps, 0 from cache" in home.run("build", str(context)).stderr.decode()
    assert "2 steps, 2 from cache" in home.run("build", str(context)).stderr.decode()
    (context / "tool").chmod(0o755)
    said = home.text("build", "--explain", str(context))
    assert "tool" in said
    assert "0644" in said
    assert "0755" in said
    assert "context" in said


def test_a_failed_step(home: Home, tmp_path: Path) -> None:
    context = simple(tmp_path / "context", "RUN echo before; echo wrong >&2; exit 3", "RUN echo never")
    for how in ("plain", "quiet"):
        done = home.run("build", "--progress", how, "--iidfile", str(tmp_path / "id"), context, code=1)
        said = done.stderr.decode()
        assert "2 | >>> RUN echo before" in said
        assert "before\nwrong\n------\n" in said
        assert "returned a non-zero code: 3" in said or "exit code: 3" in said
        assert "never" not in said.partition("-----")[0]
        assert not (tmp_path / "id").exists()


def test_a_dockerfile_that_is_wrong(home: Home, tmp_path: Path) -> None:
    context = simple(tmp_path / "context", "RUNN x")
    said = home.run("build", context, code=1).stderr.decode()
    assert ">>> RUNN x" in said
    assert "did you mean RUN?" in said
    home.run("build", "-t", "not/A/name", context, code=1)
    home.run("build", "--target", "nowhere", simple(tmp_path / "two", "RUN true"), code=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_broken_off(home: Home, tmp_path: Path, number: int) -> None:
    context = simple(tmp_path / "context", "RUN echo begun; sleep 987")
    process = home.start("build", "--progress", "plain", context)
    assert process.stderr is not None
    while b"begun" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode in (130, -number, 128 + number)
    deadline = time.monotonic() + 10
    while any("sleep\0987" in title for title in titles()):
        assert time.monotonic() < deadline, "the step runs on"
        time.sleep(0.02)
    assert home.text("build", "-q", simple(tmp_path / "next", "RUN true"))


def titles() -> list[str]:
    """The command lines of all processes."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.append(Path(f"/proc/{entry}/cmdline").read_text())
            except OSError:
                continue
    return found


def test_outputs(home: Home, tmp_path: Path) -> None:
    context = simple(tmp_path / "context", "RUN echo made > /made; ln -s made /link", 'CMD ["cat", "/made"]')
    out = tmp_path / "out"
    out.mkdir()
    (out / "made").write_text("older")
    home.run("build", "-o", f"type=local,dest={out}", context)
    assert (out / "made").read_text() == "made\n"
    assert os.readlink(out / "link") == "made"
    tar = home.run("build", "-q", "-o", "-", context).stdout
    (tmp_path / "root.tar").write_bytes(tar)
    with tarfile.open(tmp_path / "root.tar") as archive:
        assert archive.getmember("made").size == 5
    again = home.run("build", "-q", "--no-cache", "-o", "-", context).stdout
    assert again == tar
    for kind in ("oci", "docker"):
        archive_path = tmp_path / f"{kind}.tar"
        home.run("build", "-t", f"{kind}:1", "-o", f"type={kind},dest={archive_path}", context)
        home.run("load", "-i", str(archive_path))
    assert home.text("run", "--rm", "--network", "none", "docker:1") == "made"


def test_targets_and_metadata(home: Home, tmp_path: Path) -> None:
    context = simple(
        tmp_path / "context", "RUN true", f"FROM {IMAGE} AS b", "RUN echo b > /b", f"FROM {IMAGE} AS c"
    )
    found = tmp_path / "metadata.json"
    home.run("build", "--target", "b,c", "-t", "c:1", "--metadata-file", str(found), context)
    metadata = json.loads(found.read_text())
    assert [one["Target"] for one in metadata["carboy.images"]] == ["b", "c"]
    assert metadata["containerimage.config.digest"] == home.text("inspect", "-f", "{{.Id}}", "c:1")
    assert metadata["image.name"] == "c:1"


def test_a_layer_that_is_there_twice(home: Home, tmp_path: Path) -> None:
    again = ["RUN mkdir /x", "COPY a /x/a", "RUN rm /x/a; echo b > /x/b", "COPY a /x/a", "RUN cat /x/a /x/b"]
    context = tmp_path / "context"
    simple(context, *again)
    (context / "a").write_text("A\n")
    home.run("build", "-t", "twice:1", str(context))
    layers = json.loads(home.text("inspect", "-f", "{{json .RootFS.Layers}}", "twice:1"))
    assert len(layers) > len(set(layers))
    assert home.text("run", "--rm", "--network", "none", "twice:1", "cat", "/x/a", "/x/b") == "A\nb"


def test_contexts_with_names(home: Home, tmp_path: Path) -> None:
    context = simple(tmp_path / "context", "COPY --from=more a /a", "COPY --from=image /bin/busybox /b")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a").write_text("A")
    names = ["--build-context", f"more={tmp_path}/more", "--build-context", f"image=docker-image://{IMAGE}"]
    home.run("build", "-t", "named:1", *names, context)
    assert home.text("run", "--rm", "--network", "none", "named:1", "cat", "/a") == "A"


def test_drawn_on_a_terminal(home: Home, tmp_path: Path) -> None:
    context = simple(
        tmp_path / "context", "RUN for i in 1 2 3; do printf 'line \\033[2J%s\\n' $i; sleep 0.1; done"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "build", context],
        env={**home.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        said += data
    os.close(ours)
    assert process.wait(20) == 0
    text = said.decode()
    assert "line" in text
    assert "1 step, 0 from cache" in text
    assert "\x1b[2J" not in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")


def test_builder_du_and_prune(home: Home, tmp_path: Path) -> None:
    context = simple(tmp_path / "context", "RUN dd if=/dev/zero of=/big bs=1M count=3")
    image = home.text("build", "-q", context)
    assert "RUN dd" in home.text("builder", "du")
    assert "Build Cache" in home.text("system", "df")
    home.run("rmi", image)
    assert "Total reclaimed space: 3.1" in home.text("builder", "prune", "-af")
    assert "RUN dd" not in home.text("builder", "du")
    assert "1 step, 0 from cache" in home.run("build", context).stderr.decode()
