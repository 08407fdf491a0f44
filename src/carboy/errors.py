"""Error categories: what went wrong, by what a caller can do about it.

    CarboyError
    ├── InvalidArgument   400  the request itself is wrong
    ├── Unauthenticated   401  who are you?
    ├── PermissionDenied  403  you may not
    ├── NotFound          404  no such object
    ├── Conflict          409  the object's state (or name) forbids it
    ├── NotModified       304  it already is so
    ├── Unsupported       501  this engine or kernel cannot
    ├── Unavailable       503  not now; try again
    ├── Cancelled         500  the caller went away
    ├── Corrupt           500  stored or received bytes are not what they claim
    │   └── Malformed     400  ... and it was the client who sent them
    └── Internal          500  a bug of ours

A message says what was tried, on which object, why it failed and, if known, what to do.
Edges translate once: `api` to a status, `cli` to an exit code, `registry` to a code.
This module imports nothing: the runtime's start-up path and the command line use it.
"""


class CarboyError(Exception):
    """The root of every error that Carboy raises on purpose."""

    status = 500


class InvalidArgument(CarboyError):
    """The request is malformed or asks for something impossible."""

    status = 400


class Unauthenticated(CarboyError):
    """Credentials are missing or wrong."""

    status = 401


class PermissionDenied(CarboyError):
    """The caller is known, and may not do this."""

    status = 403


class NotFound(CarboyError):
    """The named object does not exist."""

    status = 404


class Conflict(CarboyError):
    """The object exists, but its state or name forbids the operation."""

    status = 409


class NotModified(CarboyError):
    """The object already is in the state asked for."""

    status = 304


class Unsupported(CarboyError):
    """This engine or this kernel cannot do it."""

    status = 501


class Unavailable(CarboyError):
    """It cannot be done now; trying again may help."""

    status = 503


class Cancelled(CarboyError):
    """The caller went away before the operation ended."""

    status = 500


class Corrupt(CarboyError):
    """Stored or received bytes are not what they claim to be."""

    status = 500


class Malformed(Corrupt):
    """The bytes that a client sent are not what they claim to be."""

    status = 400


class Internal(CarboyError):
    """A bug in Carboy, or a kernel that broke a promise."""

    status = 500


CATEGORIES: dict[str, type[CarboyError]] = {
    category.__name__: category
    for category in (
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        Conflict,
        NotModified,
        Unsupported,
        Unavailable,
        Cancelled,
        Corrupt,
        Malformed,
        Internal,
    )
}
"""Category by name, for errors that cross a process boundary as messages."""
