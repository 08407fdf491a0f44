"""carboy build.

The same inputs give the same bytes: times are SOURCE_DATE_EPOCH, else the commit time of a clean git context,
else a constant.  A context on the daemon's own machine is read where it is; others are sent.  `--explain`
says for each step why it was, or was not, taken from the cache.  `--check` reads the Dockerfile, says what
should be better, and builds nothing: docs/dockerfile-checks.md has all rules, and it ends with 1 when there
are warnings.
"""

from __future__ import annotations

from carboy.cli.flags import UsageError
from carboy.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "[OPTIONS] PATH | URL | -"
NO_ARGUMENT = ", where PATH is the directory with what is copied, most often . (this one)"
FLAGS = (
    ("add-host", "", "list", "Add a line to /etc/hosts of every step: NAME:IP"),
    ("allow", "", "list", "Allow steps what they ask for: network.host, security.insecure, device=NAME"),
    ("annotation", "", "list", "Not used: annotations come with registries"),
    ("attest", "", "list", "Not used: nothing is signed"),
    ("build-arg", "", "list", "Set a build argument: NAME=VALUE, or NAME to take it from here"),
    ("build-context", "", "list", "One more context: NAME=PATH, NAME=URL or NAME=docker-image://REFERENCE"),
    ("builder", "", "string", "Not used: there is one builder"),
    ("cache-from", "", "list", "Where to look for cached steps: type=local,src=DIRECTORY, or an image"),
    ("cache-to", "", "list", "Where to keep cached steps: type=local,dest=DIRECTORY, or type=inline"),
    ("cache-ttl", "", "string", "Run steps again that were cached longer ago: 24h, 7d"),
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
    ("explain", "", "bool", "Say for each step why it was taken from the cache, or was not"),
    ("file", "f", "string", "The Dockerfile (PATH/Dockerfile); - for standard input"),
    ("force-rm", "", "bool", "Not used: containers of steps never stay"),
    ("format", "", "string", "Of --check: text or json"),
    ("host-ca", "", "bool", "Trust this machine's CA certificates in steps; nothing of it stays"),
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
    ("output", "o", "list", "Where the result goes: DIRECTORY, -, or type=local|tar|oci|docker,dest=PATH"),
    ("platform", "", "list", "Platforms to build for: os/architecture[/variant], with commas"),
    ("progress", "", "string", "How progress is shown: auto, plain, tty, rawjson or quiet"),
    ("provenance", "", "string", "Not used: nothing is signed"),
    ("pull", "", "bool", "Always look for newer base images"),
    ("push", "", "bool", "Push the image (comes with registries in a later version)"),
    ("quiet", "q", "bool", "Print the image's ID only"),
    ("reproducible", "", "bool", "Also leave out logs, caches and other residues of package managers"),
    ("rm", "", "bool", "Not used: containers of steps never stay"),
    ("sbom", "", "string", "Not used: no bill of materials is made"),
    ("secret", "", "list", "A secret of the steps: id=NAME,src=FILE or id=NAME,env=VARIABLE"),
    ("security-opt", "", "list", "Not used: see --allow"),
    ("shm-size", "", "string", "Size of /dev/shm"),
    ("squash", "", "bool", "Refused: layers are files here, and cost nothing"),
    ("ssh", "", "list", "An ssh agent for the steps: default, or NAME=SOCKET"),
    ("tag", "t", "list", "Name of the image: NAME[:TAG]"),
    ("target", "", "list", "The stages to build (the last one)"),
    ("ulimit", "", "list", "Limits of the steps: NAME=SOFT[:HARD]"),
)
ARGUMENTS = (1, 1)
OFFLINE = True
EXAMPLES = """
carboy build -t app:1 .
carboy build -t app:1 --build-arg VERSION=2 -f docker/app.Dockerfile .
carboy build --explain .
carboy build --secret id=token,src=token.txt --ssh default https://example.com/project.git#v2:app
carboy build -o type=local,dest=out --target artifacts .
carboy build --check .
"""
_LATER_CALLS = ("outline", "targets")


def main(session: Session, parsed: Parsed) -> int:
    """Build, or check the Dockerfile."""
    call = _call(parsed)
    if call["name"] == "build":
        from carboy.cli import buildrun

        return buildrun.build(session, parsed)
    from carboy.cli import buildcheck

    return buildcheck.check(session, parsed, call)


def _call(parsed: Parsed) -> dict[str, str]:
    """`--call=NAME,key=value…`, `--check` and `--format`, as one."""
    name, *settings = parsed.text("call", "build").split(",")
    if parsed.flag("check"):
        name = "check"
    if name == "lint":
        name = "check"
    if name in _LATER_CALLS:
        raise Unsupported(
            f"no `build --call={name}` yet: it comes in a later version; build and check are there"
        )
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
