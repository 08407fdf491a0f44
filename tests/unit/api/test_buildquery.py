"""The query of `POST /build`: Docker's forms, and every field under hostile values."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.api import buildfields
from carboy.api.buildquery import read_build_query, read_prune_options
from carboy.api.query import Query
from carboy.errors import CarboyError, InvalidArgument, Unsupported
from carboy.formats.dockerapi.build import BuildOutput, BuildQuery, CachePruneOptions

FIELDS = str.split(
    "dockerfile t extrahosts remote q nocache cachefrom pull rm forcerm memory memswap cpushares cpusetcpus"
    " cpusetmems cpuperiod cpuquota buildargs shmsize squash labels networkmode platform target outputs"
    " version ulimits cgroupparent build buildid isolation securityopt"
)


def read(**fields: object) -> BuildQuery:
    pairs = [
        (name, one)
        for name, value in fields.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return read_build_query(Query.parse(urlencode(pairs)))


def test_nothing_is_all_defaults() -> None:
    assert read() == BuildQuery()


def test_everything_as_docker_sends_it() -> None:
    found = read(
        t=["a", "b:2"],
        dockerfile="x/Dockerfile",
        remote="https://a/b.git#c",
        q="1",
        nocache="true",
        pull="1",
        buildargs='{"A":"1","B":null}',
        labels='{"l":"v"}',
        cachefrom='["one","two"]',
        ulimits='[{"Name":"nofile","Soft":1,"Hard":2}]',
        outputs='[{"Type":"tar","Attrs":{"dest":"x"}}]',
        extrahosts=["a:1.2.3.4", "b:5.6.7.8,c:9.9.9.9"],
        memory="1024",
        memswap="-1",
        cpushares="2",
        cpuperiod="3",
        cpuquota="-1",
        cpusetcpus="0-1",
        cpusetmems="0",
        shmsize="64",
        cgroupparent="/x",
        networkmode="host",
        platform="linux/amd64, linux/arm64",
        target="final",
        version="1",
        rm="0",
    )
    assert found == BuildQuery(
        tags=("a", "b:2"),
        dockerfile="x/Dockerfile",
        remote="https://a/b.git#c",
        quiet=True,
        no_cache=True,
        pull=True,
        arguments={"A": "1"},
        labels={"l": "v"},
        cache_from=("one", "two"),
        ulimits=(("nofile", 1, 2),),
        outputs=(BuildOutput(type="tar", attributes={"dest": "x"}),),
        extra_hosts=("a:1.2.3.4", "b:5.6.7.8", "c:9.9.9.9"),
        memory=1024,
        memory_swap=-1,
        cpu_shares=2,
        cpu_period=3,
        cpu_quota=-1,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        shm_size=64,
        cgroup_parent="/x",
        network="host",
        platforms=("linux/amd64", "linux/arm64"),
        target="final",
        warnings=("containers of steps are never kept: --rm=false is ignored",),
    )


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"squash": "1"}, 501, "squash"),
        ({"version": "2"}, 501, "DOCKER_BUILDKIT=0"),
        ({"isolation": "hyperv"}, 400, "isolation"),
        ({"memory": "-1"}, 400, "memory"),
        ({"buildid": "a/b"}, 400, "buildid"),
        ({"build": "x" * 129}, 400, "build"),
        ({"buildargs": '{"A":1}'}, 400, "buildargs"),
        ({"labels": "[" * 100}, 400, "labels"),
        ({"ulimits": '[{"Name":7}]'}, 400, "ulimits"),
        ({"cachefrom": '"x"'}, 400, "cachefrom"),
        ({"outputs": '{"Type":"x"}'}, 400, "outputs"),
    ],
)
def test_what_is_refused(fields: dict[str, str], status: int, words: str) -> None:
    with pytest.raises(CarboyError) as caught:
        read(**fields)
    assert caught.value.status == status
    assert words in str(caught.value)


VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["", "null", "{}", "[]", "[null]", '{"a":null}', "-1", "9" * 17, "1e9", "true", "\0", "\ud800"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ).map(json.dumps),
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_values_are_read_or_refused(fields: dict[str, str]) -> None:
    try:
        found = read_build_query(Query(fields.items()))
    except (InvalidArgument, Unsupported):
        return
    else:
        assert isinstance(found, BuildQuery)


def test_every_field_is_in_the_table() -> None:
    assert {one.path for one in buildfields.FIELDS} - {"X-Registry-Config"} == set(FIELDS)


def test_prunes_have_old_and_new_words() -> None:
    def options(**fields: object) -> CachePruneOptions:
        return read_prune_options(Query.parse(urlencode(fields)))

    assert options() == CachePruneOptions()
    assert options(**{"keep-storage": 5}) == CachePruneOptions(reserved_space=5)
    assert options(**{"keep-storage": 5, "reserved-space": 6}) == CachePruneOptions(reserved_space=6)
    assert options(**{"all": 1, "max-used-space": 7, "min-free-space": 8}) == CachePruneOptions(
        everything=True, max_used_space=7, min_free_space=8
    )
