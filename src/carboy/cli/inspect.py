"""carboy inspect.

Finds what the name belongs to: a container, an image, a volume or a network.
"""

from __future__ import annotations

from carboy.cli.flags import UsageError
from carboy.client import document
from carboy.client.transport import ServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session
    from carboy.client.document import Json

USAGE = "[OPTIONS] NAME|ID [NAME|ID...]"
FLAGS = (
    ("format", "f", "string", "Print by a Go template, or json"),
    ("size", "s", "bool", "Show the container's sizes"),
    ("type", "", "string", "Only look for: container, image, volume, network"),
)
ARGUMENTS = (1, None)
EXAMPLES = """
carboy inspect web
carboy inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
carboy inspect --type image -f '{{json .Config.Env}}' debian
"""


TYPES = {"container": "containers", "image": "images", "volume": "volumes", "network": "networks"}


def main(session: Session, parsed: Parsed) -> int:
    """Print the document of each object."""
    kind = parsed.text("type")
    if kind and kind not in TYPES:
        raise UsageError(f"invalid --type {kind!r}: write container, image, volume or network")
    found, code = [], 0
    for name in parsed.arguments:
        try:
            found.append(find(session, name, (kind,) if kind else tuple(TYPES), size=parsed.flag("size")))
        except ServerError as error:
            session.fail(f"error: {error}")
            code = 1
    show(session, found, parsed.text("format"))
    return code


def find(session: Session, name: str, kinds: tuple[str, ...], *, size: bool = False) -> Json:
    """The document of the first kind of object that has this name."""
    for kind in kinds:
        path = f"/{TYPES[kind]}/{name}" + ("/json" if kind in ("container", "image") else "")
        try:
            return session.client.get_object(path, (("size", "1"),) if size and kind == "container" else ())
        except ServerError as error:
            if error.status != 404:
                raise
    raise ServerError(f"no such {kinds[0] if len(kinds) == 1 else 'object'}: {name}", 404)


def show(session: Session, found: list[Json], template: str) -> None:
    """Documents as one indented list, or each by the template."""
    if not template:
        session.out(document.pretty(list(found)))
        return
    if template == "json":
        template = "{{json .}}"
    from carboy.cli.gotemplate import Template

    parsed = Template(template.replace("\\t", "\t").replace("\\n", "\n"))
    for item in found:
        session.out(parsed.render(item))
