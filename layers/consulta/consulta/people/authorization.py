"""What the Lambda authorizer answers, and its memory of the last minute.

The gateway's own cache needs an identity source, and with one the gateway answers a request without
a token by itself, in JSON of its own (docs/decisions/0005). So the memory is here.

An access token costs a signature and two reads: the person's memberships, then, in one batch, their
session and what the practices say. An API key costs two or three: the key, its member, and for
experts and custom roles what the practice says.
"""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consulta.core import keys, table
from consulta.core.identity import authorizer_context
from consulta.core.permissions import FORBIDDEN_FOR_KEYS, Role
from consulta.core.time import from_text, to_epoch
from consulta.people import credentials, memberships, tokens
from consulta.people.tokens import BadToken, Claims, Flaw

# How long a revoked membership, session or key may still work: ARCHITECTURE.md §7.
LIFETIME_S = 60
MAX_REMEMBERED = 1_000
# Whose permissions depend on what the practice says, second factor aside.
_RULED = frozenset({Role.EXPERT, Role.CUSTOM})


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


@dataclass(frozen=True, slots=True)
class _Caller:
    """Whose token is good until ``expires_at``, epoch seconds.

    ``settled`` is False for who is nobody yet or not let in yet: that may change any moment.
    """

    context: dict[str, str]
    expires_at: int
    settled: bool


def context_of(header: str | None, memory: Memory = _memory) -> dict[str, str]:
    """The authorizer's context for an ``Authorization`` header: ids only.

    ``authorizer_context`` for a good token or key, else ``{"problem": …}`` with a ``Flaw``: the
    function that is called answers with 401 then.
    """
    try:
        token = tokens.bearer(header)
        found = memory.get(token)
        if found:
            return found
        caller = _by_key(token) if credentials.is_key(token) else _by_token(tokens.verify(token))
    except BadToken as bad:
        return {"problem": bad.flaw.value}
    if caller.settled:
        memory.put(token, caller.context, caller.expires_at)
    return caller.context


def _by_token(claims: Claims) -> _Caller:
    """Raises BadToken where the session is over, or is another app client's."""
    rows = [row for row in memberships.rows(claims.person) if row.active]
    session_key = keys.session(claims.person, claims.session)
    needed = [key for row in rows for key in row.needed]
    found = table.batch_get_raw([session_key, *needed])
    session = _live_session(found, session_key, claims)
    joined = [row.resolved(found, mfa=_had_mfa(session, row.practice)) for row in rows]
    context = authorizer_context(
        claims.person, joined, operator=claims.operator, session=claims.session
    )
    settled = bool(joined or claims.operator) and not any(one.blocked for one in joined)
    return _Caller(context, min(claims.expires_at, int(session["expires_at"])), settled)


def _had_mfa(session: dict[str, Any], practice: str) -> bool:
    """Whether a second factor was shown that counts there: single sign-on's in its practice."""
    return bool(session.get("mfa")) or session.get("mfa_practice") == practice


def _live_session(
    found: Mapping[keys.Key, table.Raw], key: keys.Key, claims: Claims
) -> dict[str, Any]:
    raw = found.get(key)
    session = table.from_raw(raw) if raw else {}
    # TTL tidies days late: what has run out does not count.
    if not session or session.get("ended_at") or session["expires_at"] <= time.time():
        raise BadToken(Flaw.ENDED)
    # The pool signs for the app clients of every practice's own sign-in. One of those is good only
    # for a session that was begun by it.
    if claims.client and session.get("client_id") != claims.client:
        raise BadToken(Flaw.INVALID)
    return session


def _by_key(text: str) -> _Caller:
    """The member behind an API key, with no more than both may. Raises BadToken.

    A second factor is not asked for: the key was made in a session that the practice had let in.
    """
    key_id = credentials.key_id(text)
    raw = table.get_raw(keys.api_key(key_id)) if key_id else None
    if raw is None:
        raise BadToken(Flaw.KEY)
    row = table.from_raw(raw)
    expires_at = to_epoch(from_text(row["expires_at"]))
    same = hmac.compare_digest(str(row["hash"]), credentials.digest(text))
    if not same or row.get("revoked_at") or expires_at <= time.time():
        raise BadToken(Flaw.KEY)
    joined = memberships.row(row["person"], row["practice"])
    # Who left and was let in again is another member: the old keys stay dead.
    if joined is None or not joined.active or joined.member != row["member"]:
        raise BadToken(Flaw.KEY)
    found = table.batch_get_raw(joined.needed) if joined.role in _RULED else {}
    member = joined.resolved(found, mfa=True)
    granted = (member.permissions & frozenset(row["permissions"])) - FORBIDDEN_FOR_KEYS
    context = authorizer_context(
        row["person"], [member._replace(granted=granted)], operator=False, key=str(key_id)
    )
    return _Caller(context, expires_at, settled=True)
