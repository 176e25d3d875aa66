"""Opaque cursors: where a list goes on, bound to the very list that made it."""

import base64
import binascii
import hashlib
import json
from typing import Any

from consulta.core.errors import BadRequest, FieldError


def _scope(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def encode(last_key: dict[str, Any] | None, *scope: str) -> str | None:
    """The cursor behind ``last_key``; ``scope`` is the list: practice, path and filters.

    Keys hold ids only, so the cursor says nothing about anybody.
    """
    if last_key is None:
        return None
    body = {"s": _scope(scope), "k": {name: value["S"] for name, value in last_key.items()}}
    return base64.urlsafe_b64encode(json.dumps(body, separators=(",", ":")).encode()).decode()


def decode(cursor: str | None, *scope: str) -> dict[str, Any] | None:
    """The key to go on from. Raises BadRequest for a cursor that this list did not make."""
    if cursor is None:
        return None
    refusal = BadRequest(
        "The cursor is not one of this list", errors=(FieldError("query.cursor", "not a cursor"),)
    )
    try:
        body = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        made_by, key = body["s"], {name: {"S": str(value)} for name, value in body["k"].items()}
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError):
        raise refusal from None
    # The key condition fixes the partition anyway; this makes a foreign cursor an error, not a
    # silently wrong page.
    if made_by != _scope(scope):
        raise refusal
    return key
