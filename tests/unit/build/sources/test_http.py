"""Requests of a build: bounds, redirects, credentials, proxies, TLS."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from carboy.build.progress import Cancellation
from carboy.build.sources import http as sources_http
from carboy.build.sources.http import Fetcher, TransferLimits, bypasses, check_status
from carboy.errors import (
    Cancelled,
    CarboyError,
    Corrupt,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unsupported,
)
from support.certificates import Authority
from support.webserver import Asked, Reply, WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def fetcher(**more: object) -> Fetcher:
    return Fetcher(**{"proxies": {}, "cancellation": Cancellation(), **more})  # type: ignore[arg-type]


def body_of(url: str, using: Fetcher | None = None) -> bytes:
    with (using or fetcher()).open(url) as response:
        check_status(response)
        return b"".join(iter(lambda: response.read(1000), b""))


def test_a_body_comes_whole(server: WebServer) -> None:
    server.answers["/a"] = Reply(b"x" * 5000)
    assert body_of(f"{server.url}/a") == b"x" * 5000
    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_body_without_a_length_comes_whole(server: WebServer) -> None:
    server.answers["/a"] = Reply(b"x" * 5000, length=False)
    assert body_of(f"{server.url}/a") == b"x" * 5000


def test_a_body_that_ends_early_is_an_error(server: WebServer) -> None:
    server.answers["/a"] = Reply(b"x" * 5000, cut=4000)
    with pytest.raises(Unavailable, match="ended after 4000 of 5000 bytes"):
        body_of(f"{server.url}/a")


def test_a_body_larger_than_the_limit_is_refused(server: WebServer) -> None:
    server.answers["/a"] = Reply(b"x" * 5000, length=False)
    with pytest.raises(InvalidArgument, match="more than 3000 bytes"):
        body_of(f"{server.url}/a", fetcher(limits=TransferLimits(size=3000)))


@pytest.mark.parametrize(
    ("status", "category"),
    [(404, NotFound), (410, NotFound), (403, PermissionDenied), (500, Unavailable), (400, InvalidArgument)],
)
def test_statuses_have_categories(server: WebServer, status: int, category: type[CarboyError]) -> None:
    server.answers["/a"] = Reply(status=status)
    with pytest.raises(category, match=f"invalid response status {status}"):
        body_of(f"{server.url}/a")


def test_redirects_are_followed(server: WebServer) -> None:
    server.answers["/a"] = Reply(status=302, headers={"Location": "/b"})
    server.answers["/b"] = Reply(b"here")
    assert body_of(f"{server.url}/a") == b"here"


def test_redirects_are_bounded(server: WebServer) -> None:
    server.answers["/a"] = Reply(status=302, headers={"Location": "/a"})
    with pytest.raises(Unavailable, match="more than 10 redirects"):
        body_of(f"{server.url}/a")
    assert len(server.asked) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x"])
def test_redirects_to_other_schemes_are_refused(server: WebServer, target: str) -> None:
    server.answers["/a"] = Reply(status=302, headers={"Location": target})
    with pytest.raises(InvalidArgument, match="only http:// and https://"):
        body_of(f"{server.url}/a")


def test_credentials_in_an_address_become_a_header(server: WebServer) -> None:
    server.answers["/a"] = Reply(b"x")
    body_of(f"http://us%40er:pass@127.0.0.1:{server.port}/a")
    expected = "Basic " + base64.b64encode(b"us@er:pass").decode()
    assert server.asked[0].headers["authorization"] == expected
    assert server.asked[0].headers["host"] == f"127.0.0.1:{server.port}"


def test_credentials_do_not_go_to_another_host(server: WebServer) -> None:
    with WebServer() as other:
        server.answers["/a"] = Reply(status=302, headers={"Location": f"{other.url}/b"})
        other.answers["/b"] = Reply(b"x")
        body_of(f"http://user:secret@127.0.0.1:{server.port}/a")
        with fetcher().open(f"{server.url}/a", authorization="Bearer t"):
            pass
        assert [asked.headers.get("authorization") for asked in other.asked] == [None, None]


def test_credentials_stay_on_the_same_host(server: WebServer) -> None:
    server.answers["/a"] = Reply(status=302, headers={"Location": "/b"})
    server.answers["/b"] = Reply(b"x")
    body_of(f"http://user:secret@127.0.0.1:{server.port}/a")
    assert "authorization" in server.asked[1].headers


def test_errors_show_no_credentials(server: WebServer) -> None:
    urls = [
        f"http://user:hunter2@127.0.0.1:{server.port}/missing?token=hunter2",
        "http://user:hunter2@127.0.0.1:1/refused",
        "ftp://user:hunter2@host/x",
        "http://user:hunter2@ho st/x",
    ]
    for url in urls:
        with pytest.raises(CarboyError) as caught:
            body_of(url)
        assert "hunter2" not in str(caught.value)
        assert "user" not in str(caught.value)


def test_a_host_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/a: cannot be reached: Connection refused"):
        body_of("http://127.0.0.1:1/a")


def test_silence_ends_after_a_time(server: WebServer) -> None:
    forever = threading.Event()
    server.answers["/a"] = Reply(b"x", wait=forever)
    try:
        with pytest.raises(Unavailable, match="no answer within"):
            body_of(f"{server.url}/a", fetcher(limits=TransferLimits(idle=0.1)))
    finally:
        forever.set()


def test_a_server_that_drips_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            stream, _ = listener.accept()
            with stream, contextlib.suppress(OSError):
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(40):
                    stream.sendall(b"x")
                    time.sleep(0.05)

        thread = threading.Thread(target=speak)
        thread.start()
        dripped = fetcher(limits=TransferLimits(total=0.2))
        with (
            dripped.open(f"http://127.0.0.1:{listener.getsockname()[1]}/a") as response,
            pytest.raises(Unavailable, match="the transfer took longer than"),
        ):
            while response.read(1 << 20):
                pass
        assert response.received < 40
        thread.join()


def test_a_cancelled_build_ends_a_transfer_at_once(server: WebServer) -> None:
    forever, cancellation = threading.Event(), Cancellation()
    server.answers["/a"] = Reply(b"x", wait=forever)
    timer = threading.Timer(0.1, cancellation.cancel, ("the client went away",))
    timer.start()
    try:
        with pytest.raises(Cancelled, match="the client went away"):
            body_of(f"{server.url}/a", fetcher(cancellation=cancellation))
    finally:
        forever.set()
        timer.join()


def test_rubbish_is_no_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            stream, _ = listener.accept()
            with stream:
                stream.recv(1000)
                stream.sendall(b"\x00\xff rubbish\r\n\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(Corrupt, match="not understood"):
            body_of(f"http://127.0.0.1:{listener.getsockname()[1]}/a")
        thread.join()


@contextlib.contextmanager
def tls_server(tmp_path: Path, authority: Authority) -> Iterator[WebServer]:
    folder = authority.issue(tmp_path / "server", "server", server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with WebServer(context) as server:
        yield server


def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = Authority("test")
    with tls_server(tmp_path, authority) as server:
        server.answers["/a"] = Reply(b"secure")
        with pytest.raises(PermissionDenied, match="certificate is not trusted"):
            body_of(f"{server.url}/a")
        ca = str(tmp_path / "server" / "ca.pem")
        trusting = fetcher(tls=lambda: ssl.create_default_context(cafile=ca))
        assert body_of(f"{server.url}/a", trusting) == b"secure"


def test_https_never_goes_down_to_http(tmp_path: Path, server: WebServer) -> None:
    with tls_server(tmp_path, Authority("test")) as secure:
        secure.answers["/a"] = Reply(status=302, headers={"Location": f"{server.url}/b?sig=x"})
        ca = str(tmp_path / "server" / "ca.pem")
        trusting = fetcher(tls=lambda: ssl.create_default_context(cafile=ca))
        with pytest.raises(PermissionDenied, match="redirected from https"):
            body_of(f"{secure.url}/a", trusting)
    assert server.asked == []


def test_proxies_of_the_build_are_used() -> None:
    with WebServer() as proxy:
        proxy.answers["*"] = Reply(b"from the proxy")
        using = fetcher(
            proxies={"HTTP_PROXY": f"http://me:word@127.0.0.1:{proxy.port}", "no_proxy": "not.this"}
        )
        assert body_of("http://example.test/a?b=c", using) == b"from the proxy"
        assert proxy.asked[0].path == "http://example.test/a?b=c"
        assert proxy.asked[0].headers["proxy-authorization"].startswith("Basic ")


def test_https_asks_the_proxy_for_a_tunnel() -> None:
    with WebServer() as proxy:
        proxy.answers["*"] = Reply(status=403)
        with pytest.raises(
            Unavailable, match=r"example\.test/a: cannot be reached: Tunnel connection failed: 403"
        ):
            body_of("https://example.test/a", fetcher(proxies={"https_proxy": f"127.0.0.1:{proxy.port}"}))
        assert (proxy.asked[0].method, proxy.asked[0].path) == ("CONNECT", "example.test:443")


def test_other_kinds_of_proxies_are_told() -> None:
    with pytest.raises(Unsupported, match="only http://host:port"):
        body_of("http://example.test/", fetcher(proxies={"http_proxy": "socks5://u:p@127.0.0.1:1"}))


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("http://localhost/", "", True),
        ("http://127.0.0.5/", "", True),
        ("http://[::1]/", "", True),
        ("http://example.test/", "", False),
        ("http://example.test/", "*", True),
        ("http://example.test/", "example.test", True),
        ("http://a.example.test/", "example.test", True),
        ("http://a.example.test/", ".example.test", True),
        ("http://example.test/", ".example.test", False),
        ("http://badexample.test/", "example.test", False),
        ("http://example.test:81/", "example.test:80", False),
        ("http://example.test/", "other, example.test:80", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3/", "10.1.2.3", True),
    ],
)
def test_no_proxy_is_read_as_by_go(url: str, no_proxy: str, expected: bool) -> None:
    assert bypasses(urlsplit(url), no_proxy) is expected


def test_requests_with_a_body_are_not_redirected(server: WebServer) -> None:
    def redirect(_asked: Asked) -> Reply:
        return Reply(status=307, headers={"Location": "/b"})

    server.answers["/a"] = redirect
    with pytest.raises(Unavailable, match="with a body"):
        fetcher().open(f"{server.url}/a", method="POST", body=b"x")


def test_where_shows_no_query() -> None:
    assert sources_http.where("https://u:p@h/p?X-Signature=1") == "https://h/p"
