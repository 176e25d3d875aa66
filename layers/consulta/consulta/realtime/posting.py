"""From the queue to the connections: each whose dashboard changed gets one message.

    {"type": "dashboard.changed", "practice": "prac_…", "sections": ["stats", "upcoming"],
     "at": "2026-11-21T10:30:00.000Z"}

Messages of one practice that came together are told as one. What cannot be posted is not tried
again later: the front end reads by itself when a section's time is over.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, keys, settings, table
from consulta.core.errors import Busy
from consulta.core.keys import Tenant
from consulta.core.observe import count, failure
from consulta.core.time import now, to_epoch
from consulta.people.memberships import Row
from consulta.realtime import connections
from consulta.realtime.connections import Connection, Holder
from consulta.realtime.sections import sections_of
from consulta.realtime.telling import Told
from consulta.realtime.tickets import EndpointSettings

POSTERS = 8
TYPE = "dashboard.changed"
_GONE = 410

Message = Mapping[str, Any]


def deliver(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell the connections of one batch of messages. Gives the ids of those to come again."""
    failed: list[str] = []
    parts: dict[str, Told] = {}
    messages: dict[str, list[str]] = {}
    for record in records:
        try:
            told = Told.received(record["body"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            failure("a message says nothing of a dashboard", error, message_id=record["messageId"])
            failed.append(record["messageId"])
            continue
        known = parts.get(told.practice)
        parts[told.practice] = known.joined(told) if known else told
        messages.setdefault(told.practice, []).append(record["messageId"])
    for practice, told in parts.items():
        try:
            _tell_practice(told)
        except (Busy, BotoCoreError, ClientError) as error:
            failure("a practice's connections are to be told again", error, practice=practice)
            failed += messages[practice]
    return failed


def _tell_practice(told: Told) -> None:
    """Raises Busy, BotoCoreError or ClientError where it cannot be known whom to tell."""
    sent = {}
    for connection in connections.of_practice(Tenant(told.practice)):
        sections = sections_of(connection.holder.kind, _entities(told, connection.holder))
        if sections:
            sent[connection] = _body(told, sections)
    if not sent:
        return
    lasting = _lasting(sent)
    # Made here, before the posters race for it.
    gateway = aws.client(
        "apigatewaymanagementapi", endpoint=settings.load(EndpointSettings).realtime_endpoint
    )
    with ThreadPoolExecutor(POSTERS) as pool:
        outcomes = [
            pool.submit(_post, gateway, connection, body)
            if connection in lasting
            else pool.submit(_end, gateway, connection)
            for connection, body in sent.items()
        ]
    for outcome in outcomes:
        # What these know of they have dealt with: anything else is our own bug.
        outcome.result()


def _entities(told: Told, holder: Holder) -> set[str]:
    """The kinds of items that changed in this dashboard."""
    return {entity for entity, subjects in told.changed.items() if holder.subject in subjects}


def _body(told: Told, sections: Iterable[str]) -> bytes:
    body = {
        "type": TYPE,
        "practice": told.practice,
        "sections": sorted(sections),
        "at": told.at,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def _lasting(of: Iterable[Connection]) -> set[Connection]:
    """Those whose session lives and whose membership is still what it was when they connected.

    Two reads by key for each, a hundred in one call: a tenth of what the message itself costs.
    """
    needed = {
        connection: (
            keys.session(connection.holder.person, connection.holder.session),
            keys.membership(connection.holder.person, connection.holder.practice),
        )
        for connection in of
    }
    found = table.batch_get_raw([key for pair in needed.values() for key in pair], consistent=False)
    return {
        connection
        for connection, (session, membership) in needed.items()
        if _lives(found.get(session)) and _is_same(found.get(membership), connection.holder)
    }


def _lives(session: table.Raw | None) -> bool:
    if session is None or "ended_at" in session:
        return False
    return int(session["expires_at"]["N"]) > to_epoch(now())


def _is_same(membership: table.Raw | None, holder: Holder) -> bool:
    if membership is None:
        return False
    row = Row.read(membership)
    return row.active and (row.role.value, row.subject) == (holder.role, holder.member_subject)


def _post(gateway: Any, connection: Connection, body: bytes) -> None:
    try:
        gateway.post_to_connection(ConnectionId=connection.id, Data=body)
        count("DashboardsTold")
    except ClientError as error:
        if not _is_gone(error):
            _missed(error)
        elif connection.settled:
            _forget(connection)
    except BotoCoreError as error:
        _missed(error)


def _end(gateway: Any, connection: Connection) -> None:
    """Close the connection of somebody who has signed out or left."""
    try:
        gateway.delete_connection(ConnectionId=connection.id)
    except ClientError as error:
        if not _is_gone(error):
            # Its row stays, so that the next message closes it.
            _missed(error)
            return
    except BotoCoreError as error:
        _missed(error)
        return
    _forget(connection)


def _is_gone(error: ClientError) -> bool:
    # By the status: not every answer of the gateway's names the error.
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == _GONE


def _forget(connection: Connection) -> None:
    count("ConnectionsForgotten")
    try:
        connections.forget(connection)
    except (Busy, BotoCoreError, ClientError) as error:
        # The next message finds it gone again.
        failure("a connection that is gone could not be forgotten", error)


def _missed(error: Exception) -> None:
    failure("a connection could not be told", error)
    count("DashboardsUntold")
