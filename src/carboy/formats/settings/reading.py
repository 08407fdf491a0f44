"""Settings from flags and a file: unknown names, wrong types and contradictions are told in dockerd's words.

flags ──┐
file ───┴─▶ merge ─▶ Settings ─▶ text(), flag(), number(), words(), pairs()
                        ▲ adopt(): what a reload may change
"""

from __future__ import annotations

from carboy.errors import InvalidArgument
from carboy.formats.settings.table import BY_NAME, REFUSED, SETTINGS, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.formats.settings.table import Value

MAX_FILE = 1 << 20

LEVELS = ("debug", "info", "warn", "error", "fatal")
RUNTIMES = ("carboy", "runc", "io.containerd.runc.v2", "carboy-runtime")


class Settings:
    """Values by name; the reloadable ones change under their users' hands, each at once."""

    def __init__(self, given: Mapping[str, Value] | None = None) -> None:
        self._given = dict(given or {})

    def __repr__(self) -> str:
        return f"Settings({self._given!r})"

    def given(self, name: str) -> bool:
        """Whether somebody set it."""
        return name in self._given

    def value(self, name: str) -> Value:
        """The value, of whatever kind."""
        found = self._given.get(name)
        return BY_NAME[name].default if found is None else found

    def text(self, name: str) -> str:
        """A setting of kind text."""
        value = self.value(name)
        assert isinstance(value, str)
        return value

    def flag(self, name: str) -> bool:
        """A setting of kind bool."""
        value = self.value(name)
        assert isinstance(value, bool)
        return value

    def number(self, name: str) -> int:
        """A setting of kind int."""
        value = self.value(name)
        assert isinstance(value, int)
        return value

    def words(self, name: str) -> list[str]:
        """A setting of kind list."""
        value = self.value(name)
        assert isinstance(value, tuple)
        return list(value)

    def pairs(self, name: str) -> dict[str, str]:
        """A setting of kind map, or ulimits (as soft:hard)."""
        value = self.value(name)
        assert isinstance(value, dict)
        return dict(value)

    def size(self, name: str) -> int:
        """A setting of kind text that is a size, in bytes."""
        return _size(self.text(name))

    def adopt(self, other: Settings) -> tuple[list[str], list[str]]:
        """Take the reloadable values of `other`: the names that changed, and those that need a restart."""
        changed, waiting = [], []
        for setting in SETTINGS:
            name = setting.name
            if self.value(name) == other.value(name):
                continue
            if not setting.reload:
                waiting.append(name)
                continue
            changed.append(name)
            if name in other._given:
                self._given[name] = other._given[name]
            else:
                del self._given[name]
        return changed, waiting

    def shown(self) -> dict[str, Value]:
        """What may be told of the settings: all that is reloadable (none of them is a secret)."""
        return {setting.name: self.value(setting.name) for setting in SETTINGS if setting.reload}


def from_flags(texts: Mapping[str, str], lists: Mapping[str, list[str]]) -> dict[str, Value]:
    """The values of a parsed command line: single flags, and repeated ones."""
    found: dict[str, Value] = {}
    for setting in SETTINGS:
        if setting.flag in texts:
            found[setting.name] = _of_text(setting, texts[setting.flag])
        elif setting.flag in lists:
            found[setting.name] = _of_list(setting, lists[setting.flag])
    return found


def _of_text(setting: Setting, text: str) -> Value:
    if setting.kind == "bool":
        return text == "true"
    return int(text) if setting.kind == "int" else text


def _of_list(setting: Setting, words: list[str]) -> Value:
    if setting.kind == "list":
        return tuple(words)
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidArgument(f'invalid argument "{word[:200]}" for "--{setting.flag}": write name=value')
        pairs[name] = _limits(name, value) if setting.kind == "ulimits" else value
    return pairs


def read_file(unsafe_data: bytes, path: str) -> dict[str, Value]:
    """The values of a configuration file; raises InvalidArgument."""
    import json  # deferred: most daemons have no file

    prefix = f"unable to configure the Carboy daemon with file {path}: "
    if not unsafe_data.strip():
        return {}
    try:
        document = json.loads(unsafe_data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{prefix}invalid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{prefix}expected an object of settings")
    unknown = [str(name)[:80] for name in document if name not in BY_NAME]
    if unknown:
        raise InvalidArgument(
            f"{prefix}the following directives don't match any configuration option: {', '.join(unknown)}"
        )
    try:
        return {name: _typed(BY_NAME[name], value) for name, value in document.items()}
    except InvalidArgument as error:
        raise InvalidArgument(f"{prefix}{error}") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:80]!r} is there twice")
        found[name] = value
    return found


_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "text": "a text",
    "list": "a list of texts",
    "map": "an object of texts",
    "ulimits": 'an object like {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 2048}}',
}


def _typed(setting: Setting, value: object) -> Value:
    match setting.kind, value:
        case "bool", bool():
            return value
        case "int", int() if not isinstance(value, bool) and abs(value) < 1 << 62:
            return value
        case "text", str():
            return value
        case "list", list() if all(isinstance(one, str) for one in value):
            return tuple(value)
        case "map", dict():
            return {name: _word(setting, one) for name, one in value.items()}
        case "ulimits", dict():
            return {name: _limits_of(setting, name, one) for name, one in value.items()}
        case _:
            raise _mismatch(setting, value)


def _mismatch(setting: Setting, value: object) -> InvalidArgument:
    shown = repr(value)[:80]
    return InvalidArgument(f"{setting.name}: expected {_WORDS[setting.kind]}, found {shown}")


def _word(setting: Setting, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    raise _mismatch(setting, value)


def _limits_of(setting: Setting, name: str, value: object) -> str:
    if not isinstance(value, dict) or value.get("Name", name) != name:
        raise _mismatch(setting, value)
    soft, hard = value.get("Soft"), value.get("Hard")
    if not isinstance(soft, int) or not isinstance(hard, int) or set(value) - {"Name", "Soft", "Hard"}:
        raise _mismatch(setting, value)
    return _limits(name, f"{soft}:{hard}")


def _limits(name: str, text: str) -> str:
    """`soft:hard`, of either one number or two."""
    soft, colon, hard = text.partition(":")
    try:
        pair = int(soft), int(hard if colon else soft)
    except ValueError as error:
        raise InvalidArgument(f"invalid ulimit {name[:40]}={text[:80]}: write soft[:hard]") from error
    if pair[1] != -1 and (pair[0] == -1 or pair[0] > pair[1]):
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: {pair[0]} > {pair[1]}"
        )
    return f"{pair[0]}:{pair[1]}"


def merge(flags: Mapping[str, Value], file: Mapping[str, Value], path: str = "") -> Settings:
    """Flags and file together: each setting may come from one of them only; then all are checked."""
    twice = [
        f"{name}: (from flag: {_shown(flags[name])}, from file: {_shown(value)})"
        for name, value in file.items()
        if name in flags and BY_NAME[name].kind != "map"
    ]
    if twice:
        raise InvalidArgument(
            f"unable to configure the Carboy daemon with file {path}: the following directives are specified "
            f"both as a flag and in the configuration file: {', '.join(twice)}"
        )
    settings = Settings({**file, **flags})
    try:
        _check(settings)
    except InvalidArgument as error:
        if not file:
            raise
        raise InvalidArgument(
            f"merged configuration validation from file and command line flags failed: {error}"
        ) from error
    return settings


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{' '.join(value)}]"[:200]
    return str(value)[:200]


def _check(settings: Settings) -> None:
    for setting in SETTINGS:
        if setting.effect == REFUSED and settings.value(setting.name) != setting.default:
            if setting.name == "exec-opts" and settings.words("exec-opts") == [
                "native.cgroupdriver=cgroupfs"
            ]:
                continue
            raise InvalidArgument(
                f"{setting.name}={_shown(settings.value(setting.name))} is not supported by Carboy: "
                f"{setting.sentence[0].lower()}{setting.sentence[1:]}; leave it out"
            )
    _check_words(settings)
    _check_numbers(settings)
    _check_lists(settings)


def _check_words(settings: Settings) -> None:
    if settings.text("log-level") not in LEVELS:
        raise InvalidArgument(f"invalid logging level: {settings.text('log-level')[:40]}")
    if settings.text("log-format") not in ("text", "json"):
        raise InvalidArgument(f"invalid log format: {settings.text('log-format')[:40]}")
    if settings.text("default-runtime") not in RUNTIMES:
        raise InvalidArgument(
            f"specified default runtime '{settings.text('default-runtime')[:40]}' does not exist"
        )
    if settings.text("default-ipc-mode") not in ("private", "shareable"):
        raise InvalidArgument(
            f'IPC can be "private" or "shareable", not {settings.text("default-ipc-mode")[:40]!r}'
        )
    if settings.text("default-cgroupns-mode") not in ("", "private", "host"):
        raise InvalidArgument(
            f"default cgroup namespace mode ({settings.text('default-cgroupns-mode')[:40]}) is invalid; "
            'use "host" or "private"'
        )
    if settings.text("metrics-addr") and ":" not in settings.text("metrics-addr"):
        shown = settings.text("metrics-addr")[:80]
        raise InvalidArgument(f"invalid metrics-addr {shown!r}: write address:port")
    _size(settings.text("default-shm-size"))
    if settings.text("builder-gc-keep-storage"):
        _size(settings.text("builder-gc-keep-storage"))


_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3}


def _size(text: str) -> int:
    """Bytes of `64m`."""
    word = text.strip().lower().removesuffix("ib").removesuffix("b") or "x"
    digits = word.rstrip("kmg")
    unit = word[len(digits) :]
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16 and unit in _UNITS):
        raise InvalidArgument(f"invalid size: '{text[:40]}'")
    return int(digits) << 10 * _UNITS[unit]


_RANGES = {
    "mtu": (0, 65535, "invalid default MTU: {}"),
    "max-concurrent-downloads": (1, 1 << 16, "invalid max concurrent downloads: {}"),
    "max-concurrent-uploads": (1, 1 << 16, "invalid max concurrent uploads: {}"),
    "max-download-attempts": (1, 1 << 16, "invalid max download attempts: {}"),
    "oom-score-adjust": (-1000, 1000, "invalid oom-score-adjust: {}, it must be from -1000 to 1000"),
    "shutdown-timeout": (-1, 1 << 20, "invalid shutdown-timeout: {}"),
}


def _check_numbers(settings: Settings) -> None:
    for name, (least, most, words) in _RANGES.items():
        if not least <= settings.number(name) <= most:
            raise InvalidArgument(words.format(settings.number(name)))


def _check_lists(settings: Settings) -> None:
    labels: dict[str, str] = {}
    for label in settings.words("labels"):
        name, equals, value = label.partition("=")
        if not equals or not name:
            raise InvalidArgument(f"bad attribute format: {label[:80]}")
        if labels.setdefault(name, value) != value:
            raise InvalidArgument(
                f"conflict labels for {name[:40]}={value[:40]} and {name[:40]}={labels[name][:40]}"
            )
    if settings.given("dns") or settings.text("bip"):
        from ipaddress import ip_address, ip_interface  # deferred: a few milliseconds

        for server in settings.words("dns"):
            try:
                ip_address(server)
            except ValueError as error:
                raise InvalidArgument(f"{server[:60]} is not an ip address") from error
        if settings.text("bip"):
            try:
                ip_interface(settings.text("bip"))
            except ValueError as error:
                raise InvalidArgument(f"invalid CIDR address: {settings.text('bip')[:60]}") from error
