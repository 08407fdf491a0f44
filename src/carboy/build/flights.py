"""Who makes which key just now: two builds that need the same step run it once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Flights:
    """Keys that are being made, and who waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._pilots: dict[str, object] = {}

    def is_others(self, key: str, pilot: object) -> bool:
        """Whether somebody else makes it just now."""
        with self._lock:
            return self._pilots.get(key, pilot) is not pilot

    def take_off(self, key: str, pilot: object, resume: Callable[[], None] | None) -> bool:
        """True: nobody makes it, and now the pilot does.  False: `resume` is called at its landing."""
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = []
                self._pilots[key] = pilot
                return True
            if resume is not None:
                waiting.append(resume)
            return False

    def land(self, key: str) -> None:
        """It is in the cache, or will not come."""
        with self._lock:
            waiting = self._waiting.pop(key, [])
            self._pilots.pop(key, None)
        for resume in waiting:
            resume()
