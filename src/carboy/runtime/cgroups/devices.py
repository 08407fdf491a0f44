"""Device rules: the OCI list reduced to a default and its exceptions, then written as v1's lines.

The list is ordered: each rule allows or denies on top of those before it.  v1's own files
work that way too; a BPF program (`devices_bpf.py`) needs the end state.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

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
            old = self.exceptions.get(key, 0)
            new = old | access if allow != self.allow else old & ~access
            if new:
                self.exceptions[key] = new
            else:
                self.exceptions.pop(key, None)

    def permits(self, kind: str, major: int, minor: int, access: int) -> bool:
        """The answer of the rules for one access: what both kernel mechanisms must give."""
        for (one, rule_major, rule_minor), bits in self.exceptions.items():
            if one == kind and rule_major in (ANY, major) and rule_minor in (ANY, minor):
                if self.allow and bits & access:
                    return False
                if not self.allow and access & ~bits == 0:
                    return True
        return self.allow


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
    lines = []
    for (kind, major, minor), bits in state.exceptions.items():
        access = "".join(letter for letter, bit in ACCESS_BITS.items() if bits & bit)
        first, second = ("*" if number == ANY else str(number) for number in (major, minor))
        lines.append(f"{kind} {first}:{second} {access}")
    if state.allow:
        return "devices.allow", lines, "devices.deny"
    return "devices.deny", lines, "devices.allow"
