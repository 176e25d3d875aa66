"""Messages: sending, reading, and how many are unread.

A message and what it does to its thread are one transaction on the thread's version. So a message
and a reading at the same moment come one after the other, whichever is first, and neither loses the
other's count: who comes second reads the thread again.
"""

from collections.abc import Callable
from typing import Any

from consulta.core import table, trail
from consulta.core.cursor import decode, encode
from consulta.core.errors import Busy, Conflict, Forbidden, Invalid, NotFound
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people import members, threads
from consulta.people.records import (
    EXPERT,
    PATIENT,
    PRACTICE,
    ExpertItem,
    PatientItem,
    PracticeItem,
)
from consulta.people.schema.threads import (
    MessageIn,
    MessageOut,
    MessagePage,
    ReadIn,
    ThreadIn,
    ThreadOpened,
    ThreadOut,
)
from consulta.people.thread_records import (
    MESSAGE,
    THREAD,
    THREADS,
    MessageItem,
    Side,
    ThreadItem,
    after_message,
    after_reading,
    id_of,
    message_key,
    next_message_id,
    places,
)

DEADLINE_S = 4.0

_Found = tuple[ThreadItem, list[table.Action] | None]
"""A thread, and what else must be written where it is new; None where it was there."""


def open_thread(by: Principal, body: ThreadIn, key: str | None) -> ThreadOpened:
    """Send a message in the thread between the two, which is opened with the first one.

    Raises Forbidden for a thread that would not be the caller's, NotFound for a patient or an
    expert who is not there, Invalid (no patient named; a key that was used otherwise), Conflict for
    a patient with too many threads.
    """
    patient_id = _patient_of(by, body.patient_id)
    if not threads.may_see(by, patient_id, body.expert_id):
        raise Forbidden("You write only in your own name: name yourself as the expert")
    thread_id = id_of(patient_id, body.expert_id)
    once = Idempotent.of(by.tenant, by.person, key, body)

    def find() -> _Found:
        thread = table.get(ThreadItem, by.tenant.item(THREAD, thread_id))
        if thread is None:
            return _new_thread(by, thread_id, patient_id, body.expert_id)
        if thread.ended_at is not None:
            raise NotFound
        return thread, None

    message_id = once.result or _send(by, find, body.text, once)
    thread = threads.load(by, thread_id)
    return ThreadOpened(
        **dict(threads.shown(by, thread)), message=_to_out(by, _load(thread, message_id))
    )


def send(by: Principal, thread_id: str, body: MessageIn, key: str | None) -> MessageOut:
    """Another message in a thread. Raises NotFound, Invalid (a key that was used otherwise)."""
    thread = threads.load(by, thread_id)
    once = Idempotent.of(by.tenant, by.person, key, body, thread_id)
    message_id = once.result or _send(
        by, lambda: (threads.load(by, thread_id), None), body.text, once
    )
    return _to_out(by, _load(thread, message_id))


def page(by: Principal, thread_id: str, limit: int, cursor: str | None) -> MessagePage:
    """One page, the newest first. Raises NotFound, BadRequest (a foreign cursor), Busy.

    Busy where the reading cannot be recorded: of members who are not the thread's own expert, the
    audit is told that they have read it.
    """
    thread = threads.load(by, thread_id)
    scope = (by.practice, f"/v1/threads/{thread_id}/messages")
    query = table.Query(thread.pk, begins=f"{MESSAGE}#", newest_first=True, consistent=True)
    found = query.page(limit, decode(cursor, *scope))
    if found.items:
        _record_reading(by, thread)
    return MessagePage(
        items=[_to_out(by, MessageItem.read(raw)) for raw in found.items],
        next_cursor=encode(found.last_key, *scope),
    )


def mark_read(by: Principal, thread_id: str, body: ReadIn) -> ThreadOut:
    """The caller's side has read everything up to a message; what came after it stays unread.

    Reading less than was read before changes nothing. Raises NotFound, Invalid for a message that
    is not the thread's.
    """
    message = _find(threads.load(by, thread_id), body.up_to)
    if message is None:
        raise Invalid.of("body.up_to", "This thread has no such message", "unknown")
    for _ in table.attempts(DEADLINE_S):
        thread = threads.load(by, thread_id)
        values = after_reading(thread, threads.side_of(by), message)
        if not values:
            return threads.shown(by, thread)
        if table.written([table.change(thread, by.actor, set_=values)]):
            return threads.get(by, thread_id)
    raise Busy


# ---------------------------------------------------------------- sending


def _send(by: Principal, find: Callable[[], _Found], text: str, once: Idempotent) -> str:
    """Write a message into the thread that ``find`` gives, as often as it takes; the message's id.

    Where the same request was made before, it is the id of that one's.
    """
    side = threads.side_of(by)
    for _ in table.attempts(DEADLINE_S):
        thread, parts = find()
        message_id = next_message_id(thread.last_message_id)
        values = after_message(thread, side, message_id, now())
        actions = [
            _changed(by, thread, values) if parts is None else _made(thread, values),
            table.put_new(_message(by, thread, side, message_id, text, values)),
            *(parts or ()),
            *once.actions(message_id),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed as failed:
            if LABEL in failed.labels:
                return once.again().result
            if MESSAGE in failed.labels:
                # Nobody else has made this id: it was written, and the answer lost.
                return message_id
            # Somebody else was faster with this thread: whatever else failed is looked at again.
            if THREAD not in failed.labels:
                raise _refusal(failed) from None
        else:
            return message_id
    raise Busy


def _refusal(failed: table.ConditionFailed) -> Exception:
    if failed.label == PATIENT:
        return NotFound("There is no such patient")
    if failed.label == THREADS:
        return Conflict("This patient has too many threads")
    return failed


def _changed(by: Principal, thread: ThreadItem, values: dict[str, Any]) -> table.Action:
    return table.change(
        thread, by.actor, set_={**values, "last_at": to_text(values["last_at"])}, label=THREAD
    )


def _made(thread: ThreadItem, values: dict[str, Any]) -> table.Action:
    for name, value in values.items():
        setattr(thread, name, value)
    return table.put_new(thread, label=THREAD)


def _message(
    by: Principal,
    thread: ThreadItem,
    side: Side,
    message_id: str,
    text: str,
    values: dict[str, Any],
) -> MessageItem:
    counts = {f"sent_{one}": values.get(f"sent_{one}", thread.sent(one)) for one in Side}
    return MessageItem.create(
        message_key(by.tenant, thread.item_id, message_id),
        MESSAGE,
        by.actor,
        message_id=message_id,
        patient_id=thread.patient_id,
        sender=str(side),
        author=by.actor.id,
        text=text,
        **counts,
    )


def _new_thread(
    by: Principal, thread_id: str, patient_id: str, expert_id: str | None
) -> tuple[ThreadItem, list[table.Action]]:
    """A thread without messages yet, and what must be written with it. Raises NotFound."""
    tenant = by.tenant
    keys = [tenant.item(PRACTICE, tenant.practice), tenant.item(PATIENT, patient_id)]
    if expert_id:
        keys.append(tenant.item(EXPERT, expert_id))
    found = table.batch_get_raw(keys)
    if keys[0] not in found:
        raise NotFound
    if keys[1] not in found or PatientItem.read(found[keys[1]]).deleted_at is not None:
        raise NotFound("There is no such patient")
    if expert_id:
        expert = ExpertItem.read(found[keys[2]]) if keys[2] in found else None
        # Patients begin with those whom they can find.
        if expert is None or (by.role is Role.PATIENT and not expert.published):
            raise NotFound("There is no such expert")
    instant = now()
    lists = {
        "l1pk": tenant.listing(THREAD),
        "l3pk": tenant.listing_by(THREAD, "PATIENT", patient_id),
    }
    if expert_id:
        lists["l2pk"] = tenant.listing_by(THREAD, "EXPERT", expert_id)
    thread = ThreadItem.create(
        tenant.item(THREAD, thread_id),
        THREAD,
        by.actor,
        patient_id=patient_id,
        expert_id=expert_id,
        zone=PracticeItem.read(found[keys[0]]).zone,
        last_from=str(threads.side_of(by)),
        last_at=instant,
        walkpk=tenant.listing(THREAD),
        walksk=thread_id,
        **lists,
        **places(thread_id, instant, has_expert=bool(expert_id)),
    )
    parts = [
        members.is_patient(tenant, patient_id),
        threads.joining(tenant, patient_id, thread_id),
    ]
    return thread, parts


def _patient_of(by: Principal, patient_id: str | None) -> str:
    if by.role is not Role.PATIENT:
        if patient_id is None:
            raise Invalid.of("body.patient_id", "Say to which patient", "missing")
        return patient_id
    if not by.patient:
        raise Forbidden("The caller is not a patient of this practice")
    if patient_id not in (None, by.patient):
        raise NotFound
    return by.patient


# ---------------------------------------------------------------- reading


def _find(thread: ThreadItem, message_id: str) -> MessageItem | None:
    return table.get(MessageItem, message_key(thread.tenant, thread.item_id, message_id))


def _load(thread: ThreadItem, message_id: str) -> MessageItem:
    message = _find(thread, message_id)
    if message is None:
        raise NotFound
    return message


def _record_reading(by: Principal, thread: ThreadItem) -> None:
    """Who writes in a thread reads it: the patient, and its expert. Of others it is recorded."""
    if by.role is Role.PATIENT or (by.expert and by.expert == thread.expert_id):
        return
    facts = {"thread": thread.item_id, "patients": thread.patient_id}
    trail.insist("The reading of messages", "messages_read", by.practice, by.actor, **facts)


def _to_out(by: Principal, message: MessageItem) -> MessageOut:
    return MessageOut(
        id=message.message_id,
        thread_id=message.item_id,
        sender=Side(message.sender),
        author=None if by.role is Role.PATIENT else message.author,
        text=message.text,
        created_at=message.created_at,
    )
