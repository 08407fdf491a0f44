"""Device rules: the OCI list reduced to a default and its exceptions, then written as v1's lines.

The list is ordered: each rule has the last word on what it names.  v1's files forget such an
order: taking a part (10:200) out of a range (10:*) is accepted there, and does nothing.  So a
rule that would need it is refused, also for the BPF program of v2 (`devices_bpf.py`): a list
means the same everywhere.  Making a node is apart: it is allowed in the end whatever the rules
say (`launch.with_default_devices`), because opening it is what they forbid.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANY = -1
"""A major or minor number that stands for all of them."""

READ, WRITE, MKNOD = 2, 4, 1
"""The bits of BPF_DEVCG_ACC_* in linux/bpf.h."""

ACCESS_BITS = {"r": READ, "w": WRITE, "m": MKNOD}


class DeviceState:
    """What a list of rules amounts to: everything is `allow`ed or denied, except."""

    __slots__ = ("allow", "exceptions")

    def __init__(self, *, allow: bool) -> None:
        self.allow = allow
        self.exceptions: dict[tuple[str, int, int], int] = {}

    def apply(self, kind: str, major: int, minor: int, access: int, *, allow: bool) -> None:
        """One more rule."""
        if kind == "a" and major == ANY and minor == ANY:
            self.allow = allow
            self.exceptions.clear()
            return
        for one in ("b", "c") if kind == "a" else (kind,):
            key = (one, major, minor)
            if allow == self.allow:
                self._take_back(key, access)
            else:
                self.exceptions[key] = self.exceptions.get(key, 0) | access

    def _take_back(self, key: tuple[str, int, int], access: int) -> None:
        """The default again, for `key` and all that lies within it."""
        kind, major, minor = key
        for other, bits in list(self.exceptions.items()):
            one, other_major, other_minor = other
            if one != kind or not bits & access:
                continue
            if major in (ANY, other_major) and minor in (ANY, other_minor):
                self.exceptions[other] = bits & ~access
                if not self.exceptions[other]:
                    del self.exceptions[other]
            elif bits & access & ~MKNOD and _meet(major, other_major) and _meet(minor, other_minor):
                verbs = ("allow", "denies") if self.allow else ("deny", "allows")
                raise Unsupported(
                    f"resources.devices: cannot {verbs[0]} {_words(key, access)}: it is a part of what an "
                    f"earlier rule {verbs[1]} ({_words(other, bits)}); name the devices one by one"
                )

    def permits(self, kind: str, major: int, minor: int, access: int) -> bool:
        """The answer of the rules for one access: what both kernel mechanisms must give."""
        for (one, rule_major, rule_minor), bits in self.exceptions.items():
            if one == kind and rule_major in (ANY, major) and rule_minor in (ANY, minor):
                if self.allow and bits & access:
                    return False
                if not self.allow and access & ~bits == 0:
                    return True
        return self.allow


def _meet(one: int, other: int) -> bool:
    return ANY in (one, other) or one == other


def _words(key: tuple[str, int, int], bits: int) -> str:
    """A rule as v1's files have it."""
    access = "".join(letter for letter, bit in ACCESS_BITS.items() if bits & bit)
    first, second = ("*" if number == ANY else str(number) for number in key[1:])
    return f"{key[0]} {first}:{second} {access}"


def parse_rule(rule: dict[str, Any]) -> tuple[str, int, int, int, bool]:
    """(type, major, minor, access bits, allow) of one OCI rule."""
    kind = str(rule.get("type") or "a")
    kind = {"u": "c", "p": ""}.get(kind, kind)
    if kind not in ("a", "b", "c"):
        raise InvalidArgument(f"resources.devices: type {rule.get('type')!r} is none of a, b, c, u")
    access = 0
    for letter in rule.get("access") or "rwm":
        if letter not in ACCESS_BITS:
            raise InvalidArgument(f"resources.devices: access {rule.get('access')!r} is not made of r, w, m")
        access |= ACCESS_BITS[letter]
    numbers = []
    for key in ("major", "minor"):
        number = rule.get(key)
        numbers.append(ANY if number is None or number < 0 else int(number))
    return kind, numbers[0], numbers[1], access, bool(rule.get("allow"))


def reduce_rules(rules: list[dict[str, Any]]) -> DeviceState:
    """The end state of a list; without rules everything is allowed, as in a new group."""
    state = DeviceState(allow=True)
    for rule in rules:
        kind, major, minor, access, allow = parse_rule(rule)
        state.apply(kind, major, minor, access, allow=allow)
    return state


def v1_lines(state: DeviceState) -> tuple[str, list[str], str]:
    """(file for everything, lines of exceptions, file for the exceptions) of devices.allow and .deny."""
    lines = [_words(key, bits) for key, bits in state.exceptions.items()]
    if state.allow:
        return "devices.allow", lines, "devices.deny"
    return "devices.deny", lines, "devices.allow"
