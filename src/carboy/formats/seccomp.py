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
    architectures = profile.get("architectures") or _mapped(profile.get("archMap") or [], machine)
    if architectures:
        resolved["architectures"] = architectures
    arch = GO_NAMES.get(machine, machine)
    resolved["syscalls"] = [
        _plain(rule) for rule in profile.get("syscalls") or [] if _counts(rule, capabilities, arch, kernel)
    ]
    return resolved


def _mapped(arch_map: list[dict[str, Any]], machine: str) -> list[str]:
    native = ARCHITECTURES.get(machine)
    for entry in arch_map:
        if entry.get("architecture") == native:
            return [str(native), *(entry.get("subArchitectures") or [])]
    return []


def _counts(rule: dict[str, Any], capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if arch in (excludes.get("arches") or ()):
        return False
    if any(name in capabilities for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel >= kernel_version(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if any(name not in capabilities for name in includes.get("caps") or ()):
        return False
    return not (includes.get("minKernel") and kernel < kernel_version(includes["minKernel"]))


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    names = list(rule.get("names") or [])
    if rule.get("name"):
        names.append(rule["name"])
    if not names or not isinstance(rule.get("action"), str):
        raise InvalidArgument(f"seccomp profile: a rule needs names and an action: {str(rule)[:120]}")
    plain: dict[str, Any] = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        plain["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        plain["args"] = rule["args"]
    return plain


def kernel_version(text: str) -> tuple[int, int]:
    """(major, minor) of `4.8` or `6.18.44-x`; raises InvalidArgument for other text."""
    major, _, rest = text.partition(".")
    minor = ""
    for char in rest:
        if not char.isdigit():
            break
        minor += char
    if not major.isdigit() or not minor:
        raise InvalidArgument(f"seccomp profile: minKernel {text!r} is not a version such as 4.8")
    return int(major), int(minor)
