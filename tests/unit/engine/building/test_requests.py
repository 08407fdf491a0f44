"""Requests in Docker's words and ours."""

from __future__ import annotations

import pytest

from carboy.build.request import BuildRequest as Request
from carboy.build.request import ImageContext, LocalContext, Output, RemoteContext, TarContext
from carboy.engine.building.requests import (
    Descriptors,
    build_request,
    context_of,
    named_descriptors,
    parse_tag,
    proxies_of,
)
from carboy.errors import CarboyError, InvalidArgument
from carboy.formats.dockerapi.build import (
    BuildCacheLocation,
    BuildContext,
    BuildOptions,
    BuildOutput,
    BuildQuery,
)

NONE = Descriptors({})


def made(query: BuildQuery | None = None, options: BuildOptions | None = None, **numbers: int) -> Request:
    return build_request(
        query or BuildQuery(),
        options or BuildOptions(),
        context=None,
        contexts={},
        descriptors=Descriptors({int(name[1:]): value for name, value in numbers.items()}),
    )


def test_nothing_asks_for_an_image() -> None:
    assert made() == Request(context=None)
    assert made().outputs == (Output(),)


def test_both_sides_come_together() -> None:
    query = BuildQuery(
        tags=("a", "a:latest", "b:1"),
        target="t",
        platforms=("linux/arm64/v8",),
        network="host",
        cache_from=("img",),
        memory=5,
        ulimits=(("nofile", 1, 2),),
        arguments={"SOURCE_DATE_EPOCH": " 12 "},
        dockerfile="d",
    )
    options = BuildOptions(
        targets=["x", "y"],
        allow=["security.insecure"],
        cache_to=[BuildCacheLocation(type="local", descriptor=4)],
        outputs=[BuildOutput(type="oci", attributes={"name": "n"})],
        secrets={"s": b"v"},
        explain=True,
    )
    found = made(query, options, n4=40)
    assert found.tags == ("a:latest", "b:1")
    assert found.targets == ("x", "y")
    assert found.platforms == ("linux/arm64/v8",)
    assert found.network == "host"
    assert found.allow == ("security.insecure", "network.host")
    assert found.cache_from[0].attributes == {"ref": "img"}
    assert found.cache_to[0].directory == 40
    assert found.outputs[0].type == "oci"
    assert found.limits.memory == 5
    assert found.limits.ulimits == (("nofile", 1, 2),)
    assert found.epoch == 12
    assert found.secrets == {"s": b"v"}
    assert found.explain


@pytest.mark.parametrize(
    ("query", "options"),
    [
        (BuildQuery(tags=("UPPER",)), BuildOptions()),
        (BuildQuery(tags=("a@sha256:" + "0" * 64,)), BuildOptions()),
        (BuildQuery(network="container:x"), BuildOptions()),
        (BuildQuery(network="own"), BuildOptions()),
        (BuildQuery(platforms=("windows/amd64",)), BuildOptions()),
        (BuildQuery(arguments={"SOURCE_DATE_EPOCH": "-1"}), BuildOptions()),
        (BuildQuery(), BuildOptions(epoch=-1)),
        (BuildQuery(), BuildOptions(epoch=10**13)),
        (BuildQuery(), BuildOptions(outputs=[BuildOutput(type="registry")])),
        (BuildQuery(), BuildOptions(outputs=[BuildOutput(attributes={"push": "true"})])),
        (BuildQuery(), BuildOptions(outputs=[BuildOutput(type="odd")])),
        (BuildQuery(), BuildOptions(outputs=[BuildOutput(type="tar", attributes={"odd": "1"})])),
        (BuildQuery(), BuildOptions(outputs=[BuildOutput(type="oci", attributes={"compression": "x"})])),
        (BuildQuery(), BuildOptions(cache_from=[BuildCacheLocation(type="s3")])),
        (BuildQuery(), BuildOptions(cache_from=[BuildCacheLocation(type="local", descriptor=9)])),
    ],
)
def test_what_makes_no_sense_is_refused(query: BuildQuery, options: BuildOptions) -> None:
    with pytest.raises(CarboyError) as caught:
        made(query, options)
    assert caught.value.status in (400, 501)


def test_contexts_of_every_kind() -> None:
    numbers = Descriptors({3: 30})
    assert context_of(
        BuildContext(kind="directory", descriptor=3, path="/p"), "", numbers, {}
    ) == LocalContext(root=30, path="/p")
    assert context_of(BuildContext(kind="archive", descriptor=3), "", numbers, {}) == TarContext(
        descriptor=30
    )
    assert context_of(BuildContext(kind="archive"), "n", NONE, {"n": 7}) == TarContext(descriptor=7)
    assert context_of(BuildContext(kind="remote", url="u"), "n", NONE, {}) == RemoteContext(url="u")
    assert context_of(BuildContext(kind="image", reference="r"), "n", NONE, {}) == ImageContext(reference="r")
    for bad in (
        BuildContext(kind="odd"),
        BuildContext(kind="archive"),
        BuildContext(kind="archive", descriptor=5),
        BuildContext(kind="directory"),
    ):
        with pytest.raises(InvalidArgument):
            context_of(bad, "n", numbers, {})


def test_descriptors_are_named_with_their_kinds() -> None:
    options = BuildOptions(
        context=BuildContext(kind="directory", descriptor=3),
        contexts={"a": BuildContext(kind="archive", descriptor=4), "b": BuildContext(kind="remote", url="x")},
        cache_to=[BuildCacheLocation(type="local", descriptor=5)],
    )
    assert sorted(named_descriptors(options)) == [(3, True), (4, False), (5, True)]


def test_proxies_of_the_client_win_and_have_both_spellings() -> None:
    query = BuildQuery(arguments={"http_proxy": "argument", "OTHER": "x"})
    options = BuildOptions(proxies={"NO_PROXY": "client", "HTTP_PROXY": "client"})
    found = proxies_of(query, options, {"HTTP_PROXY": "daemon", "HTTPS_PROXY": "daemon", "PATH": "x"})
    assert found["http_proxy"] == "argument"
    assert found["no_proxy"] == found["NO_PROXY"] == "client"
    assert found["https_proxy"] == "daemon"
    assert "OTHER" not in found
    assert "PATH" not in found


def test_tags_are_whole_names() -> None:
    assert parse_tag("a").familiar == "a:latest"
