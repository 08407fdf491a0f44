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
SWARM_TYPES = ("config", "node", "plugin", "secret", "service", "swarm", "task")


def main(session: Session, parsed: Parsed) -> int:
    """Print the document of each object."""
    kind = parsed.text("type")
    if parsed.given("type") and kind not in TYPES:
        if kind in SWARM_TYPES:
            raise UsageError(f"there is no {kind} here: {kind}s belong to swarms, which Carboy has not", 1)
        known = '", "'.join(TYPES)
        raise UsageError(f'unknown type: "{kind}": must be one of "{known}"', 1)
    return show_all(session, parsed, (kind,) if kind else tuple(TYPES))


def show_all(session: Session, parsed: Parsed, kinds: tuple[str, ...]) -> int:
    """The document of every object named, as one list; those that are missing are told afterwards."""
    found: list[Json] = []
    failures: list[str] = []
    size, platform, template = parsed.flag("size"), parsed.text("platform"), parsed.text("format")
    for name in parsed.arguments:
        try:
            found.append(find(session, name, kinds, size=size, platform=platform, template=template))
        except ServerError as error:
            failures.append(f"Error response from daemon: {error}" if error.status else f"Error: {error}")
    show(session, found, template)
    for failure in failures:
        session.fail(failure)
    return 1 if failures else 0


def find(
    session: Session,
    name: str,
    kinds: tuple[str, ...],
    *,
    size: bool = False,
    platform: str = "",
    template: str = "",
) -> Json:
    """The document of the first kind of object that has this name; for a template with optional fields."""
    for kind in kinds:
        path = f"/{TYPES[kind]}/{name}" + ("/json" if kind in ("container", "image") else "")
        query: tuple[tuple[str, str], ...] = (("size", "1"),) if size and kind == "container" else ()
        if platform and kind == "image":
            query = (("platform", platform_document(platform)),)
        try:
            found = session.client.get_object(path, query)
            if template in ("", "json"):
                return found
            from carboy.cli.optionalfields import typed

            return typed(kind, found)
        except ServerError as error:
            if error.status != 404 or len(kinds) == 1:
                raise
    raise ServerError(f"No such object: {name}", 0)


def show(session: Session, found: list[Json], template: str) -> None:
    """Documents as one indented list, or each by the template."""
    if not template and not found:
        session.out("[]")
    elif not template:
        session.out(document.pretty(list(found)))
    if not template:
        return
    if template == "json":
        from carboy.cli.gofunctions import to_json

        session.out(to_json(list(found)))
        return
    from carboy.cli.gotemplate import Template, TemplateError

    try:
        parsed = Template(template)  # taken as it is: unlike lists, Docker's inspect knows no \t
    except TemplateError as error:
        error.exit_code = 64  # as Docker's
        raise
    for item in found:
        session.out(parsed.render(item))


def show_one(session: Session, value: Json, template: str) -> None:
    """A document that is no list: by a template, or `json`."""
    if template == "json":
        from carboy.cli.gofunctions import to_json

        session.out(to_json(value))
        return
    show(session, [value], template)


def platform_document(text: str) -> str:
    """`linux/arm64/v8` as the API wants a platform: an object."""
    names = ("os", "architecture", "variant")
    return document.encode(dict(zip(names, text.split("/"), strict=False))).decode()
