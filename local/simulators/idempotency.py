"""Answers remembered by idempotency key, bounded."""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

MAX_KEYS = 10_000


@dataclass(frozen=True)
class Stored:
    fingerprint: str
    status: int
    body: Any


class IdempotencyKeys:
    """key -> the first answer. The caller holds the simulator's lock."""

    def __init__(self) -> None:
        self._stored: OrderedDict[tuple[str, ...], Stored] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> Stored | None:
        return self._stored.get(key)

    def put(self, key: tuple[str, ...], stored: Stored) -> None:
        self._stored[key] = stored
        while len(self._stored) > MAX_KEYS:
            self._stored.popitem(last=False)

    def clear(self) -> None:
        self._stored.clear()


def fingerprint(method: str, path: str, params: Any) -> str:
    """Equal for equal requests; the order of parameters does not count."""
    text = json.dumps([method, path, params], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
