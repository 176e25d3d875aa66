"""Experts' tokens at Google: encrypted with KMS, bound to practice and expert by their context.

A refresh token is good until it is withdrawn; an access token for an hour, kept encrypted in the
connection's row, so that not every environment asks for one of its own.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any

from consulta.calendars import google
from consulta.calendars.google import Calendars, Revoked, Unauthorized
from consulta.calendars.records import ConnectionItem, State, Sync, find, sync_key
from consulta.core import aws, settings, table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import count
from consulta.core.time import now, to_epoch
from consulta.people.records import EXPERT, ExpertItem

SYSTEM = Actor("calendar", "")
# An access token with less life than this is renewed: a call may take as long.
MARGIN = timedelta(seconds=90)
DEADLINE_S = 8.0


class TokensKey(settings.Settings):
    """The KMS key of the tokens."""

    tokens_key_id: str


def seal(tenant: Tenant, expert: str, token: str) -> bytes:
    """A token as it is stored."""
    sealed = aws.client("kms").encrypt(
        KeyId=settings.load(TokensKey).tokens_key_id,
        Plaintext=token.encode(),
        EncryptionContext=_context(tenant.practice, expert),
    )
    return bytes(sealed["CiphertextBlob"])


@lru_cache(maxsize=256)
def opened(ciphertext: bytes, practice: str, expert: str) -> str:
    """The token of :func:`seal`. Another token has another ciphertext: nothing goes stale."""
    answer = aws.client("kms").decrypt(
        KeyId=settings.load(TokensKey).tokens_key_id,
        CiphertextBlob=ciphertext,
        EncryptionContext=_context(practice, expert),
    )
    return bytes(answer["Plaintext"]).decode()


def _context(practice: str, expert: str) -> dict[str, str]:
    return {"practice": practice, "expert": expert, "provider": "google"}


def refresh_token(connection: ConnectionItem) -> str:
    """The refresh token of a consent that is open."""
    practice = connection.tenant.practice
    return opened(bytes(connection.ciphertext or b""), practice, connection.expert)


def access_token(connection: ConnectionItem, *, fresh: bool = False) -> str:
    """A good access token; with ``fresh`` a new one. Raises Revoked, Unavailable."""
    tenant, expert = connection.tenant, connection.expert
    row = Sync.read(sync_key(tenant, expert))
    is_good = row.consent == connection.consent and row.access_until > to_epoch(now() + MARGIN)
    if is_good and not fresh:
        return opened(row.access, tenant.practice, expert)
    grant = google.refresh(refresh_token(connection))
    _keep(connection, grant)
    return grant.access


def _keep(connection: ConnectionItem, grant: google.Grant) -> None:
    """Neither may overwrite a later consent's."""
    tenant, expert = connection.tenant, connection.expert
    cached = table.update(
        sync_key(tenant, expert),
        set_=cache_values(tenant, expert, grant),
        condition="consent = :consent",
        values={":consent": connection.consent},
    )
    with suppress(table.ConditionFailed):
        table.transact([cached])
    if grant.refresh and grant.refresh != refresh_token(connection):
        rotated = {"ciphertext": seal(tenant, expert, grant.refresh)}
        with suppress(table.ConditionFailed):
            table.transact([table.change(connection, SYSTEM, set_=rotated)])


def cache_values(tenant: Tenant, expert: str, grant: google.Grant) -> dict[str, Any]:
    """The access token as the connection's row has it."""
    until = now() + timedelta(seconds=grant.expires_in)
    return {"access": seal(tenant, expert, grant.access), "access_until": to_epoch(until)}


def asking[T](connection: ConnectionItem, ask: Callable[[Calendars], T]) -> T:
    """What ``ask`` gets from Google in the expert's name.

    A token that Google no longer takes is renewed once. Raises Revoked where that does not help
    either, Unavailable and whatever else the call raises.
    """
    try:
        return ask(Calendars(access_token(connection)))
    except Unauthorized:
        pass
    try:
        return ask(Calendars(access_token(connection, fresh=True)))
    except Unauthorized as refused:
        raise Revoked(refused.operation, refused.status, refused.reason) from None


def mark_revoked(connection: ConnectionItem) -> None:
    """The consent is gone: only the expert can give it again, so their set-up shows the step.

    What was read of their calendar stays until then: a time that was taken is better kept than
    booked. Does nothing where there is another consent by now.
    """
    tenant, expert = connection.tenant, connection.expert
    for _ in table.attempts(DEADLINE_S):
        found = find(tenant, expert)
        if found is None or found.consent != connection.consent or not found.is_open:
            return
        actions = [
            table.change(found, SYSTEM, set_={"state": State.REVOKED}, remove=["ciphertext"]),
            *marked(tenant, expert, SYSTEM, connected=False),
            table.update(
                sync_key(tenant, expert),
                set_={"error": "revoked"},
                remove=["l1pk", "l1sk", "access", "access_until"],
            ),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed:
            continue
        count("CalendarsRevoked")
        return


def marked(tenant: Tenant, expert_id: str, by: Actor, *, connected: bool) -> list[table.Action]:
    """The step of the expert's set-up; nothing where it is as it should be."""
    expert = table.get(ExpertItem, tenant.item(EXPERT, expert_id))
    if expert is None or bool(expert.calendar_connected) is connected:
        return []
    return [table.change(expert, by, set_={"calendar_connected": connected})]
