"""Seccomp profiles in Docker's format, resolved to the OCI `linux.seccomp` of one container.

Docker's format is the OCI one with conditions: a rule may count only with (or without) some
capabilities, on some architectures, from some kernel on; an `archMap` says which foreign
architectures of the same machine are allowed too.  The default profile is
`seccomp_default.json` beside this file; whoever uses it reads it.
"""

from __future__ import annotations

from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
}
"""libseccomp's name by Go's (as in the profile) and by uname's."""

GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def resolve(
    profile: dict[str, Any], *, capabilities: Collection[str], machine: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """The OCI value of `profile` for a container with these capabilities (its bounding set).

    machine: `x86_64` or `amd64`…; kernel: (major, minor).  Raises InvalidArgument for a
    profile that is not one.
    """
    if not isinstance(profile.get("defaultAction"), str):
        raise InvalidArgument("seccomp profile: defaultAction is missing")
    if profile.get("architectures") and profile.get("archMap"):
        raise InvalidArgument("seccomp profile: use either architectures or archMap, not both")
    resolved: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    for key in ("defaultErrnoRet", "listenerPath", "listenerMetadata", "flags"):
        if profile.get(key) is not None:
            resolved[key] = profile[key]
    architectures = _texts(profile, "architectures") or _mapped(_objects(profile, "archMap"), machine)
    if architectures:
        resolved["architectures"] = architectures
    arch = GO_NAMES.get(machine, machine)
    resolved["syscalls"] = [
        _plain(rule) for rule in _objects(profile, "syscalls") if _counts(rule, capabilities, arch, kernel)
    ]
    return resolved


def _objects(part: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = part.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidArgument(f"seccomp profile: {key} is not a list of objects")
    return found


def _texts(part: dict[str, Any], key: str) -> list[str]:
    found = part.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise InvalidArgument(f"seccomp profile: {key} is not a list of texts")
    return found


def _condition(rule: dict[str, Any], key: str) -> tuple[list[str], list[str], tuple[int, int] | None]:
    """(arches, caps, minKernel) of `includes` or `excludes`."""
    found = rule.get(key) or {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"seccomp profile: {key} is not an object: {str(found)[:80]}")
    least = found.get("minKernel")
    return _texts(found, "arches"), _texts(found, "caps"), kernel_version(str(least)) if least else None


def _mapped(arch_map: list[dict[str, Any]], machine: str) -> list[str]:
    native = ARCHITECTURES.get(machine)
    for entry in arch_map:
        if entry.get("architecture") == native:
            return [str(native), *_texts(entry, "subArchitectures")]
    return []


def _counts(rule: dict[str, Any], capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bool:
    arches, caps, least = _condition(rule, "excludes")
    if arch in arches or any(name in capabilities for name in caps) or (least and kernel >= least):
        return False
    arches, caps, least = _condition(rule, "includes")
    if (arches and arch not in arches) or any(name not in capabilities for name in caps):
        return False
    return not (least and kernel < least)


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    names = list(_texts(rule, "names"))
    if isinstance(rule.get("name"), str):
        names.append(rule["name"])
    if not names or not isinstance(rule.get("action"), str):
        raise InvalidArgument(f"seccomp profile: a rule needs names and an action: {str(rule)[:120]}")
    plain: dict[str, Any] = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        plain["errnoRet"] = rule["errnoRet"]
    arguments = _objects(rule, "args")
    if arguments:
        plain["args"] = arguments
    return plain


def kernel_version(text: str) -> tuple[int, int]:
    """(major, minor) of `4.8` or `6.18.44-x`; raises InvalidArgument for other text."""
    major, _, rest = text.partition(".")
    minor = ""
    for char in rest:
        if not char.isdigit():
            break
        minor += char
    if not (major.isascii() and major.isdigit() and minor):
        raise InvalidArgument(f"seccomp profile: minKernel {text!r} is not a version such as 4.8")
    return int(major), int(minor)
