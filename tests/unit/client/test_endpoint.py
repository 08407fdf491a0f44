"""Which daemon a command speaks to: flags, environment, contexts and settings in Docker's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.client import address, config, contexts, endpoint
from carboy.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

HOME = address.Home("/var/lib/carboy", "/run/carboy")
OWN = "unix:///run/carboy/carboy.sock"


def choose(
    wish: endpoint.Wish | None = None, folder: str = "/nowhere", **environment: str
) -> tuple[str, str, bool]:
    found = endpoint.resolve(wish or endpoint.Wish(hosts=[]), environment, config.load(folder), HOME)
    return found.address.url, found.context, found.own


@pytest.fixture
def store(tmp_path: Path) -> str:
    root = str(tmp_path)
    for name in ("one", "two", "three"):
        made = contexts.Context(name, {}, {"Host": f"tcp://{name}.example:1"}, root=root)
        contexts.save(root, made, {}, new=True)
    return root


def test_without_contexts() -> None:
    assert choose() == (OWN, "default", True)
    assert choose(DOCKER_HOST="tcp://h:1") == ("tcp://h:1", "default", False)
    assert choose(DOCKER_HOST="tcp://h:1", CARBOY_HOST="unix:///s") == ("unix:///s", "default", False)
    assert choose(DOCKER_HOST=OWN) == (OWN, "default", True)
    assert choose(endpoint.Wish(hosts=[OWN])) == (OWN, "default", False)


def test_the_order_of_contexts(store: str) -> None:
    config.set_context(store, "one")
    assert choose(folder=store) == ("tcp://one.example:1", "one", False)
    assert choose(folder=store, DOCKER_CONTEXT="two")[1] == "two"
    assert choose(folder=store, DOCKER_CONTEXT="two", DOCKER_HOST="tcp://h:1")[0] == "tcp://h:1"
    wish = endpoint.Wish(hosts=[], context="three")
    assert choose(wish, store, DOCKER_CONTEXT="two", DOCKER_HOST="tcp://h:1")[1] == "three"
    assert choose(endpoint.Wish(hosts=["tcp://f:1"]), store, DOCKER_CONTEXT="two")[0] == "tcp://f:1"
    assert choose(endpoint.Wish(hosts=[], context="default"), store) == (OWN, "default", True)
    config.set_context(store, "")
    assert choose(folder=store) == (OWN, "default", True)


def test_a_context_may_name_our_own_daemon(store: str) -> None:
    contexts.save(store, contexts.Context("here", {}, {"Host": OWN}, root=store), {}, new=True)
    assert choose(endpoint.Wish(hosts=[], context="here"), store) == (OWN, "here", True)


def test_conflicts_and_absent_contexts(store: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot specify both --host and --context"):
        choose(endpoint.Wish(hosts=["tcp://h:1"], context="one"), store)
    with pytest.raises(InvalidArgument, match="specify only one -H"):
        choose(endpoint.Wish(hosts=["tcp://h:1", "tcp://h:2"]))
    with pytest.raises(
        InvalidArgument, match=r'context "gone": context not found: open .*meta.json: no such file'
    ):
        choose(endpoint.Wish(hosts=[], context="gone"), store)
    config.set_context(store, "gone")
    with pytest.raises(InvalidArgument, match="context use default"):
        choose(folder=store)


def tls_of(wish: endpoint.Wish, folder: str, **environment: str) -> address.Tls | None:
    return endpoint.resolve(wish, environment, config.load(folder), HOME).address.tls


def test_tls_by_flags_and_environment(tmp_path: Path) -> None:
    folder = str(tmp_path)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    host = {"DOCKER_HOST": "tcp://h"}
    assert tls_of(endpoint.Wish(hosts=[]), folder, **host) is None
    found = tls_of(endpoint.Wish(hosts=[]), folder, DOCKER_TLS_VERIFY="1", **host)
    assert found is not None
    assert (found.ca, found.cert, found.key, found.verify) == (
        f"{folder}/ca.pem",
        f"{folder}/cert.pem",
        f"{folder}/key.pem",
        True,
    )
    found = tls_of(
        endpoint.Wish(hosts=[]), "/nowhere", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=folder, **host
    )
    assert found is not None
    assert found.ca == f"{folder}/ca.pem"
    found = tls_of(endpoint.Wish(hosts=[], tls=True, cert="/c", key="/k"), folder, **host)
    assert found is not None
    assert (found.verify, found.ca, found.cert, found.key) == (False, "", "/c", "/k")
    found = tls_of(endpoint.Wish(hosts=[], verify=True, ca="/ca"), "/nowhere", **host)
    assert found is not None
    assert (found.verify, found.ca, found.cert) == (True, "/ca", "")


def test_tls_of_a_context(tmp_path: Path) -> None:
    root = str(tmp_path)
    made = contexts.Context("far", {}, {"Host": "tcp://h:9", "SkipTLSVerify": False}, root=root)
    contexts.save(root, made, {"ca.pem": b"A", "key.pem": b"K"}, new=True)
    found = tls_of(endpoint.Wish(hosts=[], context="far"), root)
    assert found is not None
    assert found.ca == f"{made.tls_path}/docker/ca.pem"
    assert (found.cert, found.verify) == ("", True)


def test_settings_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{bad")
    found = config.load(str(tmp_path))
    assert "Error parsing config file" in found.warning
    assert found.data == {}
    with pytest.raises(InvalidArgument):
        config.set_context(str(tmp_path), "x")
    assert (tmp_path / "config.json").read_text() == "{bad"


def test_setting_the_context_keeps_everything_else(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"auths": {"r": {"auth": "x"}}, "psFormat": "é"}')
    file.chmod(0o600)
    config.set_context(str(tmp_path), "one")
    found = config.load(str(tmp_path))
    assert (found.context, found.data["auths"], found.format_of("ps")) == ("one", {"r": {"auth": "x"}}, "é")
    assert file.stat().st_mode & 0o777 == 0o600
    config.set_context(str(tmp_path), "")
    assert "currentContext" not in file.read_text()


def test_proxies_and_headers() -> None:
    table = {"default": {"httpProxy": "http://p", "noProxy": "x"}, "tcp://h:1": {"httpsProxy": "http://q"}}
    found = config.UserConfig("/x", {"proxies": table, "HttpHeaders": {"X-Me": "1", "User-Agent": "no"}})
    assert found.proxies("unix:///s")["http_proxy"] == "http://p"
    assert found.proxies("tcp://h:1") == {"HTTPS_PROXY": "http://q", "https_proxy": "http://q"}
    assert found.headers == (("X-Me", "1"),)
    added = config.add_proxies(["HTTPS_PROXY=mine"], found.proxies("tcp://h:1"))
    assert added == ["HTTPS_PROXY=mine", "https_proxy=http://q"]
    with pytest.raises(InvalidArgument):
        _ = config.UserConfig("/x", {"HttpHeaders": {"X": "a\r\nb"}}).headers
