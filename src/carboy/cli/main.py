"""The command line's edge: global flags, dispatch, errors to exit codes.

Every import on the way to the first byte sent is paid by every command: see
docs/design/0005-command-line.md before adding one.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed knows only `signal`, which costs 6 ms
import os
import sys

from carboy.cli import flags
from carboy.cli.commands import ALIASES, COMMANDS, GROUP_WORDS, LATER, LATER_GROUPED
from carboy.errors import CarboyError, Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from carboy.cli.flags import Parsed
    from carboy.cli.session import Session

GLOBAL_FLAGS = (
    ("config", "", "string", "Directory of config.json and of contexts (~/.docker)"),
    ("context", "c", "string", "Context to use: overrides DOCKER_HOST and `carboy context use`"),
    ("debug", "D", "bool", "Show tracebacks"),
    ("host", "H", "list", "Daemon to speak to: unix:///path, tcp://host:port or ssh://user@host"),
    ("log-level", "l", "string", "debug, info, warn, error or fatal: debug shows tracebacks"),
    ("tls", "", "bool", "Use TLS; implied by --tlsverify"),
    ("tlscacert", "", "string", "Trust only this authority (~/.docker/ca.pem)"),
    ("tlscert", "", "string", "Our certificate (~/.docker/cert.pem)"),
    ("tlskey", "", "string", "The key of our certificate (~/.docker/key.pem)"),
    ("tlsverify", "", "bool", "Use TLS and verify the daemon"),
    ("version", "v", "bool", "Show the version"),
)
LEVELS = ("debug", "info", "warn", "error", "fatal")


def main() -> None:
    """Run the command line and leave: never returns."""
    sys.unraisablehook = _unraisable
    os._exit(run(sys.argv[1:]))


def _unraisable(ignored: sys.UnraisableHookArgs) -> None:
    """A signal's exception that struck in a callback of the interpreter comes again, a little later.

    An import's lock is one: ctrl-C would be lost there, and its traceback printed.
    """
    lost = ignored.exc_value
    if not isinstance(lost, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
        return

    def again(_number: int, _frame: object) -> None:
        raise lost

    _signal.signal(_signal.SIGALRM, again)
    _signal.setitimer(_signal.ITIMER_REAL, 0.001)


def _interruptible() -> None:
    """From here on ctrl-C is an exception: commands have terminals and files to put in order."""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:  # see bin/carboy
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code."""
    debug = "--debug" in arguments or "-D" in arguments or bool(os.environ.get("CARBOY_DEBUG"))
    name = group = ""
    try:
        options = flags.parse(GLOBAL_FLAGS, arguments, interspersed=False)
        debug = options.flag("debug") or _level(options) == "debug"
        group = next((word for word in options.arguments[:1] if word in GROUP_WORDS), "")
        name, rest = find(options.arguments)
        if options.flag("version"):
            from carboy import __version__

            os.write(1, f"Carboy version {__version__}\n".encode())
            return 0
        if options.flag("help") or not name:
            wanted = options.flag("help") or options.arguments[:1] == ["help"]
            return _help(options.arguments, wanted=wanted or "--help" in options.arguments)
        return _dispatch(name, rest, options)
    except flags.UsageError as error:
        hint = f"See 'carboy {name or group} --help'" if name or group else "See 'carboy --help'"
        return _fail(f"{error}. {hint}" if error.exit_code else str(error), error.exit_code, debug=debug)
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt as end:
        number: int = getattr(end, "number", _signal.SIGINT)  # see signals.Ended
        return 128 + number
    except CarboyError as error:
        code = 125 if name == "run" else getattr(error, "exit_code", 1)
        return _fail(_worded(error), code, debug=debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 125 if name == "run" else 1, debug=debug)
    except Exception as error:
        return _fail(f"a bug in carboy {name}: {error!r} (run again with --debug)", 125, debug=debug)


def find(arguments: list[str]) -> tuple[str, list[str]]:
    """The canonical command of a command line, and the arguments after it; "" when there is none."""
    if not arguments:
        return "", []
    word = arguments[0]
    if word in COMMANDS:
        return word, arguments[1:]
    if word == "help":
        return "", arguments[1:]
    if word in GROUP_WORDS:
        if len(arguments) < 2 or arguments[1] in ("--help", "-h"):
            return "", []
        pair = word + " " + arguments[1]
        if pair in COMMANDS or pair in ALIASES:
            rest = arguments[2:]
            return ALIASES.get(pair, pair), rest
        if pair in LATER:
            raise _absent(pair, LATER[pair])
        if arguments[1] in LATER_GROUPED.get(word, ()):
            raise _absent(pair, LATER[arguments[1]])
        known = tuple(key.split(" ")[1] for key in (*COMMANDS, *ALIASES) if key.startswith(word + " "))
        raise flags.UsageError(f"unknown command: carboy {pair}" + flags.suggestion(arguments[1], known), 1)
    if word in LATER:
        raise _absent(word, LATER[word])
    raise flags.UsageError(f"unknown command: carboy {word}" + flags.suggestion(word, tuple(COMMANDS)), 1)


def _absent(name: str, reason: str) -> Unsupported:
    when = "yet" if "later" in reason else "here"
    return Unsupported(f"no `{name}` {when}: {reason}")


def load(name: str) -> ModuleType:
    """The module of a command."""
    return __import__("carboy.cli." + COMMANDS[name][0], fromlist=("main",))


def flags_of(name: str, module: ModuleType) -> flags.Table:
    """The flags of a command; a module that serves several commands may have a table for each."""
    table: flags.Table = getattr(module, "FLAGS_OF", {}).get(name, module.FLAGS)
    return table


def _dispatch(name: str, rest: list[str], options: Parsed) -> int:
    command = load(name)
    table = flags_of(name, command)
    parsed = flags.parse(table, rest, interspersed=getattr(command, "INTERSPERSED", True))
    if parsed.flag("help"):
        return _help([name], wanted=True)
    usage = getattr(command, "USAGE", "")
    if not parsed.arguments:
        usage += getattr(command, "NO_ARGUMENT", "")
    _check_count(name, usage, len(parsed.arguments), *command.ARGUMENTS)
    from carboy.cli.session import open_session

    session = open_session(options, command=name, offline=getattr(command, "OFFLINE", False))
    if session.settings.data:
        _fill_in(name, command, parsed, session)
    try:
        _interruptible()
        code: int = command.main(session, parsed)
    except Unavailable as error:
        if session.context == "default":
            raise
        hint = f"The context {session.context} leads there: `carboy -c default` speaks to Carboy's own daemon"
        raise Unavailable(f"{error} {hint}") from error
    finally:
        session.client.close()
    return code


def _fill_in(name: str, command: ModuleType, parsed: Parsed, session: Session) -> None:
    """Flags that were not given take their values from config.json: detach keys, formats of lists."""
    settings = session.settings
    keys = settings.detach_keys
    if keys and not parsed.given("detach-keys") and any(row[0] == "detach-keys" for row in command.FLAGS):
        parsed.values["detach-keys"] = keys
    template = settings.format_of(name)
    if template and not parsed.given("format") and not parsed.flag("quiet"):
        parsed.values["format"] = template


def _level(options: Parsed) -> str:
    level = options.text("log-level", "info")
    if level not in (*LEVELS, "trace", "warning", "panic"):
        raise flags.UsageError(f"unable to parse logging level: {level}", 1)
    return level


def _check_count(name: str, usage: str, count: int, least: int, most: int | None) -> None:
    if least <= count and (most is None or count <= most):
        return
    if most == 0:
        raise flags.UsageError(f"'carboy {name}' accepts no arguments", 1)
    if least == most:
        wanted = f"{least} argument{'s' * (least != 1)}"
    elif most is None:
        wanted = f"at least {least} argument{'s' * (least != 1)}"
    elif least == 0:
        wanted = f"at most {most} argument{'s' * (most != 1)}"
    else:
        wanted = f"at least {least} and at most {most} arguments"
    given = f", but {count} were given" if count > 1 else ""
    form = f": carboy {name} {usage}" if usage else ""
    raise flags.UsageError(f"'carboy {name}' requires {wanted}{given}{form}", 1)


def _help(words: list[str], *, wanted: bool) -> int:
    from carboy.cli import help as pages

    if words[:1] == ["help"]:
        words = words[1:]
    os.write(1 if wanted else 2, pages.page(words).encode())
    return 0


def _worded(error: CarboyError) -> str:
    from carboy.client.transport import ServerError

    return f"Error response from daemon: {error}" if isinstance(error, ServerError) else str(error)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    from carboy.cli.session import for_people

    message = for_people(2, message.replace("\n", " ").strip())
    os.write(2, ("carboy: " + message + "\n").encode("utf-8", "surrogateescape"))
    return code
