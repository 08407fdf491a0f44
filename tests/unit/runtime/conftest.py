"""Monitors whose container is a plain program."""

from support.monitor import monitors

__all__ = ["monitors"]
