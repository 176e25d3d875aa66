"""What the Lambda authorizer answers, and its memory of the last minute.

The gateway's own cache needs an identity source, and with one the gateway answers a request without
a token by itself, in JSON of its own (docs/decisions/0005). So the memory is here.
"""

import hashlib
import time
from collections import OrderedDict

from consulta.core.identity import authorizer_context
from consulta.people import memberships, tokens
from consulta.people.tokens import BadToken

# How long a revoked membership may still work: ARCHITECTURE.md §7.
LIFETIME_S = 60
MAX_REMEMBERED = 1_000


class Memory:
    """Contexts of good tokens, by the token's hash: at most a minute old, at most a thousand."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, dict[str, str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str) -> dict[str, str] | None:
        """The context of a token seen in the last minute that has not expired since."""
        until, context = self._known.get(_digest(token), (0.0, None))
        return context if time.time() < until else None

    def put(self, token: str, context: dict[str, str], expires_at: int) -> None:
        """Remember a good token; where there is no room, forget the oldest."""
        digest = _digest(token)
        self._known.pop(digest, None)
        self._known[digest] = (min(time.time() + LIFETIME_S, expires_at), context)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


_memory = Memory()


def context_of(header: str | None, memory: Memory = _memory) -> dict[str, str]:
    """The authorizer's context for an ``Authorization`` header: ids only.

    ``authorizer_context`` for a good token, else ``{"problem": "missing"|"expired"|"invalid"}``:
    the function that is called answers with 401 then.
    """
    try:
        token = tokens.bearer(header)
        found = memory.get(token)
        if found:
            return found
        claims = tokens.verify(token)
    except BadToken as bad:
        return {"problem": bad.flaw.value}
    joined = memberships.of(claims.person)
    context = authorizer_context(claims.person, joined, operator=claims.operator)
    # Somebody who is nobody yet may be let in any moment.
    if joined or claims.operator:
        memory.put(token, context, claims.expires_at)
    return context
