"""What every engine behind the API answers: the one in memory and the real one pass the same tests.

A test class derives from `BackendContract` and has the fixtures `api` (a `support.api.Client`)
and `image` (the name of an image with `sleep` and `true`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import tars
from support.api import Client
from support.archives import make_tar


class BackendContract:
    """Statuses and texts that clients rely on."""

    @pytest.fixture(autouse=True)
    def _clean(self, api: Client) -> Iterator[None]:
        yield
        for one in api.json("GET", "/containers/json?all=1")[1]:
            api.call("DELETE", f"/containers/{one['Id']}?force=1&v=1")

    def create(self, api: Client, image: str, name: str = "subject", **more: object) -> str:
        body = {"Image": image, "Cmd": ["sleep", "100"], "HostConfig": {"NetworkMode": "none"}, **more}
        status, reply = api.json("POST", f"/containers/create?name={name}", body)
        assert status == 201, reply
        assert len(reply["Id"]) == 64
        return str(reply["Id"])

    def test_what_does_not_exist(self, api: Client, image: str) -> None:
        for method, path in [
            ("GET", "/containers/none/json"),
            ("POST", "/containers/none/start"),
            ("POST", "/containers/none/stop"),
            ("POST", "/containers/none/wait"),
            ("POST", "/containers/none/rename?name=x"),
            ("GET", "/containers/none/logs?stdout=1"),
            ("GET", "/containers/none/archive?path=/"),
            ("GET", "/containers/none/changes"),
            ("GET", "/containers/none/export"),
            ("POST", "/containers/none/attach?stream=1"),
            ("GET", "/containers/none/stats"),
            ("GET", "/containers/none/top"),
            ("DELETE", "/containers/none"),
        ]:
            assert api.json(method, path) == (404, {"message": "No such container: none"})
        killed = api.json("POST", "/containers/none/kill")
        assert killed == (404, {"message": "cannot kill container: none: No such container: none"})
        assert api.json("GET", "/images/no-such-image/json")[0] == 404
        assert (
            "No such image"
            in api.json("POST", "/containers/create", {"Image": "no-such-image"})[1]["message"]
        )
        assert api.json("GET", "/exec/none/json")[0] == 404
        assert api.json("GET", "/volumes/none")[0] == 404
        assert api.json("GET", "/networks/no-such-network")[0] == 404
        assert api.json("POST", "/networks/prune") == (200, {"NetworksDeleted": None})

    def test_a_container_is_found_by_name_id_and_prefix(self, api: Client, image: str) -> None:
        container_id = self.create(api, image)
        for ref in ("subject", container_id, container_id[:12]):
            status, document = api.json("GET", f"/containers/{ref}/json")
            assert (status, document["Id"]) == (200, container_id)
            assert document["Name"] == "/subject"
            assert document["State"]["Status"] == "created"

    def test_a_taken_name(self, api: Client, image: str) -> None:
        self.create(api, image)
        status, reply = api.json("POST", "/containers/create?name=subject", {"Image": image, "Cmd": ["true"]})
        assert status == 409
        assert reply["message"].startswith(
            'Conflict. The container name "/subject" is already in use by container '
        )

    def test_started_twice_stopped_twice(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.call("POST", "/containers/subject/start")[0] == 204
        assert api.call("POST", "/containers/subject/start")[0] == 304
        assert api.call("POST", "/containers/subject/stop?t=0")[0] == 204
        assert api.call("POST", "/containers/subject/stop?t=0")[0] == 304
        status, reply = api.json("POST", "/containers/subject/kill")
        assert status == 409
        assert "is not running" in reply["message"]

    def test_a_running_container_is_not_removed(self, api: Client, image: str) -> None:
        self.create(api, image)
        api.call("POST", "/containers/subject/start")
        assert api.json("DELETE", "/containers/subject")[0] == 409
        assert api.call("DELETE", "/containers/subject?force=1")[0] == 204
        assert api.json("GET", "/containers/subject/json")[0] == 404

    @pytest.mark.parametrize("condition", ["", "not-running", "next-exit", "removed"])
    def test_waiting(self, api: Client, image: str, condition: str) -> None:
        self.create(api, image)
        api.call("POST", "/containers/subject/start")
        found: list[Any] = []

        def wait() -> None:
            found.append(api.json("POST", f"/v1.41/containers/subject/wait?condition={condition}"))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        api.call("DELETE" if condition == "removed" else "POST", self._end(condition))
        thread.join(40)
        assert found == [(200, {"StatusCode": 137})]

    @staticmethod
    def _end(condition: str) -> str:
        return "/containers/subject?force=1" if condition == "removed" else "/containers/subject/kill"

    def test_waiting_for_what_is_not_running(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.json("POST", "/containers/subject/wait") == (200, {"StatusCode": 0})

    def test_pausing(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.json("POST", "/containers/subject/pause")[0] == 409
        api.call("POST", "/containers/subject/start")
        assert api.call("POST", "/containers/subject/pause")[0] == 204
        assert api.json("GET", "/containers/subject/json")[1]["State"]["Paused"] is True
        assert api.call("POST", "/containers/subject/unpause")[0] == 204
        assert api.json("GET", "/containers/subject/json")[1]["State"]["Status"] == "running"

    def test_lists_and_filters(self, api: Client, image: str) -> None:
        self.create(api, image, Labels={"kind": "test"})
        assert api.json("GET", "/containers/json")[1] == []
        found = api.json("GET", "/containers/json?all=1")[1]
        assert [(one["Names"], one["State"], one["Labels"]) for one in found] == [
            (["/subject"], "created", {"kind": "test"})
        ]
        for filters, count in (({"label": ["kind"]}, 1), ({"label": ["kind=x"]}, 0), ({"name": ["sub"]}, 1)):
            query = json.dumps(filters).replace('"', "%22").replace(" ", "")
            assert len(api.json("GET", f"/containers/json?all=1&filters={query}")[1]) == count

    def test_renaming(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.json("POST", "/containers/subject/rename?name=")[0] == 400
        assert api.call("POST", "/containers/subject/rename?name=other")[0] == 204
        assert api.json("GET", "/containers/subject/json")[0] == 404
        assert api.json("GET", "/containers/other/json")[0] == 200

    def test_execs_need_a_running_container(self, api: Client, image: str) -> None:
        self.create(api, image)
        status, reply = api.json("POST", "/containers/subject/exec", {"Cmd": ["true"]})
        assert status == 409
        assert "is not running" in reply["message"]

    def test_volumes(self, api: Client) -> None:
        assert api.json("POST", "/volumes/create", {"Name": "contract", "Labels": {"a": "b"}})[0] == 201
        assert api.json("GET", "/volumes/contract")[1]["Labels"] == {"a": "b"}
        assert api.call("DELETE", "/volumes/contract")[0] == 204
        assert api.json("DELETE", "/volumes/contract")[0] == 404
        assert api.call("DELETE", "/volumes/contract?force=1")[0] == 204

    def test_figures_and_processes(self, api: Client, image: str) -> None:
        container_id = self.create(api, image)
        status, frame = api.json("GET", "/containers/subject/stats?stream=0")
        assert (status, frame["id"], frame["name"]) == (200, container_id, "/subject")
        assert frame["pids_stats"] == {}
        status, reply = api.json("GET", "/containers/subject/top")
        assert status == 409
        assert reply["message"].endswith("is not running")
        api.call("POST", "/containers/subject/start")
        status, found = api.json("GET", "/containers/subject/top")
        assert status == 200
        assert found["Processes"][0][-1] == "sleep 100"
        assert api.json("GET", "/containers/subject/top?ps_args=--bogus")[0] == 400

    def test_updates(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.json("POST", "/containers/subject/update", {"CpuShares": 512}) == (200, {"Warnings": None})
        status, reply = api.json("POST", "/containers/subject/update", {"Memory": 1000})
        assert (status, reply["message"]) == (400, "Minimum memory limit allowed is 6MB")

    def test_files_in_and_out(self, api: Client, image: str) -> None:
        self.create(api, image)
        assert api.json("GET", "/containers/subject/changes") == (200, [])
        assert api.json("GET", "/containers/subject/archive")[0] == 400
        status, reply = api.json("GET", "/containers/subject/archive?path=/none")
        assert (status, reply["message"]) == (404, "Could not find the file /none in container subject")
        assert api.call("HEAD", "/containers/subject/archive?path=/none")[0] == 404
        tar = tars.make(tars.file("contract", b"in and out"))
        assert api.call("PUT", "/containers/subject/archive?path=/", tar)[0] == 200
        assert api.json("GET", "/containers/subject/changes")[1] == [{"Path": "/contract", "Kind": 1}]
        assert b"in and out" in api.call("GET", "/containers/subject/archive?path=/contract")[2]
        assert b"in and out" in api.call("GET", "/containers/subject/export")[2]
        status, _, body = api.call("PUT", "/containers/subject/archive?path=/contract", tar)
        assert (status, b"extraction point is not a directory" in body) == (400, True)

    def test_prunes(self, api: Client, image: str) -> None:
        container_id = self.create(api, image)
        status, found = api.json("POST", "/containers/prune")
        assert (status, found["ContainersDeleted"]) == (200, [container_id])
        assert api.json("POST", "/images/prune")[0] == 200
        assert api.json("POST", "/containers/prune?filters=%7B%22odd%22:%5B%22x%22%5D%7D")[0] == 400

    def test_bad_names_of_images(self, api: Client, image: str) -> None:
        status, _ = api.json("POST", f"/images/{image}/tag?repo=UPPER&tag=1")
        assert status == 400

    def test_builds(self, api: Client) -> None:
        context = make_tar({"Dockerfile": b"FROM scratch\nLABEL a=b\n"})
        status, headers, data = api.call("POST", "/build", context)
        assert status == 200
        assert headers["content-type"] == "application/json"
        messages = [json.loads(line) for line in data.splitlines()]
        image_id = next(one["aux"]["ID"] for one in messages if "aux" in one)
        assert image_id.startswith("sha256:")
        text = "".join(one.get("stream", "") for one in messages)
        assert f"Successfully built {image_id[7:19]}\n" in text
        for query, code in (("squash=1", 501), ("version=2", 501), ("buildargs={", 400), ("memory=x", 400)):
            assert api.call("POST", f"/build?{query}", context)[0] == code
        assert api.call("POST", "/build/cancel")[0] == 400
        assert api.call("POST", "/build/cancel?id=none")[0] == 200

    def test_builds_that_are_announced(self, api: Client) -> None:
        unknown = "0" * 32
        assert api.call("POST", f"/build?build={unknown}", b"")[0] == 404
        assert api.call("GET", f"/build/output?build={unknown}&index=5")[0] == 404
        assert api.call("PUT", f"/build/context?build={unknown}&name=a", b"")[0] == 404
        status, reply = api.json("POST", "/build/begin", {"Nonsense": 1})
        assert status == 400
        assert "Nonsense" in reply["message"]
        options = {"Contexts": {"a": {"Kind": "archive"}}, "Outputs": [{"Type": "tar"}]}
        build = api.json("POST", "/build/begin", options)[1]["Id"]
        path = f"/build/context?build={build}&name=a"
        assert api.call("PUT", path, make_tar({"x": b"y"}))[0] == 200
        context = make_tar({"Dockerfile": b"FROM scratch\nLABEL a=c\n"})
        assert api.call("POST", f"/build?build={build}", context)[0] == 200
        status, headers, data = api.call("GET", f"/build/output?build={build}")
        assert (status, headers["content-type"]) == (200, "application/x-tar")
        assert data == bytes(1024)
        assert api.call("POST", f"/build?build={build}", context)[0] == 404
