"""--network in both forms, -p, --expose, --link, --dns, --add-host: where a container is found."""

from __future__ import annotations

from carboy.cli.values import bad, csv
from carboy.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.flags import Parsed
    from carboy.client.document import Json

PROTOCOLS = ("tcp", "udp", "sctp")


def apply(parsed: Parsed, body: Json, host: Json) -> None:
    """Everything about networks that flags say."""
    networks = [_network(text) for text in parsed.list("network") + parsed.list("net")]
    if networks:
        host["NetworkMode"] = networks[0][0]
    endpoints: Json = dict(networks)
    main = networks[0][0] if networks else "default"
    endpoint: Json = endpoints.get(main, {})
    _flags(parsed, endpoint)
    if parsed.given("mac-address"):
        body["MacAddress"] = endpoint["MacAddress"] = _mac(parsed.text("mac-address"))
    if endpoint:
        endpoints[main] = endpoint
    if len(endpoints) > 1 or endpoint:
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    if parsed.given("link"):
        host["Links"] = [_link(text) for text in parsed.list("link")]
    if parsed.given("dns"):
        host["Dns"] = [_nameserver(text) for text in parsed.list("dns")]
    if parsed.given("add-host"):
        host["ExtraHosts"] = [_extra_host(text) for text in parsed.list("add-host")]
    if parsed.given("publish") or parsed.given("expose"):
        body["ExposedPorts"], host["PortBindings"] = ports(parsed.list("publish"), parsed.list("expose"))


def _flags(parsed: Parsed, endpoint: Json) -> None:
    aliases = parsed.list("network-alias") + parsed.list("net-alias")
    if aliases:
        endpoint["Aliases"] = [*endpoint.get("Aliases", ()), *aliases]
    addresses: Json = endpoint.get("IPAMConfig", {})
    for flag, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if parsed.given(flag):
            addresses[key] = parsed.text(flag)
    if parsed.given("link-local-ip"):
        addresses["LinkLocalIPs"] = parsed.list("link-local-ip")
    if addresses:
        endpoint["IPAMConfig"] = addresses


def _network(text: str) -> tuple[str, Json]:
    """A name, or `name=NAME,alias=…,ip=…,driver-opt=…`."""
    if "=" not in text:
        return text, {}
    name = ""
    endpoint: Json = {}
    for field in csv(text):
        key, equals, value = (part.strip() for part in field.partition("="))
        if not equals or not key:
            raise bad("--network", text, f"invalid field {field}")
        match key:
            case "name":
                name = value
            case "alias":
                endpoint.setdefault("Aliases", []).append(value)
            case "ip":
                endpoint.setdefault("IPAMConfig", {})["IPv4Address"] = value
            case "ip6":
                endpoint.setdefault("IPAMConfig", {})["IPv6Address"] = value
            case "link-local-ip":
                endpoint.setdefault("IPAMConfig", {}).setdefault("LinkLocalIPs", []).append(value)
            case "mac-address":
                endpoint["MacAddress"] = _mac(value)
            case "driver-opt":
                option, _, setting = value.partition("=")
                endpoint.setdefault("DriverOpts", {})[option] = setting
            case "gw-priority":
                endpoint["GwPriority"] = _integer(value, text)
            case _:
                raise bad("--network", text, f"invalid field key {key}")
    if not name:
        raise bad("--network", text, "network name/id is not specified")
    return name, endpoint


def _integer(value: str, text: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise bad("--network", text, f"invalid gw-priority ({value})") from error


def _mac(text: str) -> str:
    parts = text.replace("-", ":").split(":")
    digits = set("0123456789abcdefABCDEF")
    if len(parts) not in (6, 8) or any(len(part) != 2 or set(part) - digits for part in parts):
        raise InvalidArgument(f"{text} is not a valid mac address")
    return text


def _link(text: str) -> str:
    name, colon, alias = text.partition(":")
    if not name or (colon and not alias) or ":" in alias:
        raise bad("--link", text, f"bad format for links: {text}")
    return f"{name}:{alias or name}"


def _nameserver(text: str) -> str:
    if not _is_address(text.strip()):
        raise bad("--dns", text, f"IP address is not correctly formatted: {text}")
    return text.strip()


def _extra_host(text: str) -> str:
    """NAME:ADDRESS or NAME=ADDRESS; the server knows one form only."""
    name, found, address = text.partition("=" if "=" in text else ":")
    if not found or not name:
        raise bad("--add-host", text, f'bad format for add-host: "{text}": write NAME:ADDRESS')
    address = address.removeprefix("[").removesuffix("]")
    if address != "host-gateway" and not _is_address(address):
        raise bad("--add-host", text, f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _is_address(text: str) -> bool:
    from socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
            return True
        except (OSError, ValueError):
            continue
    return False


def ports(published: list[str], exposed: list[str]) -> tuple[Json, Json]:
    """(ExposedPorts, PortBindings) of -p and --expose."""
    open_ports: Json = {}
    bindings: Json = {}
    for item in exposed:
        if ":" in item:
            raise InvalidArgument(f"invalid port format for --expose: {item}")
        for port, _ in _inside(item, f"invalid range format for --expose: {item}"):
            open_ports[port] = {}
    for item in published:
        for port, binding in _published(item):
            open_ports[port] = {}
            bindings.setdefault(port, []).append(binding)
    return open_ports, bindings


def _published(item: str) -> list[tuple[str, Json]]:
    """`[[ADDRESS:]PORT:]PORT-INSIDE[/PROTOCOL]`, the long form `target=…,published=…` as well."""
    if "=" in item:
        return _published_long(item)
    text, slash, protocol = item.partition("/")
    left, _, inside = text.rpartition(":")
    address, outside = _address_and_port(left)
    if address and not _is_address(address):
        raise InvalidArgument(f"invalid IP address: {address}")
    found = _inside(inside + slash + protocol, f"invalid containerPort: {inside}")
    if not outside:
        return [(port, _binding(address, "")) for port, _ in found]
    span = _span(outside, f"invalid hostPort: {outside}")
    if len(span) == len(found):
        return [(port, _binding(address, str(number))) for (port, _), number in zip(found, span, strict=True)]
    if len(found) == 1:
        return [(found[0][0], _binding(address, outside))]  # any free port of the range
    raise InvalidArgument(f"invalid ranges specified for container and host Ports: {inside} and {outside}")


def _address_and_port(left: str) -> tuple[str, str]:
    if left.startswith("["):
        address, _, port = left[1:].partition("]")
        return address, port.removeprefix(":")
    address, _, port = left.rpartition(":")
    return address, port


def _binding(address: str, port: str) -> Json:
    return {"HostIp": address, "HostPort": port}


def _published_long(item: str) -> list[tuple[str, Json]]:
    fields = dict(field.partition("=")[::2] for field in csv(item))
    unknown = set(fields) - {"target", "published", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise InvalidArgument(f"invalid --publish {item!r}: write target=PORT,published=PORT,protocol=tcp")
    protocol = fields.get("protocol", "tcp")
    return _published(f"{fields.get('published', '')}:{fields['target']}/{protocol}".removeprefix(":"))


def _inside(text: str, wrong: str) -> list[tuple[str, int]]:
    span, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    return [(f"{port}/{protocol}", port) for port in _span(span, wrong)]


def _span(text: str, wrong: str) -> range:
    first, dash, last = text.partition("-")
    ends = [first, last if dash else first]
    if not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
        raise InvalidArgument(wrong)
    start, end = int(ends[0]), int(ends[1])
    if not 0 < start <= end < 65536:
        raise InvalidArgument(wrong)
    return range(start, end + 1)
