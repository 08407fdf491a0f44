"""`carboy build --check`: the Dockerfile of a context, checked here; no daemon is needed."""

from __future__ import annotations

import os

from carboy.cli import buildoptions, buildsource
from carboy.formats.dockerfile.lint import show
from carboy.formats.dockerfile.lint.linter import lint
from carboy.formats.dockerfile.stages import Platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386", "ppc64le": "ppc64le"}


def check(session: Session, parsed: Parsed, call: Mapping[str, str]) -> int:
    """Print the report; 1 when there are warnings."""
    source = buildsource.read(parsed.arguments[0], parsed.text("file"))
    report = lint(
        source.dockerfile,
        arguments=build_arguments(parsed.list("build-arg"), os.environ),
        targets=buildoptions.several(parsed, "target"),
        contexts=[one.partition("=")[0] for one in parsed.list("build-context")],
        ignore=source.ignore,
        platforms=_platforms(",".join(parsed.list("platform"))),
    )
    strict = call["strict"] in ("true", "1")
    if call["format"] == "json":
        session.out(show.as_json(report, name=source.name))
    elif text := show.as_text(report, name=source.name, strict=strict):
        session.out(text.removesuffix("\n"))
    if report.error is not None:
        if call["format"] != "json":
            session.warn("ERROR: " + show.error_text(report, name=source.name).removesuffix("\n"))
        return 1
    counted = report.findings if strict else report.warnings
    return 1 if counted and call["ignorestatus"] in ("false", "0") else 0


def build_arguments(given: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """NAME=VALUE, or NAME with the value that it has here; one that has none is not given."""
    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if equals:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found


def _platforms(wanted: str) -> Platforms:
    machine = os.uname().machine
    here = "linux/" + _MACHINES.get(machine, machine)
    return Platforms(build=here, target=wanted.partition(",")[0] or here)
