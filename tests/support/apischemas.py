"""Docker's description of answers (tests/data/docker-api/v1.51.json) as strict JSON schemas.

Strict: a field that the description does not know is an error.  Tolerant where Docker is: any
value may be null, as Go's empty lists and maps are, and its zero values are.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft4Validator

from carboy.api.routes import Router
from support.apischema import document

Schema = dict[str, Any]


def complaints(method: str, path: str, status: int, answer: object) -> Iterator[str]:
    """What is wrong with an answer; nothing for one that the description does not tell of."""
    found = Router().find(method, path.partition("?")[0])
    if found is None:
        return
    schema = _response(method, found[0].path, str(status))
    if schema is None:
        return
    for error in Draft4Validator(schema).iter_errors(answer):
        place = ".".join(str(part) for part in error.absolute_path)
        yield f"{place}: {error.message[:200]}"


@cache
def _response(method: str, path: str, status: str) -> Schema | None:
    paths = document()["paths"]
    operations = paths.get(path) or paths.get(path.replace("{id}", "{name}")) or {}
    schema = operations.get(method.lower(), {}).get("responses", {}).get(status, {}).get("schema")
    return None if schema is None else _strict(schema)


def _strict(schema: Schema) -> Schema:
    flat = _flat(schema)
    made: Schema = {name: flat[name] for name in ("required",) if flat.get(name)}
    kind = flat.get("type") or ("object" if flat.get("properties") else None)
    if kind:
        made["type"] = [kind, "null"]
    if "enum" in flat:
        made["enum"] = [*flat["enum"], None, ""]
    if isinstance(flat.get("items"), dict):
        made["items"] = _strict(flat["items"])
    if flat.get("properties"):
        made["properties"] = {name: _strict(one) for name, one in flat["properties"].items()}
        made["additionalProperties"] = False
    extra = flat.get("additionalProperties")
    if isinstance(extra, dict):
        made["additionalProperties"] = _strict(extra)
    elif extra is True:
        made["additionalProperties"] = True
    return made


def _flat(schema: Schema) -> Schema:
    """Without references, and with what `allOf` brings together in one."""
    if "$ref" in schema:
        return _flat(document_definitions()[schema["$ref"].rpartition("/")[2]])
    if "allOf" not in schema:
        return schema
    merged: Schema = {"properties": {}, "required": []}
    for part in [*schema["allOf"], {name: one for name, one in schema.items() if name != "allOf"}]:
        flat = _flat(part)
        merged |= {name: flat[name] for name in ("type", "enum", "items") if name in flat}
        merged["properties"] |= flat.get("properties", {})
        merged["required"] += flat.get("required", [])
    return merged


@cache
def document_definitions() -> dict[str, Schema]:
    """The named types."""
    definitions: dict[str, Schema] = document()["definitions"]
    return definitions
