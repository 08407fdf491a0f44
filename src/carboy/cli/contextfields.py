"""What `context create` and `context update` are told: an endpoint, its TLS files, a description.

--docker host=tcp://h:2376,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true      --docker from=OTHER
"""

from __future__ import annotations

from carboy.client import address, contexts
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.session import Session

KEYS = ("host", "ca", "cert", "key", "skip-tls-verify", "from")


def endpoint(session: Session, fields: list[str]) -> tuple[dict[str, object], dict[str, bytes]]:
    """The endpoint document and the TLS files of --docker values; another context's with `from`."""
    given = _fields(fields)
    if "from" in given:
        if len(given) > 1:
            raise InvalidArgument('cannot use "from" together with other keys of --docker')
        return copied(session, given["from"])
    host = given.get("host", "")
    if host:
        address.parse(host)
    skip = given.get("skip-tls-verify", "false").lower()
    if skip not in ("true", "false", "1", "0", "t", "f"):
        raise InvalidArgument(
            f"unable to create docker endpoint config: skip-tls-verify: parsing {skip!r}: invalid syntax"
        )
    tls = {f"{name}.pem": contexts.read(given[name]) for name in ("ca", "cert", "key") if given.get(name)}
    document: dict[str, object] = {"Host": host} if host else {}
    return {**document, "SkipTLSVerify": skip in ("true", "1", "t")}, tls


def copied(session: Session, name: str) -> tuple[dict[str, object], dict[str, bytes]]:
    """The endpoint of another context; that of `default` is what it means now."""
    if name == "default":
        return {"Host": session.address.url, "SkipTLSVerify": False}, {}
    found = contexts.load(session.settings.directory, name)
    return found.endpoint, found.tls_data()


def _fields(items: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for item in items:
        for field in item.split(","):
            key, equals, value = field.partition("=")
            if not equals:
                raise InvalidArgument(f"invalid --docker {item!r}: {field!r} must be KEY=VALUE")
            if key not in KEYS:
                raise InvalidArgument(
                    f"unable to create docker endpoint config: unrecognized config key: {key}"
                )
            given[key] = value
    return given
