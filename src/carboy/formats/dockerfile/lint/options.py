"""`# check=…`, and the build argument BUILDKIT_DOCKERFILE_CHECK which replaces it."""

from __future__ import annotations

import msgspec

from carboy.errors import InvalidArgument
from carboy.formats.dockerfile.lint.rules import Rule

ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
ALL = "all"

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules are looked for, and whether what they find fails a build."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        """Whether a rule counts."""
        if rule.experimental:
            return ALL in self.experimental or rule.name in self.experimental
        return ALL not in self.skip and rule.name not in self.skip


def parse(unsafe_text: str) -> Options:
    """`skip=A,B;experimental=C;error=true`, in any order; raises InvalidArgument."""
    named: dict[str, frozenset[str]] = {}
    error = False
    for part in unsafe_text.strip().split(";", 2) if unsafe_text.strip() else ():
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or key not in ("skip", "experimental", "error"):
            shown = key if equals else part
            raise InvalidArgument(f'invalid check option "{shown}": write skip=, experimental= or error=')
        if key != "error":
            named[key] = frozenset(name.strip() for name in value.split(","))
        elif value.strip() in (*_TRUE, *_FALSE):
            error = value.strip() in _TRUE
        else:
            raise InvalidArgument(f'failed to parse check option "{part}": write error=true or error=false')
    empty: frozenset[str] = frozenset()
    return Options(skip=named.get("skip", empty), experimental=named.get("experimental", empty), error=error)
