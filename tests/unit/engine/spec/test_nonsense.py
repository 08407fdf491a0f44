"""Whatever a client sends, create answers with an error of ours or takes it: no other exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from carboy.engine.containers.sharing import parse_link
from carboy.engine.spec.check import check_request
from carboy.engine.spec.conflicts import check_conflicts
from carboy.engine.spec.devices import device_rules
from carboy.engine.spec.document import Placement, build
from carboy.engine.spec.mounts import parse_volumes_from, plan_mounts
from carboy.engine.users import Identity
from carboy.errors import CarboyError
from carboy.formats.dockerapi.containers import CreateRequest
from carboy.formats.dockerapi.wire import from_plain
from unit.engine.spec.test_document import FACTS, ID

pytestmark = pytest.mark.property

WORDS = [
    *str.split(
        "a /a /a/../b:/c / : :: a: :a a:b:c:d ../x = a= =b a=b 0 -1 80/tcp x/udp ro shared rshared z host "
        "none private container: container:x bridge bind volume tmpfs image cluster npipe always on-failure "
        "seccomp= seccomp={} label=x no-new-privileges=x size=1 mode=x ALL NET_RAW c a:1 host-gateway net.a "
        "kernel.msgmax 02:00:00:00:00:01 ff:ff:ff:ff:ff:ff 1.2.3.4 ::1 9999999999999999999999 "
        "\u0660 \U0001f600"
    ),
    *("", " ", "\0", "a\nb", "c 1:3 rwm", "c *:* m", "x" * 5000),
]
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=8))
NUMBERS = st.one_of(st.integers(-3, 70000), st.sampled_from([2**31, 2**62, -(2**62)]))


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a field's type: of the right shape, with any nonsense in it."""
    match kind:
        case inspect.Metadata(type=inner):
            return values(inner)
        case inspect.UnionType(types=types):
            return st.one_of(*(values(one) for one in types if not isinstance(one, inspect.CustomType)))
        case inspect.DictType(value_type=inner):
            return st.dictionaries(TEXTS, values(inner), max_size=2)
        case inspect.ListType(item_type=inner):
            return st.lists(values(inner), max_size=3)
        case inspect.StructType(fields=fields):
            return st.fixed_dictionaries(
                {}, optional={field.encode_name: values(field.type) for field in fields}
            )
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return NUMBERS
        case inspect.NoneType():
            return st.none()
        case _:
            return TEXTS


def requests() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies in which a few fields are given: with all of them the first check always ends it."""
    info = inspect.type_info(CreateRequest)
    assert isinstance(info, inspect.StructType)
    host = next(field.type for field in info.fields if field.encode_name == "HostConfig")
    assert isinstance(host, inspect.StructType)
    plain = {
        field.encode_name: values(field.type) for field in info.fields if field.encode_name != "HostConfig"
    }
    inner = {field.encode_name: values(field.type) for field in host.fields}

    def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
        names = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)
        return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))

    return st.builds(
        lambda body, host: {**body, "Cmd": ["true"], "HostConfig": host}, some(plain), some(inner)
    )


@settings(max_examples=600, deadline=None)
@given(requests())
def test_every_request_is_taken_or_refused(body: dict[str, Any]) -> None:
    try:
        request, _ = from_plain(body, CreateRequest)
        check_conflicts(request)
        config, host = request.container_config(), request.host_config
        check_request(config, host, FACTS)
        device_rules(host)
        for text in host.volumes_from:
            parse_volumes_from(text)
        for text in host.links:
            parse_link(text)
        mounts, _ = plan_mounts(config, host, [])
        host.privileged = False  # would list /dev
        placement = Placement(
            container_id=ID,
            identity=Identity(0, 0, "/root", ()),
            volumes={mount.source: "/volume" for mount in mounts if mount.type == "volume"},
            namespaces={kind: f"/proc/7/ns/{kind}" for kind in ("pid", "network", "ipc")},
        )
        build(config, host, mounts, placement=placement, facts=FACTS)
    except CarboyError as error:
        known = error.status < 500 or error.status in (501, 503)
        if not known:
            raise
