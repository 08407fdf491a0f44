"""The contents of /etc/resolv.conf, /etc/hosts and /etc/hostname in a container, as Docker writes them.

Pure text in and out: the caller reads the host's file and writes the container's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from carboy.errors import InvalidArgument

ETC_RESOLV_CONF = "/etc/resolv.conf"
SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
"""What systemd-resolved really asks, where /etc/resolv.conf names only its local stub."""

DEFAULT_NAMESERVERS = ("8.8.8.8", "8.8.4.4")
DEFAULT_NAMESERVERS_IPV6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")
_STUB = "127.0.0.53"

_HOSTS_IPV4 = (("127.0.0.1", "localhost"),)
_HOSTS_IPV6 = (
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)

_MAX_RESOLV_CONF = 1024 * 1024


@dataclass(slots=True)
class ResolvConf:
    """A resolv.conf, taken apart."""

    nameservers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def parse_resolv_conf(content: str) -> ResolvConf:
    """Read a resolv.conf: the last search line wins, options add up, invalid nameservers are left out."""
    parsed = ResolvConf()
    for line in content[:_MAX_RESOLV_CONF].splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            parsed.nameservers += [word for word in words[1:2] if _address(word) is not None]
        elif words[0] in ("search", "domain"):
            parsed.search = words[1:] or parsed.search
        elif words[0] == "options":
            parsed.options += words[1:]
        else:
            parsed.other.append(line)
    return parsed


def resolv_conf_source(etc_content: str) -> str:
    """The host's file to start from, judged by what /etc/resolv.conf holds."""
    nameservers = parse_resolv_conf(etc_content).nameservers
    return SYSTEMD_RESOLV_CONF if nameservers == [_STUB] else ETC_RESOLV_CONF


def resolv_conf(
    host_content: str,
    *,
    source: str = ETC_RESOLV_CONF,
    nameservers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    ipv6: bool = False,
    own_namespace: bool = True,
) -> str:
    """A container's resolv.conf from the host's and the user's `--dns…` options.

    In a namespace of its own the host's loopback nameservers cannot be reached, nor IPv6 ones
    without IPv6: they are left out, and public ones stand in when none is left. Nameservers that
    the user gave are taken as given. With the host's namespace all of the host's are kept.
    """
    parsed = parse_resolv_conf(host_content)
    used_default = False
    if nameservers:
        parsed.nameservers = [_checked_nameserver(server) for server in nameservers]
    elif own_namespace:
        parsed.nameservers = [server for server in parsed.nameservers if _reachable(server, ipv6=ipv6)]
        used_default = not parsed.nameservers
        if used_default:
            parsed.nameservers = [*DEFAULT_NAMESERVERS, *(DEFAULT_NAMESERVERS_IPV6 if ipv6 else ())]
    if search:
        # A single dot asks for no search list at all.
        parsed.search = [_word(domain, "search domain") for domain in search if domain != "."]
    if options:
        parsed.options = [_word(option, "resolver option") for option in options]
    overrides = [
        name
        for name, given in (("nameservers", nameservers), ("search", search), ("options", options))
        if given
    ]
    return _write(parsed, source=source, used_default=used_default, overrides=overrides)


def _write(parsed: ResolvConf, *, source: str, used_default: bool, overrides: list[str]) -> str:
    lines = [f"nameserver {server}" for server in parsed.nameservers]
    if parsed.search:
        lines.append("search " + " ".join(parsed.search))
    if parsed.options:
        lines.append("options " + " ".join(parsed.options))
    lines += parsed.other
    lines += ["", f"# Based on host file: '{source}'"]
    if used_default:
        lines.append("# Used default nameservers.")
    lines.append(f"# Overrides: [{' '.join(overrides)}]")
    return "\n".join(lines) + "\n"


def hosts(
    *,
    hostname: str,
    domainname: str = "",
    addresses: Iterable[IPv4Address] = (),
    extra: Iterable[tuple[str, str]] = (),
    ipv6_loopback: bool = True,
) -> str:
    """A container's /etc/hosts; `extra` are pairs of name and address (`--add-host`, resolved)."""
    lines = [*_HOSTS_IPV4, *(_HOSTS_IPV6 if ipv6_loopback else ())]
    for name, unsafe_address in extra:
        lines.append((_checked_host_address(unsafe_address, name), _word(name, "host name")))
    name = _word(hostname, "host name") + (f".{_word(domainname, 'domain name')}" if domainname else "")
    short = name.split(".", 1)[0]
    names = name if short == name else f"{name} {short}"
    lines += [(str(address), names) for address in addresses]
    return "".join(f"{address}\t{names}\n" for address, names in lines)


def hostname_file(hostname: str) -> str:
    """A container's /etc/hostname."""
    return _word(hostname, "host name") + "\n"


def parse_extra_host(unsafe_text: str, *, gateway: IPv4Address | None) -> tuple[str, str]:
    """`--add-host NAME:ADDRESS` (or NAME=ADDRESS) as a pair; "host-gateway" is the bridge's address."""
    separator = "=" if "=" in unsafe_text else ":"
    name, found, unsafe_address = unsafe_text.partition(separator)
    if not found or not name or not unsafe_address:
        raise InvalidArgument(f"extra host {unsafe_text[:128]!r} has to be NAME:ADDRESS")
    if unsafe_address == "host-gateway":
        if gateway is None:
            raise InvalidArgument(
                f"extra host {name!r} asks for host-gateway, but the container has no bridge"
            )
        return _word(name, "host name"), str(gateway)
    return _word(name, "host name"), _checked_host_address(unsafe_address, name)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _reachable(server: str, *, ipv6: bool) -> bool:
    address = _address(server)
    if address is None or address.is_loopback:
        return False
    return ipv6 or address.version == 4


def _checked_nameserver(unsafe_server: str) -> str:
    if _address(unsafe_server) is None:
        raise InvalidArgument(f"nameserver {unsafe_server[:64]!r} is not an IP address")
    return unsafe_server


def _checked_host_address(unsafe_address: str, name: str) -> str:
    stripped = unsafe_address.removeprefix("[").removesuffix("]")
    if _address(stripped) is None:
        raise InvalidArgument(f"extra host {name[:64]!r}: {unsafe_address[:64]!r} is not an IP address")
    return stripped


def _word(unsafe_text: str, what: str) -> str:
    """One word without anything that would start a new line or another entry in the file."""
    if (
        not unsafe_text
        or len(unsafe_text) > 253
        or any(c.isspace() or not c.isprintable() or c == "#" for c in unsafe_text)
    ):
        raise InvalidArgument(f"{what} {unsafe_text[:64]!r} has to be one word of at most 253 characters")
    return unsafe_text
