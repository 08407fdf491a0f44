"""The table of the fields of create is whole, and the wire types know every one of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import inspect

from carboy.api import createfields
from carboy.formats.dockerapi.containers import CreateRequest

DOCUMENTED = (Path(__file__).parents[2] / "data" / "create-fields-1.51.txt").read_text().split()
"""Every field of ContainerCreateRequest in Docker's v1.51.yaml, with those of its parts."""


def known(kind: object, prefix: str = "") -> set[str]:
    """The paths that a wire type reads."""
    match inspect.type_info(kind) if not isinstance(kind, inspect.Type) else kind:
        case inspect.Metadata(type=inner):
            return known(inner, prefix)
        case inspect.UnionType(types=types):
            return set().union(*(known(one, prefix) for one in types))
        case inspect.DictType(value_type=inner) | inspect.ListType(item_type=inner):
            return known(inner, prefix)
        case inspect.StructType(fields=fields):
            found = set()
            for field in fields:
                found.add(prefix + field.encode_name)
                found |= known(field.type, f"{prefix}{field.encode_name}.")
            return found
        case _:
            return set()


def test_every_documented_field_is_in_the_table_once() -> None:
    listed = [one.path for one in createfields.fields()]
    assert len(listed) == len(set(listed))
    assert set(DOCUMENTED) - set(listed) == set()
    assert set(listed) - set(DOCUMENTED) == {"HostConfig.KernelMemory"}  # of older versions


def test_every_field_of_the_table_is_read() -> None:
    listed = {one.path for one in createfields.fields()}
    assert listed - known(CreateRequest) == set()
    assert known(CreateRequest) - listed == {"carboy.unknown"}


def test_the_page_names_every_field() -> None:
    page = createfields.page()
    assert all(f"`{path}`" in page for path in DOCUMENTED)
    assert msgspec.json.encode(page)
