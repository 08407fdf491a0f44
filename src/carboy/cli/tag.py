"""carboy tag."""

from __future__ import annotations

from carboy.client.transport import ServerError
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

USAGE = "IMAGE[:TAG] NEW-NAME[:TAG]"
FLAGS = ()
ARGUMENTS = (2, 2)
EXAMPLES = """
carboy tag myimage:latest registry.example.org/team/myimage:1.0
"""


def main(session: Session, parsed: Parsed) -> int:
    """Tag the image."""
    image, name = parsed.arguments
    repository, tag = split_tag(name)
    try:
        session.client.call("POST", f"/images/{image}/tag", (("repo", repository), ("tag", tag or "latest")))
    except ServerError as error:
        if not str(error).startswith("invalid reference format"):
            raise
        raise InvalidArgument(
            f'Error parsing reference: "{name}" is not a valid repository/tag: {error}'
        ) from error
    return 0


def split_tag(name: str) -> tuple[str, str]:
    """`repository:tag`; a colon before a slash belongs to a registry's port."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")
