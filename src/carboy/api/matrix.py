"""docs/api-matrix.md, from the route table: `python -m carboy.api.matrix > docs/api-matrix.md`."""

from __future__ import annotations

import sys
from itertools import groupby

from carboy.api import buildfields, createfields, versions
from carboy.api.handlers import absent
from carboy.api.routes import ROUTES, Route

_HEAD = f"""# The Docker Engine API in Carboy

Generated from the route table (`src/carboy/api/routes.py`) by `python -m carboy.api.matrix`; do not edit.

Versions {versions.text(versions.MINIMUM)} to {versions.text(versions.MAXIMUM)}, with or without the version
in the path.  "yes" is served; "not yet" answers 501 and is planned; "no" answers 501; "no swarm" answers
503 as Docker does outside a swarm.  "Since" is the API version that brought an endpoint; older clients get
404.
"""


def matrix() -> str:
    """The whole page."""
    parts = [_HEAD]
    for tag, routes in groupby(ROUTES, key=lambda route: route.tag):
        parts.append(f"\n## {tag}\n\n| endpoint | since | served |\n|---|---|---|\n")
        parts.extend(
            f"| `{route.method} {route.path}` | {versions.text(route.since)} | {_state(route)} |\n"
            for route in routes
        )
    parts.append(createfields.page())
    parts.append(buildfields.page())
    return "".join(parts)


def _state(route: Route) -> str:
    if route.supported:
        return "yes"
    if route.handler in (absent.swarm, absent.no_swarm):
        return "no swarm"
    return "no" if route.handler in (absent.never, absent.plugin) else "not yet"


if __name__ == "__main__":
    sys.stdout.write(matrix())
