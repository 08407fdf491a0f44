"""Asking before something is lost."""

from __future__ import annotations

import os
import sys

from carboy.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.cli.session import Session


def confirm(session: Session, question: str) -> bool:
    """Ask on the terminal; without one, say how to do without asking."""
    if not os.isatty(0):
        raise UsageError(f"{question} Say that you mean it with --force", 1)
    session.warn(f"WARNING! {question}")
    os.write(2, b"Go on? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask(warning: str) -> bool:
    """Docker's question before a prune: the answer may come through a pipe; its end means no."""
    os.write(1, f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ".encode())
    return sys.stdin.readline().strip().lower() in ("y", "yes")
