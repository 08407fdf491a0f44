"""What clients are told, over a real socket with the engine in memory."""

from __future__ import annotations

import json
import tempfile

import pytest

from support.api import Client
from support.fake_backend import FakeBackend

BUSYBOX = {"Image": "busybox", "Cmd": ["true"]}


def make(client: Client, name: str = "a", **more: object) -> str:
    status, reply = client.json("POST", f"/containers/create?name={name}", {**BUSYBOX, **more})
    assert status == 201
    return str(reply["Id"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.51"])
def test_ping_tells_its_facts_in_headers(client: Client, method: str, prefix: str) -> None:
    status, headers, body = client.call(method, f"{prefix}/_ping")
    assert status == 200
    assert body == (b"OK" if method == "GET" else b"")
    assert headers["api-version"] == "1.51"
    assert headers["docker-experimental"] == "false"
    assert headers["ostype"] == "linux"
    assert headers["builder-version"] == "1"
    assert headers["server"].startswith("Carboy/")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            "/v1.10/info",
            400,
            (
                "client version 1.10 is too old. Minimum supported API version is 1.24, "
                "please upgrade your client to a newer version"
            ),
        ),
        ("/v1.52/info", 400, "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ("/v1.41/nothing", 404, "page not found"),
        ("/nothing", 404, "page not found"),
        ("/vx/info", 404, "page not found"),
        ("/containers/none/json", 404, "No such container: none"),
        ("/containers/json?limit=many", 400, "invalid value of limit: 'many' is not a whole number"),
        ("/images/a/b:c/json", 404, "No such image: a/b:c"),
        ("/images/a%2Fb/json", 404, "No such image: a/b"),
        ("/containers/%ff/json", 400, "invalid path: it is not UTF-8"),
    ],
)
def test_refusals_say_why(client: Client, path: str, status: int, message: str) -> None:
    assert client.json("GET", path) == (status, {"message": message})


def test_a_swarm_is_refused_in_dockers_words(client: Client) -> None:
    status, reply = client.json("GET", "/v1.41/services")
    assert status == 503
    assert reply["message"].startswith("This node is not a swarm manager.")


def test_what_is_not_supported_says_so(client: Client) -> None:
    for method, path in [
        ("POST", "/build?squash=1"),
        ("POST", "/build?version=2"),
        ("POST", "/images/create?fromImage=x"),
    ]:
        status, reply = client.json(method, path)
        assert status == 501
        assert "not supported by Carboy" in reply["message"]


def test_the_life_of_a_container(client: Client) -> None:
    container_id = make(client)
    assert client.call("POST", "/containers/a/start")[0] == 204
    assert client.call("POST", "/containers/a/start")[0] == 304
    assert [one["Id"] for one in client.json("GET", "/containers/json")[1]] == [container_id]
    assert client.call("POST", "/containers/a/pause")[0] == 204
    assert client.json("GET", "/containers/a/json")[1]["State"]["Paused"] is True
    assert client.call("POST", "/containers/a/unpause")[0] == 204
    assert client.call("POST", "/containers/a/resize?h=20&w=80")[0] == 200
    assert client.json("DELETE", "/containers/a")[0] == 409
    assert client.call("POST", "/containers/a/stop?t=1")[0] == 204
    assert client.json("POST", "/containers/a/wait")[1] == {"StatusCode": 143}
    assert client.call("POST", "/containers/a/rename?name=b")[0] == 204
    assert client.call("DELETE", "/containers/b?v=1&force=1")[0] == 204
    assert client.json("GET", "/containers/json?all=1") == (200, [])


def test_unknown_fields_are_reported_to_the_engine(client: Client) -> None:
    document: dict[str, object] = {
        **BUSYBOX,
        "Neu": 1,
        "HostConfig": {"Alt": {}, "Binds": None},
        "NetworkingConfig": None,
    }
    _, reply = client.json("POST", "/containers/create", document)
    assert reply["Warnings"] == ["Neu: ignored", "HostConfig.Alt: ignored"]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"", "application/json", "invalid JSON: got EOF while reading request body"),
        (b"{", "application/json", "invalid JSON: Input data was truncated"),
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
        (
            b'{"Image": 1}',
            "application/json",
            "invalid request body: Expected `str`, got `int` - at `$.Image`",
        ),
        (b"[" * 100_000, "application/json", "invalid JSON: nested deeper than 32 levels"),
        (b"x" * 5_000_000, "application/json", "the request's body is larger than 4194304 bytes"),
    ],
)
def test_bad_bodies_are_refused(client: Client, body: bytes, content_type: str, message: str) -> None:
    status, _, data = client.call("POST", "/containers/create", body, {"Content-Type": content_type})
    assert (status, json.loads(data)["message"]) == (400, message)


def test_execs(client: Client) -> None:
    make(client)
    assert client.json("POST", "/containers/a/exec", {"Cmd": ["true"]})[0] == 409
    client.call("POST", "/containers/a/start")
    assert client.json("POST", "/containers/a/exec", {})[0] == 400
    status, made = client.json("POST", "/containers/a/exec", {"Cmd": ["true"]})
    assert status == 201
    assert client.json("POST", f"/exec/{made['Id']}/start", {"Detach": True})[0] == 200
    assert client.json("GET", f"/exec/{made['Id']}/json")[1]["ExitCode"] == 0
    assert client.json("POST", "/exec/none/start", {"Detach": True})[0] == 404


def test_images(client: Client) -> None:
    assert client.json("GET", "/images/json")[1][0]["RepoTags"] == ["busybox:latest"]
    assert client.call("POST", "/images/busybox/tag?repo=me/too&tag=1")[0] == 201
    assert client.call("POST", "/images/busybox/tag?repo=host:5000/me:2")[0] == 201
    assert client.json("GET", "/images/me/too:1/json")[1]["RepoTags"] == [
        "busybox:latest",
        "me/too:1",
        "host:5000/me:2",
    ]
    assert client.json("GET", "/images/me/too:1/history")[1][0]["CreatedBy"] == "import"
    assert client.json("DELETE", "/images/me/too:1?force=1")[1] == [{"Untagged": "me/too:1"}]
    make(client)
    assert client.json("POST", "/commit?container=a&repo=x")[1] == {"Id": "sha256:" + "2" * 64}


def test_loading_streams_the_body_and_the_progress(client: Client, backend: FakeBackend) -> None:
    body = bytes(range(256)) * 40_000
    status, _, data = client.call("POST", "/images/load", body)
    assert status == 200
    assert [json.loads(one) for one in data.splitlines()] == [
        {"status": "Loading layer", "id": "abc"},
        {"stream": f"Loaded image: {len(body)}\n"},
    ]
    assert backend.fake_images.loaded == body
    assert client.call("POST", "/images/load?quiet=1", body)[2].count(b"\n") == 1


def test_loading_fails_with_a_status_before_and_with_a_message_after_the_first_word(client: Client) -> None:
    status, _, data = client.call("POST", "/images/load", b"broken" + bytes(3_000_000))
    assert (status, json.loads(data)) == (400, {"message": "not an image archive"})
    status, _, data = client.call("POST", "/images/load", b"good until late")
    assert status == 200
    assert json.loads(data.splitlines()[-1])["errorDetail"]["message"] == "the archive breaks off"


def test_importing(client: Client, backend: FakeBackend) -> None:
    status, _, data = client.call("POST", "/images/create?fromSrc=-&repo=x", b"a tar")
    assert status == 200
    assert json.loads(data)["status"].startswith("sha256:")
    assert backend.fake_images.loaded == b"a tar"


def test_saving_streams(client: Client) -> None:
    for path in ("/images/busybox/get", "/images/get?names=busybox&names=busybox:latest"):
        status, headers, data = client.call("GET", path)
        assert (status, headers["content-type"], len(data)) == (200, "application/x-tar", 64 * 65536)
    assert client.json("GET", "/images/none/get")[0] == 404
    assert client.json("GET", "/images/get")[0] == 400


def test_a_local_client_passes_its_own_file(client: Client, backend: FakeBackend) -> None:
    with tempfile.TemporaryFile() as file:
        header = {"X-Carboy-Descriptor": str(file.fileno())}
        assert client.call("GET", "/images/busybox/get", headers=header)[0] == 200
        assert file.seek(0, 2) == 64 * 65536
        file.seek(0)
        assert client.call("POST", "/images/load", headers=header)[0] == 200
        assert len(backend.fake_images.loaded) == 64 * 65536
    for bad in ("x", "-1", "99999", "9" * 30):
        status, _, _ = client.call("POST", "/images/load", headers={"X-Carboy-Descriptor": bad})
        assert status == 400


def test_volumes_and_networks(client: Client) -> None:
    assert client.json("POST", "/volumes/create", {"Name": "v", "Labels": {"a": "b"}})[0] == 201
    assert client.json("GET", "/volumes")[1]["Volumes"][0]["Name"] == "v"
    assert client.json("GET", "/volumes/v")[1]["Labels"] == {"a": "b"}
    assert client.call("DELETE", "/volumes/v")[0] == 204
    assert client.json("DELETE", "/volumes/v")[0] == 404
    assert client.json("POST", "/volumes/prune")[1] == {"VolumesDeleted": [], "SpaceReclaimed": 0}
    assert client.json("GET", "/networks")[1][0]["Name"] == "bridge"
    assert client.json("GET", "/networks/none")[0] == 404


def test_system(client: Client, backend: FakeBackend) -> None:
    version = client.json("GET", "/version")[1]
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.51", "1.24")
    info = client.json("GET", "/info")[1]
    assert info["NCPU"] == 2
    assert info["OSType"] == "linux"
    assert client.json("GET", "/system/df")[1]["LayersSize"] == 0
    assert client.call("POST", "/carboy/system/reset")[0] == 200
    assert backend.fake_system.was_reset
