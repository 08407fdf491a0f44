"""carboy info.

The layout is Docker's: programs read it.
"""

from __future__ import annotations

from carboy import __version__
from carboy.client import document
from carboy.errors import CarboyError
from carboy.formats.human import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS]"
FLAGS = (("format", "f", "string", "Print by a Go template, or json"),)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy info
carboy info -f '{{.Driver}} {{.CgroupVersion}}'
"""


def main(session: Session, parsed: Parsed) -> int:
    """Print what the client and the daemon say about themselves; the client's also without a daemon."""
    client: Json = {
        "Debug": False,
        "Version": __version__,
        "Context": session.context,
        "Plugins": [],
        "Warnings": None,
    }
    failure: CarboyError | None = None
    info: Json = {}
    try:
        info = session.client.get_object("/info")
    except CarboyError as error:
        failure = error
    template = parsed.text("format")
    if template:
        if failure is not None:
            raise failure
        from carboy.cli.inspect import show_one

        show_one(session, {**info, "ClientInfo": client}, template)
        return 0
    session.out(f"Client:\n Version:    {__version__}\n Context:    {session.context}\n Debug Mode: false\n")
    session.out("Server:")
    if failure is not None:
        raise failure
    session.out("\n".join(lines(info)) + "\n")
    for warning in document.strings(info, "Warnings"):
        session.warn(warning)
    return 0


_COUNTS = (
    (" Containers", "Containers"),
    ("  Running", "ContainersRunning"),
    ("  Paused", "ContainersPaused"),
    ("  Stopped", "ContainersStopped"),
    (" Images", "Images"),
)
_HEAD = ((" Server Version", "ServerVersion"), (" Storage Driver", "Driver"))
_LOGGING = (
    (" Logging Driver", "LoggingDriver"),
    (" Cgroup Driver", "CgroupDriver"),
    (" Cgroup Version", "CgroupVersion"),
)
_MACHINE = (
    (" Kernel Version", "KernelVersion"),
    (" Operating System", "OperatingSystem"),
    (" OSType", "OSType"),
    (" Architecture", "Architecture"),
)
_PLACE = ((" Name", "Name"), (" ID", "ID"), (" Docker Root Dir", "DockerRootDir"))
_PROXIES = ((" HTTP Proxy", "HttpProxy"), (" HTTPS Proxy", "HttpsProxy"), (" No Proxy", "NoProxy"))


def lines(info: Json) -> list[str]:
    """The daemon's part."""
    out = [f"{name}: {document.number(info, key)}" for name, key in _COUNTS]
    out += _named(info, _HEAD)
    for row in info.get("DriverStatus") or []:
        out.append(f"  {row[0]}: {row[1]}")
    out += _named(info, _LOGGING)
    plugins = document.child(info, "Plugins")
    out += [
        " Plugins:",
        *(f"  {kind}: {' '.join(document.strings(plugins, kind))}" for kind in _kinds(plugins)),
    ]
    out += _specifications(info)
    out.append(f" Swarm: {document.text(document.child(info, 'Swarm'), 'LocalNodeState') or 'inactive'}")
    out.append(f" Runtimes: {' '.join(sorted(document.child(info, 'Runtimes')))}")
    out += _named(info, ((" Default Runtime", "DefaultRuntime"), (" Init Binary", "InitBinary")))
    for name, key in (("containerd", "ContainerdCommit"), ("runc", "RuncCommit"), ("init", "InitCommit")):
        out.append(f" {name} version: {document.text(document.child(info, key), 'ID')}")
    out += _security(document.strings(info, "SecurityOptions"))
    out += _named(info, _MACHINE)
    out.append(f" CPUs: {document.number(info, 'NCPU')}")
    out.append(f" Total Memory: {binary_size(document.number(info, 'MemTotal'))}")
    out += _named(info, _PLACE)
    out.append(f" Debug Mode: {_word(info, 'Debug')}")
    out += _named(info, _PROXIES)
    labels = document.strings(info, "Labels")
    out += [" Labels:", *(f"  {label}" for label in labels)] if labels else []
    out.append(f" Experimental: {_word(info, 'ExperimentalBuild')}")
    registries = document.child(info, "RegistryConfig")
    configured = document.child(registries, "IndexConfigs")
    insecure = [
        name for name in sorted(configured) if not document.flag(document.child(configured, name), "Secure")
    ]
    ranges = document.strings(registries, "InsecureRegistryCIDRs")
    if configured or ranges:
        out += [" Insecure Registries:", *(f"  {one}" for one in (*insecure, *ranges))]
    out.append(f" Live Restore Enabled: {_word(info, 'LiveRestoreEnabled')}")
    out += _named(info, ((" Product License", "ProductLicense"),))
    pools = document.children(info, "DefaultAddressPools")
    if pools:
        out.append(" Default Address Pools:")
        out += [
            f"   Base: {document.text(one, 'Base')}, Size: {document.number(one, 'Size')}" for one in pools
        ]
    return out


def _named(info: Json, table: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{name}: {info[key]}" for name, key in table if info.get(key)]


def _kinds(plugins: Json) -> list[str]:
    known = ("Volume", "Network", "Authorization", "Log")
    return [kind for kind in known if document.strings(plugins, kind)]


def _specifications(info: Json) -> list[str]:
    """Where CDI specifications are looked for."""
    found = document.strings(info, "CDISpecDirs")
    return [" CDI spec directories:", *(f"  {path}" for path in found)] if found else []


def _security(options: list[str]) -> list[str]:
    """`name=seccomp,profile=builtin` as two lines."""
    out = [" Security Options:"] if options else []
    for option in options:
        fields = dict(field.partition("=")[::2] for field in option.split(","))
        out.append(f"  {fields.pop('name', option)}")
        out += [f"   {key.capitalize()}: {value}" for key, value in fields.items()]
    return out


def _word(info: Json, key: str) -> str:
    return str(document.flag(info, key)).lower()
