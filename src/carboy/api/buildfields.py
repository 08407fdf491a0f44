"""What becomes of every field of `POST /build`'s query and head: a table in docs/api-matrix.md."""

from __future__ import annotations

from carboy.api.createfields import REFUSED, SERVED, WARNED, Field

FIELDS: tuple[Field, ...] = (
    Field("dockerfile", SERVED),
    Field("t", SERVED, "several"),
    Field("extrahosts", SERVED, "several; NAME:IP or NAME=IP"),
    Field("remote", SERVED, "git, an archive or a Dockerfile over HTTP"),
    Field("q", SERVED),
    Field("nocache", SERVED),
    Field("cachefrom", SERVED, "images here that were built with an inline cache; others are warned about"),
    Field("pull", WARNED, "images come by `load` and `import` until there are registries"),
    Field("rm", WARNED, "containers of steps are never kept"),
    Field("forcerm", SERVED, "always so"),
    Field("memory", SERVED),
    Field("memswap", SERVED),
    Field("cpushares", SERVED),
    Field("cpusetcpus", SERVED),
    Field("cpusetmems", SERVED),
    Field("cpuperiod", SERVED),
    Field("cpuquota", SERVED),
    Field("buildargs", SERVED, "proxies among them reach RUN and enter nothing"),
    Field("shmsize", SERVED),
    Field("squash", REFUSED, "build in stages instead"),
    Field("labels", SERVED),
    Field("networkmode", SERVED, "default, none, host; a container's or another network is refused"),
    Field("platform", SERVED, "several, separated by commas"),
    Field("target", SERVED),
    Field("outputs", SERVED, "fetched by `GET /build/output` with the `buildid`"),
    Field("version", SERVED, "1; 2 (BuildKit's sessions) is refused, and says what to do"),
    Field("ulimits", SERVED),
    Field("cgroupparent", SERVED),
    Field("buildid", SERVED, "for `POST /build/cancel`"),
    Field("build", SERVED, "Carboy's own: what `POST /build/begin` answered"),
    Field("isolation", REFUSED, "but `default`"),
    Field("securityopt", WARNED),
    Field("X-Registry-Config", SERVED, "accepted; nothing is pulled yet"),
)


def page() -> str:
    """The table in Markdown."""
    rows = "".join(f"| `{one.path}` | {one.state} | {one.note} |\n" for one in FIELDS)
    return f"\n## Fields of `POST /build`\n\n| field | | |\n|---|---|---|\n{rows}"
