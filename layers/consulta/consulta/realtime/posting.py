"""From the queue to the connections: each whose dashboard changed gets one message.

    {"type": "dashboard.changed", "practice": "prac_…", "sections": ["stats", "upcoming"],
     "at": "2026-11-21T10:30:00.000Z"}

Messages of one practice that came together are told as one. What cannot be posted, or not in time,
is not tried again later: the front end reads by itself when a section's time is over.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, keys, settings, table
from consulta.core.errors import Busy
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.observe import count, failure, logger
from consulta.core.time import now, to_epoch
from consulta.people.memberships import Row
from consulta.people.records import PRACTICE
from consulta.realtime import connections
from consulta.realtime.connections import Connection, Holder
from consulta.realtime.sections import sections_of
from consulta.realtime.telling import Told
from consulta.realtime.tickets import EndpointSettings

POSTERS = 8
# Of the function's 30 s: a post that was begun in time has ended before these are over.
BUDGET_S = 20.0
# A connection that takes longer, or is told too much, is not worth everybody else's time.
TIMEOUT_S, RETRIES = 1.0, 0
TYPE = "dashboard.changed"
SEES_ONE = "dashboard:read"
_GONE = 410

Message = Mapping[str, Any]
SubjectOf = Callable[[Principal], tuple[str, str] | None]
"""Kind and id of whose dashboard a caller's is; None for who has none."""
Task = Callable[[], None]


def deliver(records: Sequence[Mapping[str, Any]], subject_of: SubjectOf) -> list[str]:
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
    end = time.monotonic() + BUDGET_S
    tasks: list[list[Task]] = []
    for practice, told in parts.items():
        if time.monotonic() >= end:
            _late()
            continue
        try:
            tasks.append(_tasks(told, subject_of, end))
        except (Busy, BotoCoreError, ClientError) as error:
            failure("a practice's connections are to be told again", error, practice=practice)
            failed += messages[practice]
    _run(tasks)
    if time.monotonic() >= end:
        logger.warning("there was no time to tell everybody")
    return failed


def _run(tasks: Iterable[Iterable[Task]]) -> None:
    """All of them, one of each practice and then the next: none waits for another's last."""
    with ThreadPoolExecutor(POSTERS) as pool:
        outcomes = [pool.submit(task) for task in chain(*zip_longest(*tasks)) if task]
    for outcome in outcomes:
        # What these know of they have dealt with: anything else is our own bug.
        outcome.result()


def _tasks(told: Told, subject_of: SubjectOf, end: float) -> list[Task]:
    """What is to be done for one practice's connections, each until ``end``.

    Raises Busy, BotoCoreError or ClientError where it cannot be known whom to tell.
    """
    sent = {}
    for connection in connections.of_practice(Tenant(told.practice)):
        sections = sections_of(connection.holder.kind, _entities(told, connection.holder))
        if sections:
            sent[connection] = _body(told, sections)
    if not sent:
        return []
    lasting = _lasting(sent, subject_of)
    # Made here, before the posters race for it.
    managed = gateway()

    def task(connection: Connection, body: bytes) -> None:
        if time.monotonic() >= end:
            _late()
        elif connection in lasting:
            _post(managed, connection, body)
        else:
            _end(managed, connection)

    return [partial(task, connection, body) for connection, body in sent.items()]


def gateway() -> Any:
    """The client that posts to connections."""
    endpoint = settings.load(EndpointSettings).realtime_endpoint
    return aws.client("apigatewaymanagementapi", TIMEOUT_S, RETRIES, endpoint)


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


def _lasting(of: Iterable[Connection], subject_of: SubjectOf) -> set[Connection]:
    """Those whose session lives and whose dashboard is still the one that they connected for.

    Two reads by key for each, a hundred in one call: a tenth of what the message itself costs. The
    practice's rules are all of theirs; roles that it made, where there are any, are a second call.
    """
    sessions = {one: keys.session(one.holder.person, one.holder.session) for one in of}
    members = {one: keys.membership(one.holder.person, one.holder.practice) for one in sessions}
    practices = {one.holder.tenant.item(PRACTICE, one.holder.practice) for one in sessions}
    found = _read([*sessions.values(), *members.values(), *practices])
    rows = {
        one: Row.read(found[key])
        for one, key in members.items()
        if key in found and _lives(found.get(sessions[one]))
    }
    found |= _read({key for row in rows.values() for key in row.needed} - practices)
    return {
        one
        for one, row in rows.items()
        if _sees(one.holder, row, found, mfa=_had_mfa(found[sessions[one]], row), of=subject_of)
    }


def _read(needed: Iterable[Key]) -> dict[Key, table.Raw]:
    return table.batch_get_raw(list(needed), consistent=False)


def _lives(session: table.Raw | None) -> bool:
    if session is None or "ended_at" in session:
        return False
    return int(session["expires_at"]["N"]) > to_epoch(now())


def _had_mfa(session: table.Raw, row: Row) -> bool:
    """As the authorizer asks it: a second factor, or single sign-on's, which is of its practice."""
    values = table.from_raw(session)
    return bool(values.get("mfa")) or values.get("mfa_practice") == row.practice


def _sees(
    holder: Holder, row: Row, found: Mapping[Key, table.Raw], *, mfa: bool, of: SubjectOf
) -> bool:
    """Whether GET /v1/dashboard would still show them what the connection is for."""
    member = row.resolved(found, mfa=mfa)
    if not row.active or member.blocked:
        return False
    caller = Principal(
        holder.person,
        member.role,
        "",
        practice=member.practice,
        subject=member.subject,
        granted=member.granted,
    )
    return caller.may(SEES_ONE) and of(caller) == (holder.kind, holder.subject_id)


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


def _late() -> None:
    """Time is over: whom this was for is left to read by itself."""
    count("DashboardsUntold")
