"""What clients of every API version are told: the engine in memory and the real one pass the same tests.

A test class derives from `VersionContract` and has the fixtures `api` and `image`.
"""

from __future__ import annotations

import json

import pytest

from support.api import Client

VERSIONS = [f"1.{minor}" for minor in range(24, 52)]


class VersionContract:
    """Negotiation, headers, and fields that came or went with a version."""

    @pytest.mark.parametrize("version", ["", *VERSIONS])
    def test_every_version_is_served(self, api: Client, version: str) -> None:
        prefix = f"/v{version}" if version else ""
        for path in (
            "/_ping",
            "/version",
            "/info",
            "/containers/json",
            "/images/json",
            "/volumes",
            "/networks",
        ):
            status, headers, body = api.call("GET", prefix + path)
            assert status == 200, (path, body)
            assert headers["api-version"] == "1.51"
            assert headers["ostype"] == "linux"
            assert headers["docker-experimental"] == "false"
            assert headers["server"].startswith("Carboy/")

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_ping(self, api: Client, method: str) -> None:
        status, headers, body = api.call(method, "/_ping")
        assert (status, body) == (200, b"OK" if method == "GET" else b"")
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert headers["pragma"] == "no-cache"
        assert headers["swarm"] == "inactive"
        assert headers["builder-version"] == "1"

    @pytest.mark.parametrize(
        ("version", "words"),
        [
            (
                "1.23",
                (
                    "client version 1.23 is too old. Minimum supported API version is 1.24, "
                    "please upgrade your client to a newer version"
                ),
            ),
            ("1.52", "client version 1.52 is too new. Maximum supported API version is 1.51"),
            ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.51"),
        ],
    )
    def test_other_versions_are_refused(self, api: Client, version: str, words: str) -> None:
        for path in ("/_ping", "/info", "/nothing"):
            assert api.json("GET", f"/v{version}{path}") == (400, {"message": words})

    def test_what_came_later_is_not_there_before(self, api: Client) -> None:
        for method, path, since in (
            ("POST", "/containers/prune", 25),
            ("GET", "/plugins", 25),
            ("POST", "/build/prune", 31),
            ("GET", "/distribution/x/json", 30),
        ):
            assert api.json(method, f"/v1.{since - 1}{path}") == (404, {"message": "page not found"})
            assert api.call(method, f"/v1.{since}{path}")[0] != 404

    def test_options_are_answered(self, api: Client) -> None:
        assert api.call("OPTIONS", "/anything")[0] == 200

    def test_fields_of_images(self, api: Client, image: str) -> None:
        for version, there in (("1.43", True), ("1.44", False)):
            assert ("VirtualSize" in api.json("GET", f"/v{version}/images/json")[1][0]) == there
            assert ("VirtualSize" in api.json("GET", f"/v{version}/images/{image}/json")[1]) == there

    def test_fields_of_info(self, api: Client) -> None:
        old, middle, new = (api.json("GET", f"/v1.{minor}/info")[1] for minor in (43, 49, 51))
        assert old["RuncCommit"]["Expected"] == old["RuncCommit"]["ID"]
        assert "Expected" not in new["RuncCommit"]
        assert "FirewallBackend" not in old
        assert "BridgeNfIptables" in middle
        assert "BridgeNfIptables" not in new
        assert "CDISpecDirs" not in old
        for info in (old, middle, new):
            assert info["Swarm"]["LocalNodeState"] == "inactive"

    def test_outside_a_swarm(self, api: Client) -> None:
        words = (
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
            "to connect this node to swarm and try again."
        )
        for path in ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/nodes/x"):
            assert api.json("GET", path) == (503, {"message": words})
        assert api.json("POST", "/swarm/leave") == (503, {"message": "This node is not part of a swarm"})
        assert api.json("GET", "/plugins") == (200, [])
        assert api.json("GET", "/plugins/x/json") == (404, {"message": 'plugin "x" not found'})

    @pytest.mark.parametrize("path", ["/containers/json", "/images/json", "/volumes", "/networks"])
    def test_filters_in_both_forms(self, api: Client, path: str) -> None:
        for filters in ({"label": ["no=such"]}, {"label": {"no=such": True}}):
            status, found = api.json("GET", f"{path}?filters={quoted(filters)}")
            assert (status, found["Volumes"] if isinstance(found, dict) else found) == (200, [])
        status, answer = api.json("GET", f"{path}?filters={quoted({'nonsense': ['x']})}")
        assert (status, answer) == (400, {"message": "invalid filter 'nonsense'"})
        assert api.json("GET", f"{path}?filters=nonsense")[0] == 400

    def test_what_is_for_later_says_so(self, api: Client) -> None:
        for method, path, body in (
            ("POST", "/auth", {"username": "me", "password": "secret-word", "serveraddress": "reg.example"}),
            ("GET", "/distribution/busybox/json", None),
            ("GET", "/images/search?term=x", None),
            ("POST", "/session", None),
        ):
            status, answer = api.json(method, path, body)
            assert status == 501
            assert "not supported by Carboy yet" in answer["message"]
            assert "secret-word" not in answer["message"]
        assert api.json("GET", "/distribution/UPPER/json")[0] == 400

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "invalid JSON: got EOF while reading request body"),
            (b"{", "invalid JSON"),
            (b"{} {}", "invalid JSON"),
            (b"[]", "invalid request body"),
            (b'{"Image": {}}', "invalid request body"),
        ],
    )
    def test_bad_bodies(self, api: Client, body: bytes, words: str) -> None:
        for content in (body, iter([body] if body else [])):
            status, headers, data = api.call(
                "POST", "/containers/create", content, {"Content-Type": "application/json"}
            )
            assert status == 400
            assert headers["content-type"] == "application/json"
            assert words in json.loads(data)["message"]


def quoted(filters: object) -> str:
    """As a part of a query."""
    return json.dumps(filters).replace('"', "%22").replace(" ", "").replace("{", "%7B").replace("}", "%7D")
