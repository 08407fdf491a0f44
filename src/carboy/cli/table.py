"""Lists of objects as a table, as JSON lines, or by a template: what `--format` chooses.

A command gives rows (mappings from field to text) and its default columns; headers come
from one table, so that `table {{.ID}}\\t{{.Names}}` names them too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.session import Session

    Row = dict[str, str]

HEADERS = {
    "ID": "ID",
    "CPUPerc": "CPU %",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "CreatedSince": "CREATED",
    "CreatedBy": "CREATED BY",
    "LocalVolumes": "LOCAL VOLUMES",
    "Name": "NAME",
    "IPv4": "IPV4",
    "TotalCount": "TOTAL",
    "UniqueSize": "UNIQUE SIZE",
    "Links": "LINKS",
    "Driver": "DRIVER",
}
"""Field to header where the capital form is not it."""


def show(
    session: Session,
    rows: list[Row],
    columns: tuple[tuple[str, str], ...],
    *,
    template: str = "",
    quiet: str = "",
    raw: str = "",
) -> None:
    """Print rows: one field only with `quiet`, else by the template, else as a table of (field, header).

    `raw` is the template of `--format raw`.  Rows with "Labels" also answer {{.Label "name"}}.
    """
    lines = rendered(rows, columns, template=template, quiet=quiet, raw=raw)
    if lines:
        session.out("\n".join(lines), styled="\033" in template)


def rendered(
    rows: list[Row],
    columns: tuple[tuple[str, str], ...],
    *,
    template: str = "",
    quiet: str = "",
    raw: str = "",
) -> list[str]:
    """The lines that `show` prints."""
    if quiet and template in ("", "table"):
        return [row[quiet] for row in rows]
    if template == "json":
        from carboy.cli.gofunctions import to_json

        return [escaped(to_json(dict(sorted(row.items())))) for row in rows]
    if template and template != "table":
        return _templated(rows, columns, raw if template == "raw" and raw else template)
    cells = [[row[field] for field, _header in columns] for row in rows]
    return align([[header for _field, header in columns], *cells])


def _templated(rows: list[Row], columns: tuple[tuple[str, str], ...], template: str) -> list[str]:
    from carboy.cli.gotemplate import Fields, Template

    with_header = template.startswith("table")
    if with_header:
        template = template[5:].lstrip()
    template = template.replace("\\t", "\t").replace("\\n", "\n")
    parsed = Template(template)
    lines = [parsed.render(Fields(row, {"Label": _label_of(row)})) for row in rows]
    if not with_header:
        return lines
    named = dict(columns)
    heading = Fields(
        {}, {"Label": _label_header}, lambda name: named.get(name) or HEADERS.get(name) or name.upper()
    )
    header = parsed.render(heading, header=True)
    return align([line.split("\t") for line in (header, *lines)])


def _label_of(row: Row) -> Callable[[str], str]:
    """What {{.Label "name"}} answers for a row."""

    def value(name: str) -> str:
        pairs = (label.partition("=") for label in row.get("Labels", "").split(","))
        return next((text for key, _equals, text in pairs if key == name), "")

    return value


def _label_header(name: str) -> str:
    """The last word of a label's name, as a header."""
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def escaped(text: str) -> str:
    """JSON as Go writes it for lists: safe inside a page."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def align(rows: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell and three spaces, at least ten, as Docker's."""
    widths = [10] * max(map(len, rows))
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], width(cell) + 3)
    lines = []
    for row in rows:
        padded = [cell + " " * (widths[index] - width(cell)) for index, cell in enumerate(row[:-1])]
        lines.append("".join([*padded, row[-1]]))
    return lines


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def cut(text: str, columns: int, end: str = "") -> str:
    """As much of a text as fits in so many columns of a terminal; `end` stands for what was cut off."""
    if len(text) * 2 <= columns or width(text) <= columns:
        return text
    room = max(columns - width(end), 0)
    if text.isascii():
        return text[:room] + end
    used = 0
    for index, one in enumerate(text):
        used += width(one)
        if used > room:
            return text[:index] + end
    return text


def filters(items: list[str]) -> tuple[tuple[str, str], ...]:
    """--filter values as the query parameter of the API."""
    if not items:
        return ()
    from carboy.cli.flags import UsageError
    from carboy.client.document import encode

    result: dict[str, dict[str, bool]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            why = "bad format of filter (expected name=value)"
            raise UsageError(f'invalid argument "{item}" for "-f, --filter" flag: {why}')
        result.setdefault(name.strip().lower(), {})[value.strip()] = True
    return (("filters", encode(result).decode()),)
