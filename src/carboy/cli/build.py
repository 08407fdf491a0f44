"""carboy build.

Builds come in a later version.  `--check` reads the Dockerfile, says what should be better, and builds
nothing: docs/dockerfile-checks.md has all rules.  It ends with 1 when there are warnings.
"""

from __future__ import annotations

from carboy.cli.flags import UsageError
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] PATH | -"
FLAGS = (
    ("add-host", "", "list", "Add a line to /etc/hosts of every step: NAME:IP"),
    ("build-arg", "", "list", "Set a build argument: NAME=VALUE, or NAME to take it from here"),
    ("build-context", "", "list", "One more context: NAME=PATH"),
    ("builder", "", "string", "Not used: there is one builder"),
    ("cache-from", "", "list", "Where to look for cached steps"),
    ("cache-to", "", "list", "Where to keep cached steps"),
    ("call", "", "string", "build, or check[,format=json][,strict=true][,ignorestatus=true]"),
    ("cgroup-parent", "", "string", "Control group of the steps"),
    ("check", "", "bool", "Check the Dockerfile and build nothing: --call=check"),
    ("compress", "", "bool", "Not used: a context on this machine is not copied"),
    ("cpu-period", "", "int", "Period of the CPU quota, in microseconds"),
    ("cpu-quota", "", "int", "CPU quota, in microseconds"),
    ("cpu-shares", "c", "int", "Relative weight on the CPU"),
    ("cpuset-cpus", "", "string", "CPUs to use: 0-3 or 0,1"),
    ("cpuset-mems", "", "string", "Memory nodes to use: 0-3 or 0,1"),
    ("disable-content-trust", "", "bool", "Not used: signatures are not checked"),
    ("file", "f", "string", "The Dockerfile (PATH/Dockerfile); - for standard input"),
    ("force-rm", "", "bool", "Not used: containers of steps never stay"),
    ("format", "", "string", "Of --check: text or json"),
    ("iidfile", "", "string", "Write the image's ID to a file"),
    ("isolation", "", "string", "Not used: containers of Windows only"),
    ("label", "", "list", "Set a label of the image: NAME=VALUE"),
    ("load", "", "bool", "Not used: images always are in the store"),
    ("memory", "m", "string", "Bound of memory"),
    ("memory-swap", "", "string", "Bound of memory and swap together, -1: none"),
    ("metadata-file", "", "string", "Write what was built to a file"),
    ("network", "", "string", "Network of the steps: default, none or host"),
    ("no-cache", "", "bool", "Take no step from the cache"),
    ("no-cache-filter", "", "list", "Stages that take no step from the cache"),
    ("output", "o", "list", "Where the result goes"),
    ("platform", "", "string", "Platform to build for: os/architecture[/variant]"),
    ("progress", "", "string", "How progress is shown: auto, plain, tty, rawjson or quiet"),
    ("provenance", "", "string", "Not used: nothing is signed"),
    ("pull", "", "bool", "Always look for newer base images"),
    ("push", "", "bool", "Push the image"),
    ("quiet", "q", "bool", "Print the image's ID only"),
    ("rm", "", "bool", "Not used: containers of steps never stay"),
    ("sbom", "", "string", "Not used: no bill of materials is made"),
    ("secret", "", "list", "A secret of the steps: id=NAME,src=FILE"),
    ("security-opt", "", "list", "Security options"),
    ("shm-size", "", "string", "Size of /dev/shm"),
    ("squash", "", "bool", "Make one layer of all"),
    ("ssh", "", "list", "An ssh agent for the steps: NAME=SOCKET"),
    ("tag", "t", "list", "Name of the image: NAME[:TAG]"),
    ("target", "", "string", "The stage to build"),
    ("ulimit", "", "list", "Limits of the steps: NAME=SOFT[:HARD]"),
)
ARGUMENTS = (1, 1)
OFFLINE = True
EXAMPLES = """
carboy build --check .
carboy build --check -f docker/app.Dockerfile --build-arg VERSION=2 .
carboy build --call=check,format=json . | jq '.warnings[].ruleName'
"""


def main(session: Session, parsed: Parsed) -> int:
    """Check the Dockerfile."""
    call = _call(parsed)
    if call["name"] == "build":
        raise Unsupported("no `build` yet: building images comes in a later version: use `carboy commit`")
    from carboy.cli import buildcheck

    return buildcheck.check(session, parsed, call)


def _call(parsed: Parsed) -> dict[str, str]:
    """`--call=NAME,key=value…`, `--check` and `--format`, as one."""
    name, *settings = parsed.text("call", "build").split(",")
    if parsed.flag("check"):
        name = "check"
    if name == "lint":
        name = "check"
    if name in ("outline", "targets"):
        raise Unsupported(f"no `build --call={name}` yet: it comes in a later version; check is there")
    if name not in ("build", "check"):
        raise UsageError(f'invalid --call value "{name}": write build or check', 1)
    call = {"name": name, "format": parsed.text("format", "text"), "strict": "false", "ignorestatus": "false"}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in call or key == "name":
            raise UsageError(
                f'invalid --call setting "{setting}": write format=, strict= or ignorestatus=', 1
            )
        call[key] = value
    if call["format"] not in ("text", "json"):
        raise UsageError(f'unknown format "{call["format"]}" of a check: write text or json', 1)
    for key in ("strict", "ignorestatus"):
        if call[key] not in ("true", "false", "1", "0"):
            raise UsageError(f'invalid --call setting "{key}={call[key]}": write true or false', 1)
    return call
