"""carboy info."""

from __future__ import annotations

from carboy.client import document
from carboy.formats.human import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS]"
FLAGS = (("format", "f", "string", "Print by a Go template, or json"),)
ARGUMENTS = (0, 0)
EXAMPLES = """
carboy info
carboy info -f '{{.Driver}} {{.CgroupVersion}}'
"""


_NAMES = (
    ("Containers", "Containers"),
    ("ContainersRunning", " Running"),
    ("ContainersPaused", " Paused"),
    ("ContainersStopped", " Stopped"),
    ("Images", "Images"),
    ("ServerVersion", "Server Version"),
    ("Driver", "Storage Driver"),
    ("LoggingDriver", "Logging Driver"),
    ("CgroupDriver", "Cgroup Driver"),
    ("CgroupVersion", "Cgroup Version"),
    ("DefaultRuntime", "Default Runtime"),
    ("SecurityOptions", "Security Options"),
    ("KernelVersion", "Kernel Version"),
    ("OperatingSystem", "Operating System"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("NCPU", "CPUs"),
    ("MemTotal", "Total Memory"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("DockerRootDir", "Root Dir"),
)


def main(session: Session, parsed: Parsed) -> int:
    """Print what the daemon says about itself."""
    info = session.client.get_object("/info")
    template = parsed.text("format")
    if template:
        from carboy.cli.inspect import show

        show(session, [info], template)
        return 0
    for key, name in _NAMES:
        value = info.get(key)
        if value is None or value == "":
            continue
        if key == "MemTotal":
            value = binary_size(document.number(info, key))
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        session.out(f"{name}: {value}")
    for warning in document.strings(info, "Warnings"):
        session.warn(warning)
    return 0
