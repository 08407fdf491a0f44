"""Lists of objects as a table, as JSON lines, or by a template: what `--format` chooses.

A command gives rows (mappings from field to text) and its default columns; headers come
from one table, so that `table {{.ID}}\\t{{.Names}}` names them too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
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
) -> None:
    """Print rows: one field only with `quiet`, else by the template, else as a table of (field, header)."""
    if quiet and template in ("", "table"):
        lines = [row[quiet] for row in rows]
    elif template == "json":
        from carboy.cli.gofunctions import to_json

        lines = [to_json(row) for row in rows]
    elif template and template != "table":
        lines = _templated(rows, columns, template)
    else:
        cells = [[row[field] for field, _header in columns] for row in rows]
        lines = align([[header for _field, header in columns], *cells])
    if lines:
        session.out("\n".join(lines))


def _templated(rows: list[Row], columns: tuple[tuple[str, str], ...], template: str) -> list[str]:
    from carboy.cli.gotemplate import Template

    with_header = template.startswith("table")
    if with_header:
        template = template[5:].lstrip()
    template = template.replace("\\t", "\t").replace("\\n", "\n")
    parsed = Template(template)
    lines = [parsed.render(row) for row in rows]
    if not with_header:
        return lines
    named = dict(columns)
    header = parsed.render(_Headers(named))
    return align([line.split("\t") for line in (header, *lines)])


class _Headers(dict[str, str]):
    """Every field as its header; an unknown one too."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return HEADERS.get(key) or key.upper()


def align(rows: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell and three spaces, at least ten, as Docker's."""
    widths = [10] * max(map(len, rows))
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], len(cell) + 3)
    lines = []
    for row in rows:
        padded = [cell.ljust(widths[index]) for index, cell in enumerate(row[:-1])]
        lines.append("".join([*padded, row[-1]]))
    return lines


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
            raise UsageError(f"invalid filter {item!r}: write NAME=VALUE")
        result.setdefault(name.strip().lower(), {})[value.strip()] = True
    return (("filters", encode(result).decode()),)
