"""What differs between two recorded answers (support.apishapes), Docker's and Carboy's.

Not counted, for no client can depend on it or newer Docker (API 1.42 on) does the same:

- 5xx for a mistake of the client's, where Carboy says 4xx in words of its own;
- upper and lower case of a message (newer Docker writes most in lower case);
- null for an empty list or map, and an empty value for another of its type;
- headers of errors, and of streams that take the connection over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.apishapes import Shape

Record = dict[str, Any]


def differences(docker: Record, carboy: Record) -> Iterator[str]:
    """Each in a few words; Docker's first."""
    if docker["status"] >= 500 and 400 <= carboy["status"] < 500:
        return
    if docker["status"] != carboy["status"]:
        yield f"status {docker['status']} {carboy['status']}"
        return
    one, other = docker.get("message", ""), carboy.get("message", "")
    if one.lower().strip() != other.lower().strip():
        yield f"message {one!r} {other!r}"
    if docker["status"] in range(200, 300) and "raw-stream" not in str(docker["headers"]):
        kind = docker["headers"].get("Content-Type")
        if kind and kind != carboy["headers"].get("Content-Type"):
            yield f"type {kind} {carboy['headers'].get('Content-Type')}"
        for name in sorted(set(docker["present"]) - set(carboy["present"])):
            yield f"header {name} is missing"
    if "shape" in docker and "shape" in carboy:
        yield from shapes(docker["shape"], carboy["shape"])
    elif "shape" in docker or "shape" in carboy:
        yield "one is a document"


def shapes(docker: Shape, carboy: Shape, place: str = "") -> Iterator[str]:
    """Fields that one lacks, and values of other types."""
    if isinstance(docker, dict) and isinstance(carboy, dict):
        for key in sorted(docker.keys() | carboy.keys()):
            if key not in carboy:
                yield f"-{place}{key}"
            elif key not in docker:
                yield f"+{place}{key}"
            else:
                yield from shapes(docker[key], carboy[key], f"{place}{key}.")
    elif isinstance(docker, list) and isinstance(carboy, list):
        if docker and carboy:
            yield from shapes(docker[0], carboy[0], place)
    elif not _families(docker) & _families(carboy):
        yield f"type of {place.rstrip('.')}: {docker} {carboy}"


def _families(shape: Shape) -> set[str]:
    if isinstance(shape, dict):
        return {"object", "nothing"} if not shape else {"object"}
    if isinstance(shape, list):
        return {"list", "nothing"}
    if not isinstance(shape, str):
        return _family(shape)
    words = {"true": True, "false": False, "null": None, "0": 0}
    return set().union(*(_family(words.get(word, word)) for word in shape.split("|")))


def _family(word: object) -> set[str]:
    match word:
        case None:
            return {"nothing", "list", "object"}
        case bool():
            return {"boolean"}
        case int() | "number":
            return {"number"}
        case "list" | "object":
            return {str(word), "nothing"}
        case _:
            return {"text"}
