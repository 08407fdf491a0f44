"""ctrl-C at awkward moments: never lost, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}

IN_A_CALLBACK = """
import _signal, os, sys, weakref
from carboy.cli import main, signals

class Thing:
    pass

def interrupted(_):
    os.kill(os.getpid(), 2)
    for _ in range(1000):
        pass

sys.unraisablehook = main._unraisable
{prepare}
thing = Thing()
watched = weakref.ref(thing, interrupted)
try:
    del thing
    _signal.pause()
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("prepare", "expected"), [("", "KeyboardInterrupt"), ("signals.raise_on_end()", "Interrupted")]
)
def test_an_interrupt_in_a_callback_of_the_interpreter_is_not_lost(prepare: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK.format(prepare=prepare)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


IN_AN_IMPORT = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "carboy.cli.version":
            os.kill(os.getpid(), 2)
            for _ in range(1000):
                pass

sys.meta_path.insert(0, Finder())
sys.argv = ["carboy", "version"]
exec(compile(open({script!r}).read(), {script!r}, "exec"))
"""


@pytest.mark.parametrize(("ignored", "code"), [(False, -signal.SIGINT), (True, 1)])
def test_before_a_command_begins_an_interrupt_ends_the_process(ignored: bool, code: int) -> None:
    """Unless it is ignored, as for what a shell starts with `&`: there is no daemon for it to find then."""
    done = subprocess.run(
        [sys.executable, "-c", IN_AN_IMPORT.format(script=str(REPOSITORY / "bin" / "carboy"))],
        env={**ENVIRONMENT, "CARBOY_HOST": "unix:///nowhere/carboy.sock"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignored else None,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
