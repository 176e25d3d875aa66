"""Runs functions at a later moment, in order, on one daemon thread."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Later:
    """A heap of (due, sequence, function); equal times keep the order of `run` calls."""

    def __init__(self, name: str) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._loop, name=name, daemon=True).start()

    def run(self, delay_s: float, function: Callable[[], None]) -> None:
        with self._changed:
            entry = (time.monotonic() + delay_s, next(self._sequence), function)
            heapq.heappush(self._heap, entry)
            self._changed.notify()

    def clear(self) -> None:
        with self._changed:
            self._heap.clear()

    def _next(self) -> Callable[[], None]:
        with self._changed:
            while True:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)

    def _loop(self) -> None:
        while True:
            function = self._next()
            try:
                function()
            except Exception:  # noqa: BLE001 - one failing task must not end the thread for all
                _log.exception("a scheduled task failed")
