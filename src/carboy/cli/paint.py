"""Colours, where they help and are wanted: on terminals, without NO_COLOR (no-color.org) and TERM=dumb."""

from __future__ import annotations

import os

RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN, DIM = "31", "32", "33", "34", "35", "36", "2"


def wanted(descriptor: int) -> bool:
    """Whether what is written there may be coloured."""
    return (
        os.isatty(descriptor) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    )


def paint(text: str, colour: str) -> str:
    """The text in a colour; control characters in it stay what they are."""
    return f"\033[{colour}m{text}\033[0m"
