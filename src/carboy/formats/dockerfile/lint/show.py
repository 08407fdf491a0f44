"""A report as Docker's client shows it, and as JSON."""

from __future__ import annotations

import json

from carboy.formats.dockerfile.lint.findings import Finding, Report
from carboy.formats.dockerfile.source import MAX_SHOWN_COLUMNS, printable

_RULER = "--------------------\n"
MAX_LINES = 60
"""Of one excerpt: a heredoc may have thousands."""


def as_text(report: Report, *, name: str = "Dockerfile", strict: bool = False) -> str:
    """Everything for standard output; an error is `error_text`."""
    counted = report.findings if strict else report.warnings
    advice = () if strict else report.advice
    shown = []
    if len(counted) == 1:
        shown.append("Check complete, 1 warning has been found!\n")
    elif counted:
        shown.append(f"Check complete, {len(counted)} warnings have been found!\n")
    elif report.error is None:
        shown.append("Check complete, no warnings found.\n")
    shown += [_finding("WARNING", each, report.text, name) for each in counted]
    shown += [_finding("ADVICE", each, report.text, name) for each in advice]
    return "".join(shown)


def error_text(report: Report, *, name: str = "Dockerfile") -> str:
    """What is wrong with the Dockerfile, with an excerpt; empty when nothing is."""
    error = report.error
    if error is None:
        return ""
    lines = sorted({span.line for span in error.spans})
    return f"{error}\n" + (excerpt(report.text, name, lines[0], lines[-1]) if lines else "")


def _finding(kind: str, finding: Finding, text: str, name: str) -> str:
    place = excerpt(text, name, finding.line, finding.end_line)
    return f"\n{kind}: {finding.rule.name} - {finding.rule.url}\n{finding.detail}\n{place}"


def excerpt(text: str, name: str, first: int, last: int) -> str:
    """Lines of the source with some around them, marked with >>>."""
    lines = text.removeprefix("\ufeff").split("\n")
    if not 1 <= first <= len(lines):
        return ""
    last = min(last, len(lines))
    start, end = first, last
    room = 4 if first == last else 2
    while room > 0:
        if start > 1:
            start, room = start - 1, room - 1
        if end < len(lines):
            end, room = end + 1, room - 1
        room -= 1
    shown = [f"{name}:{first}\n{_RULER}"]
    for number in range(start, min(end, start + MAX_LINES) + 1):
        mark = ">>>" if first <= number <= last else "   "
        line = printable(lines[number - 1].rstrip("\r")[:MAX_SHOWN_COLUMNS])
        shown.append(f" {number:3d} | {mark} {line}\n")
    return "".join(shown) + _RULER


def as_json(report: Report, *, name: str = "Dockerfile") -> str:
    """The document that `--call=check,format=json` prints: Docker's members, and `severity`."""
    import base64

    document: dict[str, object] = {
        "warnings": [
            {
                "ruleName": each.rule.name,
                "description": each.rule.sentence,
                "url": each.rule.url,
                "detail": each.detail,
                "location": _location([(each.line, each.end_line)]),
                "severity": each.rule.severity,
            }
            for each in report.findings
        ],
        "sources": [
            {
                "filename": name,
                "language": "Dockerfile",
                "data": base64.b64encode(report.text.encode("utf-8", "surrogateescape")).decode(),
            }
        ],
    }
    if report.error is not None:
        spans = [(span.line, span.line) for span in report.error.spans]
        document["buildError"] = {"message": str(report.error), "location": _location(spans)}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _location(ranges: list[tuple[int, int]]) -> dict[str, object]:
    return {"ranges": [{"start": {"line": first}, "end": {"line": last}} for first, last in ranges]}
