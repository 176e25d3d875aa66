"""The sessions' rows: one per sign-in, which lives through all of its refreshed tokens.

    pk PERSON#<person>  sk SESSION#<session>
    entity SESSION · person · client_id · address · user_agent
    mfa                                                               a second factor was shown
    mfa_practice (absent without SSO)                                 where SSO counts as one
    created_at · last_used_at · ended_at (absent while it lives)      RFC 3339
    expires_at                                                        epoch s, absolute end, TTL
    token_hash · siblings · previous_hash · rotated_at                the family of refresh tokens
    revision                                                          rises with every rotation

``session`` is the ``origin_jti`` that Cognito writes into every token of one sign-in. Only hashes
of refresh tokens are kept. A session is good for the authorizer while its row is there, has no
``ended_at`` and is not past ``expires_at``.

Reuse: RFC 9700 §4.14.2, "refresh token rotation". A token may be used once; whoever comes with it
again ends the session, since the one or the other is a thief. Within ``GRACE`` it is taken for an
answer that was lost, or for two tabs: it gets a token of its own, a *sibling* of the first, and the
next rotation of either makes the others unusable.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Self

from consulta.core import keys, settings, table
from consulta.core.time import from_text, now, to_epoch, to_text

# As the app client's RetryGracePeriodSeconds.
GRACE = timedelta(seconds=10)
MAX_SIBLINGS = 8
MAX_USER_AGENT, MAX_ADDRESS = 200, 64
_SESSION = "SESSION"


class SessionSettings(settings.Settings):
    """When a session ends by itself: without use, and in any case."""

    session_idle_hours: int = 12
    session_absolute_days: int = 30


class Standing(Enum):
    """What a refresh token is to its session."""

    CURRENT = auto()
    """The last that was given out."""
    GRACE = auto()
    """The one before it, a moment ago."""
    REUSED = auto()
    """Any other."""


def digest(token: str) -> str:
    """What is kept of a refresh token: it is random and long, so a plain hash hides it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """A session as stored. ``expires_at`` is the absolute end in epoch seconds."""

    person: str
    session: str
    client_id: str
    mfa: bool
    mfa_practice: str
    address: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime
    ended_at: datetime | None
    expires_at: int
    token_hash: str
    siblings: tuple[str, ...]
    previous_hash: str
    rotated_at: datetime | None
    revision: int

    @classmethod
    def read(cls, raw: table.Raw) -> Self:
        """The row of DynamoDB's attribute map."""
        values = table.from_raw(raw)
        return cls(
            person=values["person"],
            session=values["sk"].partition("#")[2],
            client_id=values["client_id"],
            mfa=values["mfa"],
            mfa_practice=values.get("mfa_practice", ""),
            address=values["address"],
            user_agent=values["user_agent"],
            created_at=from_text(values["created_at"]),
            last_used_at=from_text(values["last_used_at"]),
            ended_at=_instant(values.get("ended_at")),
            expires_at=int(values["expires_at"]),
            token_hash=values["token_hash"],
            siblings=tuple(values.get("siblings", ())),
            previous_hash=values.get("previous_hash", ""),
            rotated_at=_instant(values.get("rotated_at")),
            revision=int(values["revision"]),
        )

    def lives(self, at: datetime) -> bool:
        """Whether it may go on: not ended, not past its absolute end, not idle for too long."""
        idle = timedelta(hours=settings.load(SessionSettings).session_idle_hours)
        return (
            self.ended_at is None
            and to_epoch(at) < self.expires_at
            and at < self.last_used_at + idle
        )

    def standing(self, token_hash: str, at: datetime) -> Standing:
        """What the token with this hash is to it."""
        if token_hash == self.token_hash or token_hash in self.siblings:
            return Standing.CURRENT
        is_fresh = self.rotated_at is not None and at <= self.rotated_at + GRACE
        if is_fresh and token_hash == self.previous_hash:
            return Standing.GRACE
        return Standing.REUSED


def _instant(text: str | None) -> datetime | None:
    return from_text(text) if text else None


def open_row(
    person: str,
    session: str,
    client_id: str,
    token: str,
    *,
    mfa: bool,
    origin: str,
    mfa_practice: str = "",
) -> None:
    """Write the row of a new session. ``origin`` is ``address|user agent``."""
    instant = now()
    address, _, user_agent = origin.partition("|")
    lifetime = timedelta(days=settings.load(SessionSettings).session_absolute_days)
    values = {
        "entity": _SESSION,
        "person": person,
        "client_id": client_id,
        "mfa": mfa,
        **({"mfa_practice": mfa_practice} if mfa_practice else {}),
        "address": address[:MAX_ADDRESS],
        "user_agent": user_agent[:MAX_USER_AGENT],
        "created_at": to_text(instant),
        "last_used_at": to_text(instant),
        "expires_at": to_epoch(instant + lifetime),
        "token_hash": digest(token),
        "revision": 1,
    }
    table.transact([table.put_values(keys.session(person, session), values, label=_SESSION)])


def read(person: str, session: str) -> Row | None:
    """One session's row, or None."""
    raw = table.get_raw(keys.session(person, session))
    return Row.read(raw) if raw else None


def page(person: str, limit: int, start: table.Raw | None) -> table.Page:
    """At most ``limit`` of a person's rows, of which those that live are in the page."""
    return table.Query(
        keys.person(person),
        begins=f"{_SESSION}#",
        consistent=True,
        where="attribute_not_exists(ended_at) AND expires_at > :now",
        values={":now": to_epoch(now())},
    ).page(limit, start)


def rotated(row: Row, presented: str, given: str) -> bool:
    """Remember that ``given`` was handed out for ``presented`` (both hashes).

    False where somebody else wrote first: read the row again and look at it anew.
    """
    instant = now()
    is_current = row.standing(presented, instant) is Standing.CURRENT
    values: dict[str, Any] = {"last_used_at": to_text(instant), "revision": row.revision + 1}
    remove: list[str] = []
    # A pool that does not rotate gives no new token: what was presented stays current.
    if given != presented and is_current:
        values |= {
            "token_hash": given,
            "previous_hash": presented,
            "rotated_at": to_text(instant),
        }
        remove = ["siblings"]
    elif given != presented:
        values["siblings"] = [*row.siblings, given]
    return _write(row, values, remove)


def _write(row: Row, values: dict[str, Any], remove: list[str]) -> bool:
    action = table.update(
        keys.session(row.person, row.session),
        set_=values,
        remove=remove,
        condition="revision = :read AND attribute_not_exists(ended_at)",
        values={":read": row.revision},
        label=_SESSION,
    )
    return _applied(action)


def set_mfa(person: str, session: str, *, mfa: bool) -> None:
    """Let a session that lives count as one with a second factor, or no longer."""
    _applied(
        table.update(
            keys.session(person, session),
            set_={"mfa": mfa},
            condition="attribute_exists(pk) AND attribute_not_exists(ended_at)",
            label=_SESSION,
        )
    )


def end(person: str, session: str) -> bool:
    """End a session; False where there is none, or it has ended before."""
    return _applied(
        table.update(
            keys.session(person, session),
            set_={"ended_at": to_text(now())},
            condition="attribute_exists(pk) AND attribute_not_exists(ended_at)",
            label=_SESSION,
        )
    )


def change_all(person: str, **values: Any) -> int:
    """Set attributes of every session of a person that has not ended; how many there were."""
    found = table.Query(
        keys.person(person),
        begins=f"{_SESSION}#",
        consistent=True,
        where="attribute_not_exists(ended_at)",
    )
    rows = [Row.read(raw) for raw in found.all()]
    # One by one: TTL may take a row away meanwhile, which must not come back, nor stop the others.
    for row in rows:
        _applied(
            table.update(
                keys.session(row.person, row.session),
                set_=values,
                condition="attribute_exists(pk)",
                label=_SESSION,
            )
        )
    return len(rows)


def end_all(person: str) -> int:
    """End every session of a person; how many there were."""
    return change_all(person, ended_at=to_text(now()))


def _applied(action: table.Action) -> bool:
    try:
        table.transact([action])
    except table.ConditionFailed:
        return False
    return True
