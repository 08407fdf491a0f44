"""`carboy build` at a scripted daemon: what is asked for, what is shown, how it ends."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from carboy.cli import buildcontext, main
from carboy.errors import NotFound
from support.fakeserver import FakeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT = ("node_modules/keep", "node_modules/keep/y")
VERTICES = {
    "Kind": "vertices",
    "Vertices": [
        {"Index": 0, "Name": "[1/3] FROM debian:12", "Line": 1},
        {"Index": 1, "Name": "[2/3] COPY . .", "Line": 2},
        {"Index": 2, "Name": "[3/3] RUN make", "Line": 3},
    ],
}
IMAGE = {"Id": "sha256:" + "ab" * 32, "Names": ["app:1"], "Digest": "sha256:" + "cd" * 32}
GOOD: list[dict[str, Any]] = [
    VERTICES,
    {"Kind": "cached", "Vertex": 0, "Time": 0.1},
    {"Kind": "explained", "Vertex": 1, "Reasons": ["file src/a.py: mode 0644 -> 0755"]},
    {"Kind": "started", "Vertex": 1, "Time": 0.1},
    {"Kind": "finished", "Vertex": 1, "Time": 0.3, "Seconds": 0.2},
    {"Kind": "started", "Vertex": 2, "Time": 0.3},
    {"Kind": "output", "Vertex": 2, "Time": 0.4, "Stream": 1, "Data": base64.b64encode(b"one\ntw").decode()},
    {"Kind": "output", "Vertex": 2, "Time": 0.5, "Stream": 1, "Data": base64.b64encode(b"o\n").decode()},
    {"Kind": "warning", "Vertex": 2, "Text": "slow"},
    {"Kind": "finished", "Vertex": 2, "Time": 1.3, "Seconds": 1.0},
    {"Kind": "result", "Images": [IMAGE], "Outputs": [{"Index": 0, "Type": "image"}], "Seconds": 1.3},
]
BAD: list[dict[str, Any]] = [
    *GOOD[:8],
    {"Kind": "finished", "Vertex": 2, "Time": 1.3, "Seconds": 1.0, "Text": "exit code: 2"},
    {
        "Kind": "failed",
        "Text": 'process "/bin/sh -c make" did not complete successfully: exit code: 2',
        "Line": 3,
        "Excerpt": "Dockerfile:3\n----\n   3 | >>> RUN make\n----",
        "ExitCode": 2,
    },
]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "settings"))
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ftp_proxy", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM debian:12\nCOPY . .\nRUN make\n")
    monkeypatch.chdir(context)
    server = FakeServer(str(tmp_path / "s"))
    server.json("POST /build/begin", {"Id": "b1"})
    server.json("PUT /build/context", {})
    answer(server, GOOD)
    yield server
    server.close()


@pytest.fixture
def run(server: FakeServer, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        kept = os.dup(0)
        given, tell = os.pipe()
        os.write(tell, stdin or b"")
        os.close(tell)
        os.dup2(given, 0)
        os.close(given)
        try:
            code = main.run(["-H", "unix://" + server.path, "build", *arguments])
        finally:
            os.dup2(kept, 0)
            os.close(kept)
        out, err = capfd.readouterr()
        return code, out, err

    return command


def answer(server: FakeServer, traces: list[dict[str, Any]], error: str = "") -> None:
    """What POST /build says."""
    lines = [json.dumps({"id": "carboy.trace", "aux": trace}) for trace in traces]
    if error:
        lines.append(json.dumps({"error": error, "errorDetail": {"message": error}}))
    body = "".join(line + "\r\n" for line in lines).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    server.replies["POST /build"] = head.encode() + body


def asked(server: FakeServer, route: str) -> list[tuple[dict[str, list[str]], bytes]]:
    """(query, body) of every request of a route."""
    found = []
    for target, _headers, body in server.requests:
        method, _, url = target.partition(" ")
        parts = urlsplit(url)
        if f"{method} {parts.path}" == route:
            found.append((parse_qs(parts.query), body))
    return found


def begun(server: FakeServer) -> dict[str, Any]:
    """The body of the last POST /build/begin."""
    body: dict[str, Any] = json.loads(asked(server, "POST /build/begin")[-1][1])
    return body


def test_a_context_of_this_machine_is_handed_over(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    code, out, err = run("-t", "app:1", "-t", "app:2", "--build-arg", "V=1", ".")
    assert (code, out) == (0, "")
    context = begun(server)["Context"]
    if os.geteuid() == 0:
        assert context["Kind"] == "directory"
        assert context["Path"] == os.getcwd()
        assert context["Descriptor"] > 2
        assert not asked(server, "PUT /build/context")
    query = asked(server, "POST /build")[0][0]
    assert query["t"] == ["app:1", "app:2"]
    assert query["build"] == ["b1"]
    assert json.loads(query["buildargs"][0]) == {"V": "1"}
    assert "app:1" in err


def test_plain_progress_reads_like_buildkits(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("--progress=plain", ".")[2] == (
        "#1 [1/3] FROM debian:12\n#1 CACHED\n\n"
        "#2 [2/3] COPY . .\n#2 DONE 0.2s\n\n"
        "#3 [3/3] RUN make\n#3 0.100 one\n#3 0.200 two\n#3 WARNING: slow\n#3 DONE 1.0s\n\n"
        f"2 steps, 0 from cache, 1.3 s\n{IMAGE['Id']}  app:1\n"
    )


def test_quiet_prints_the_image_alone(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("-q", ".") == (0, f"{IMAGE['Id']}\n", "")


def test_rawjson_prints_every_trace(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("--progress=rawjson", ".")
    assert (code, out) == (0, "")
    assert [json.loads(line) for line in err.splitlines()] == GOOD


def test_explain_names_steps_and_reasons(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    code, out, _ = run("--explain", ".")
    assert code == 0
    assert begun(server)["Explain"] is True
    lines = out.splitlines()
    assert lines[1].split() == ["[1/3]", "FROM", "debian:12", "ready"]
    assert lines[2].split() == ["[2/3]", "COPY", ".", ".", "run", "0.2s"]
    assert lines[3] == "    file src/a.py: mode 0644 -> 0755"


def test_a_failed_step_is_shown(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    answer(server, BAD, BAD[-1]["Text"])
    code, out, err = run("-q", "--iidfile", "id", ".")
    assert (code, out) == (1, "")
    assert " > [3/3] RUN make:\none\ntwo\n------\n" in err
    assert "3 | >>> RUN make" in err
    assert err.endswith("did not complete successfully: exit code: 2\n")
    assert not Path("id").exists()


@pytest.mark.parametrize("flag", ["--host-ca", "--host-ca=false"])
def test_a_certificate_that_was_not_trusted_has_a_remedy(
    run: Callable[..., tuple[int, str, str]], server: FakeServer, flag: str
) -> None:
    said = b"ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed\n"
    output = {"Kind": "output", "Vertex": 2, "Time": 0.4, "Data": base64.b64encode(said).decode()}
    answer(server, [*BAD[:6], output, *BAD[-2:]])
    code, _, err = run("-q", flag, ".")
    assert code == 1
    assert ("--host-ca lets steps trust" in err) == flag.endswith("false")


def test_an_error_without_traces_is_one(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    answer(server, [], "no space left on device")
    code, _out, err = run(".")
    assert code == 1
    assert "no space left on device" in err


def test_a_stream_that_ends_early_is_a_failure(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    answer(server, GOOD[:4])
    code, _out, err = run(".")
    assert code == 1
    assert "ended before" in err


def test_files_that_say_what_was_built(run: Callable[..., tuple[int, str, str]]) -> None:
    assert run("-q", "--iidfile", "id", "--metadata-file", "meta", "-t", "app:1", ".")[0] == 0
    assert Path("id").read_text() == IMAGE["Id"]
    found = json.loads(Path("meta").read_text())
    assert found["containerimage.config.digest"] == IMAGE["Id"]
    assert found["containerimage.digest"] == IMAGE["Digest"]
    assert found["image.name"] == "app:1"


def test_a_dockerfile_on_standard_input(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    assert run("-f", "-", ".", stdin=b"FROM scratch\n")[0] == 0
    assert base64.b64decode(begun(server)["Dockerfile"]) == b"FROM scratch\n"
    assert "Context" in begun(server)
    assert run("-", stdin=b"FROM scratch\n")[0] == 0
    assert begun(server)["Empty"] is True


def test_a_tar_on_standard_input_is_sent(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add("Dockerfile")
    assert run("-", stdin=made.getvalue())[0] == 0
    assert begun(server)["Context"] == {"Kind": "archive"}
    query, body = asked(server, "PUT /build/context")[0]
    assert query["build"] == ["b1"]
    assert body == made.getvalue()


def test_a_dockerfile_beside_the_context(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    Path("../other").write_text("FROM scratch\n")
    Path("../other.dockerignore").write_text("*\n")
    assert run("-f", "../other", ".")[0] == 0
    assert base64.b64decode(begun(server)["Dockerfile"]) == b"FROM scratch\n"
    assert base64.b64decode(begun(server)["Ignore"]) == b"*\n"
    Path("sub").mkdir()
    Path("sub/Dockerfile").write_text("FROM scratch\n")
    assert run("-f", "sub/Dockerfile", ".")[0] == 0
    assert "Dockerfile" not in begun(server)
    assert asked(server, "POST /build")[-1][0]["dockerfile"] == ["sub/Dockerfile"]


def test_who_may_not_hand_over_sends(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    Path(".dockerignore").write_text("*.log\nnode_modules\n!node_modules/keep\nempty\n!empty/no\n")
    for path in ("a.log", "b.txt", "node_modules/x", "node_modules/keep/y", "empty/z"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)
    os.link("b.txt", "c.txt")
    os.mkfifo("pipe")
    os.chmod("b.txt", 0o755)

    class Once(dict[str, bytes]):
        """The first answer to begin is 501: descriptors are not taken."""

        refused = False

        def get(self, route: str, default: Any = None) -> Any:
            if route == "POST /build/begin" and not self.refused and os.geteuid() == 0:
                self.refused = True
                body = b'{"message":"send a tar"}'
                return b"HTTP/1.1 501 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            return super().get(route, default)

    server.replies = Once(server.replies)
    code, _out, err = run(".")
    assert code == 0
    assert '"/pipe" is a named pipe: it is left out' in err
    body = asked(server, "PUT /build/context")[0][1]
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        names = archive.getnames()
        assert names == [
            ".dockerignore",
            "Dockerfile",
            "b.txt",
            "c.txt",
            "node_modules",
            "node_modules/keep",
            "node_modules/keep/y",
        ]
        member = archive.getmember("b.txt")
        assert (member.uid, member.gid, member.mode, member.isreg()) == (0, 0, 0o755, True)
        assert archive.getmember("c.txt").isreg()


def test_secrets_agents_and_contexts(
    run: Callable[..., tuple[int, str, str]],
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import socket

    monkeypatch.setenv("TOKEN", "from-env")
    Path("token").write_text("from-file")
    agent = socket.socket(socket.AF_UNIX)
    agent.bind(str(tmp_path / "agent"))
    more = ["--secret", "id=a,src=token", "--secret", "id=b,env=TOKEN", "--secret", "id=TOKEN"]
    more += ["--ssh", f"default={tmp_path}/agent", "--build-context", "img=docker-image://debian:12"]
    more += ["--build-context", "repo=https://example.org/x.git", "--build-context", "here=."]
    more += ["--allow", "network.host", "--cache-ttl", "1h30m", "--reproducible", "--host-ca"]
    more += ["--target", "a,b", "--platform", "linux/amd64,linux/arm64", "--no-cache-filter", "x,y"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    assert run(*more, ".")[0] == 0
    agent.close()
    body = begun(server)
    secrets = {name: base64.b64decode(data) for name, data in body["Secrets"].items()}
    assert secrets == {"a": b"from-file", "b": b"from-env", "TOKEN": b"from-env"}
    assert body["Agents"] == {"default": f"{tmp_path}/agent"}
    assert body["Contexts"]["img"] == {"Kind": "image", "Reference": "debian:12"}
    assert body["Contexts"]["repo"] == {"Kind": "remote", "Url": "https://example.org/x.git"}
    assert body["Contexts"]["here"]["Path"] == os.getcwd()
    assert (body["Allow"], body["CacheTtl"], body["Epoch"]) == (["network.host"], 5400.0, 12345)
    assert body["Reproducible"] is body["HostCa"] is True
    assert (body["Targets"], body["Platforms"]) == (["a", "b"], ["linux/amd64", "linux/arm64"])
    assert body["NoCacheFilter"] == ["x", "y"]


@pytest.mark.parametrize(
    "flags",
    [
        ["-o", "type=tar,dest=gone/x.tar"],
        ["-o", "type=oci,dest=gone/x.tar"],
        ["--iidfile", "gone/id"],
        ["--metadata-file", "gone/built.json"],
    ],
)
def test_folders_that_are_not_there_are_told_before_the_build(
    run: Callable[..., tuple[int, str, str]], server: FakeServer, flags: list[str]
) -> None:
    server.json("GET /_ping", {})
    code, _, err = run(*flags, ".")
    assert code == 1
    assert flags[1].rpartition("dest=")[2] in err
    assert "there is no directory gone: make it first" in err
    assert not [target for target, _, _ in server.requests if "/build" in target]


def test_outputs_come_here(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in (("dir/a", b"1"), ("b", b"22")):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o640
            archive.addfile(member, io.BytesIO(data))
    size = len(made.getvalue())
    server.replies["GET /build/output"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + made.getvalue()
    )
    server.json("GET /_ping", {})
    Path("out").mkdir()
    Path("out/b").write_text("old")
    assert run("-q", "-o", "out", "-o", "type=tar,dest=x.tar", ".")[0] == 0
    assert begun(server)["Outputs"] == [
        {"Type": "local", "Attributes": {}},
        {"Type": "tar", "Attributes": {}},
    ]
    assert Path("out/dir/a").read_bytes() == b"1"
    assert Path("out/b").read_bytes() == b"22"
    assert Path("x.tar").read_bytes() == made.getvalue()
    assert [query["index"] for query, _ in asked(server, "GET /build/output")] == [["0"], ["1"]]


@pytest.mark.parametrize("name", ["../evil", "/abs/../../evil", "link/evil"])
def test_a_hostile_output_stays_inside(
    run: Callable[..., tuple[int, str, str]], server: FakeServer, tmp_path: Path, name: str
) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo(name))
    body = made.getvalue()
    server.replies["GET /build/output"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    code, _out, err = run("-q", "-o", "out", ".")
    assert code == 1
    assert "out of" in err or "through" in err
    assert not list(tmp_path.rglob("evil"))


def test_another_docker_gets_a_tar(run: Callable[..., tuple[int, str, str]], server: FakeServer) -> None:
    del server.replies["POST /build/begin"]
    lines = [{"stream": "Step 1/3 : FROM debian:12\n"}, {"aux": {"ID": IMAGE["Id"]}}]
    body = "".join(json.dumps(line) + "\r\n" for line in lines).encode()
    server.replies["POST /build"] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert run("--iidfile", "../id", ".") == (0, "Step 1/3 : FROM debian:12\n", "")
    assert Path("../id").read_text() == IMAGE["Id"]
    with tarfile.open(fileobj=io.BytesIO(asked(server, "POST /build")[0][1])) as archive:
        assert archive.getnames() == ["Dockerfile"]
    assert run("-q", "-f", "-", ".", stdin=b"FROM scratch\n") == (0, IMAGE["Id"] + "\n", "")
    query, sent = asked(server, "POST /build")[1]
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        member = archive.extractfile(query["dockerfile"][0])
        assert member is not None
        assert member.read() == b"FROM scratch\n"
    Path("../secret").write_text("s")
    for flags in (
        ["-o", "out"],
        ["--metadata-file", "../built.json"],
        ["--secret", "id=s,src=../secret"],
        ["--build-context", "c=."],
        ["--explain"],
    ):
        code, _out, err = run(*flags, ".")
        assert code == 1
        assert f"not Carboy and builds without {flags[0].replace('-o', '--output')}: use" in err
    assert "without several --target: use" in run("--target", "a,b", ".")[2]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["/nonexistent"], "not found"),
        (["Dockerfile"], "is no directory: for a Dockerfile write -f Dockerfile, and its directory"),
        ([".."], "open ../Dockerfile: no such file or directory: -f names a Dockerfile that is"),
        (["-f", ".", "."], ". is a directory: -f names the file in it"),
        (["-f", "..", "."], "is a directory"),
        (["-f", "missing", "."], "failed to read dockerfile: open ./missing: no such file"),
        (["-f", "../missing", "."], "failed to read dockerfile: open ../missing: no such file"),
        (["--push", "."], "pushing"),
        (["-o", "type=registry", "."], "pushing"),
        (["-o", "type=image,push=true", "."], "pushing"),
        (["-o", "type=x", "."], "unknown --output type"),
        (["-o", "dest=x", "."], "type is required"),
        (["-o", "-", "-o", "type=oci,dest=-", "."], "only one"),
        (["--secret", "src=/nonexistent/x", "."], "cannot read"),
        (["--secret", "id=x,env=NOT_SET_AT_ALL", "."], "not set"),
        (["--secret", "id=x,mode=1", "."], "unexpected key 'mode'"),
        (["--ssh", "default=/nonexistent", "."], "no such file"),
        (["--cache-ttl", "5", "."], "unit"),
        (["--cache-to", "type=gha", "."], "type=gha"),
        (["--cache-to", "type=local", "."], "dest=DIRECTORY"),
        (["--add-host", "x", "."], "bad format for add-host"),
        (["--build-context", "x", "."], "NAME=PATH"),
        (["--build-context", "x=/nonexistent", "."], "not found"),
        (["--progress", "loud", "."], "invalid progress mode"),
        (["--memory", "lots", "."], "--memory"),
        (["-f", "-", "-"], "both"),
    ],
)
def test_refused(run: Callable[..., tuple[int, str, str]], arguments: list[str], text: str) -> None:
    code, out, err = run(*arguments)
    assert code in (1, 125)
    assert out == ""
    assert text in err


def test_a_dockerfile_by_another_name_is_told(tmp_path: Path) -> None:
    for name in ("Containerfile", "app.Dockerfile", "app.Dockerfile.dockerignore", "notes"):
        (tmp_path / name).write_text("FROM scratch")
    with pytest.raises(NotFound, match=r"or is elsewhere; here is Containerfile, app\.Dockerfile$"):
        buildcontext.gather(str(tmp_path), "", [], near=True)


def test_descriptions_of_steps_are_cut_in_the_table_only(
    server: FakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "[2/2] RUN " + "apt-get install -y everything && " * 9
    server.json("GET /system/df", {"BuildCache": [{"ID": "a", "Description": name, "Size": 1}]})
    for options, whole in (([], False), (["--verbose"], True), (["--format", "{{.Description}}"], True)):
        assert main.run(["-H", "unix://" + server.path, "builder", "du", *options]) == 0
        said = capfd.readouterr().out
        assert (name.strip() in said) == whole
        assert "RUN apt-get install" in said


@pytest.mark.parametrize(("said", "told"), [("Permission denied", True), ("Bad file", False)])
def test_a_program_without_the_right_to_run_has_a_remedy(
    server: FakeServer, run: Callable[..., tuple[int, str, str]], *, said: str, told: bool
) -> None:
    data = base64.b64encode(f"/bin/sh: 1: /run.sh: {said}\n".encode()).decode()
    text = "The command '/bin/sh -c /run.sh' returned a non-zero code: 126"
    output = {"Kind": "output", "Vertex": 2, "Time": 0.4, "Stream": 2, "Data": data}
    ended = {"Kind": "finished", "Vertex": 2, "Time": 1.3, "Seconds": 1.0, "Text": text}
    answer(server, [*GOOD[:6], output, ended, {"Kind": "failed", "Text": text, "ExitCode": 126}])
    code, _out, err = run(".")
    assert code == 1
    assert ("COPY --chmod=755" in err) == told


def test_a_mistyped_command_of_a_group_names_the_help_of_the_group(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["builder", "pruen"]) == 1
    assert "(did you mean prune?). See 'carboy builder --help'" in capfd.readouterr().err


def test_a_cache_that_is_not_there_yet_is_a_warning(
    run: Callable[..., tuple[int, str, str]], server: FakeServer
) -> None:
    """As it is before the first build of a machine: BuildKit goes on, too."""
    code, _out, err = run("--cache-from", "type=local,src=gone", "--cache-from", "app:1", ".")
    assert code == 0
    assert "WARNING: --cache-from: there is no cache in gone yet: it is not used" in err
    assert begun(server)["CacheFrom"] == [{"Type": "inline", "Attributes": {"ref": "app:1"}}]


def test_a_mistyped_right_is_told(run: Callable[..., tuple[int, str, str]]) -> None:
    code, _out, err = run("--allow", "network.hots", ".")
    assert code == 1
    assert 'invalid --allow "network.hots": write network.host, security.insecure or device=NAME' in err
