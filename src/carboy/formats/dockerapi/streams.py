"""What a client asks of a stream: logs, attach."""

from msgspec import Struct


class LogOptions(Struct, kw_only=True, frozen=True):
    """Which part of a container's log; moments in nanoseconds since the epoch."""

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    since: int | None = None
    until: int | None = None
    tail: int | None = None
    """The last so many lines; None for all."""
    joined: bool = False
    """Lines of one moment and stream share a frame: for clients of our own, which only copy."""


class AttachOptions(Struct, kw_only=True, frozen=True):
    """Which streams of a container; `logs` replays the log first, `stream` goes on with what comes."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = False
    logs: bool = False
    detach_keys: str | None = None
