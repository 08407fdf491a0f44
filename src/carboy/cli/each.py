"""Doing one thing to several objects: every one is tried, each failure is one line."""

from __future__ import annotations

from carboy.client.transport import ServerError
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.cli.session import Session


def each(session: Session, names: list[str], act: Callable[[str], object], *, show: bool = True) -> int:
    """Call `act` for every name; prints the name, or what `act` returned as text. 1 when any failed."""
    code = 0
    for name in names:
        try:
            result = act(name)
        except ServerError as error:
            session.fail(f"Error response from daemon: {error}".replace("\n", " "))
            code = 1
        except CarboyError as error:
            session.fail(str(error))
            code = 1
        else:
            if show:
                session.out(result if isinstance(result, str) else name)
    return code
