"""Notes with an appointment: sub-items of it. Whoever reads them is on record.

They are about a patient's health: experts see and write them on their own appointments only, a note
is changed by its author only, and no reading is answered that the audit has not been told of.
"""

from pynamodb.attributes import UnicodeAttribute

from consulta.core import ids, table, trail
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.item import Item
from consulta.core.keys import Key
from consulta.core.permissions import Role
from consulta.scheduling import appointments
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.notes import Note, NoteIn, NotePage

NOTE = "NOTE"


class NoteItem(Item):
    """One note. Its text is personal to ``patient_id``: the audit keeps it under their key."""

    note_id = UnicodeAttribute()
    text = UnicodeAttribute()
    author = UnicodeAttribute()
    patient_id = UnicodeAttribute()


class _Asked(NoteIn):
    """What an Idempotency-Key stands for: the appointment is in the path."""

    appointment_id: str


def page(by: Principal, appointment_id: str, limit: int, cursor: str | None) -> NotePage:
    """One page, the newest first. Raises NotFound, Forbidden, BadRequest (a foreign cursor), Busy.

    Busy where the reading cannot be recorded.
    """
    appointment = _appointment(by, appointment_id)
    scope = (by.practice, f"/v1/appointments/{appointment_id}/notes")
    query = table.Query(appointment.pk, begins=f"{NOTE}#", newest_first=True, consistent=True)
    found = query.page(limit, decode(cursor, *scope))
    notes = [NoteItem.read(raw) for raw in found.items]
    if notes:
        _record_reading(by, appointment)
    return NotePage(
        items=[to_api(note) for note in notes], next_cursor=encode(found.last_key, *scope)
    )


def create(by: Principal, appointment_id: str, body: NoteIn, key: str | None) -> Note:
    """A new note. Raises NotFound, Forbidden, Invalid (a key that was used otherwise)."""
    appointment = _appointment(by, appointment_id)
    once = Idempotent.of(by.tenant, by.person, key, body, appointment_id)
    if once.result:
        return to_api(_load(appointment, once.result))
    note_id = ids.new_id("note")
    item = NoteItem.create(
        _key(appointment, note_id),
        NOTE,
        by.actor,
        note_id=note_id,
        text=body.text,
        author=by.actor.id,
        patient_id=appointment.patient_id,
    )
    try:
        table.transact([table.put_new(item), *once.actions(note_id)])
    except table.ConditionFailed as failed:
        if LABEL not in failed.labels:
            raise
        return to_api(_load(appointment, once.again().result))
    return to_api(item)


def change(
    by: Principal, appointment_id: str, note_id: str, body: NoteIn, if_match: str | None
) -> Note:
    """Another text. Raises NotFound, Forbidden (not its author), PreconditionFailed, Conflict."""
    appointment = _appointment(by, appointment_id)
    item = _load(appointment, note_id)
    if item.author != by.actor.id:
        raise Forbidden("Only its author changes a note")
    check_version(if_match, item.version)
    try:
        table.transact([table.change(item, by.actor, set_={"text": body.text})])
    except table.ConditionFailed:
        raise _lost(if_match) from None
    return to_api(_load(appointment, note_id))


def delete(by: Principal, appointment_id: str, note_id: str, if_match: str | None) -> None:
    """Take a note away: its author may, and who sees all appointments. The audit keeps it.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict.
    """
    item = _load(_appointment(by, appointment_id), note_id)
    if item.author != by.actor.id and not by.sees_all("appointments"):
        raise Forbidden("Only its author takes a note away")
    check_version(if_match, item.version)
    gone = table.delete(
        item.key, condition="version = :version", values={":version": int(item.version)}
    )
    try:
        table.transact([gone])
    except table.ConditionFailed:
        raise _lost(if_match) from None


def to_api(item: NoteItem) -> Note:
    """One note as the API shows it."""
    return Note(
        id=item.note_id,
        appointment_id=item.item_id,
        text=item.text,
        author=item.author,
        created_at=item.created_at,
        updated_at=item.updated_at,
        version=int(item.version),
    )


def _appointment(by: Principal, appointment_id: str) -> AppointmentItem:
    """One whose notes the caller may have to do with: an expert's their own, whatever they see."""
    item = appointments.load(by, appointment_id)
    if by.role is Role.PATIENT or (by.role is Role.EXPERT and item.expert_id != by.expert):
        raise Forbidden("Notes are for who sees this patient")
    return item


def _key(appointment: AppointmentItem, note_id: str) -> Key:
    return appointment.tenant.sub(APPOINTMENT, appointment.item_id, NOTE, note_id)


def _load(appointment: AppointmentItem, note_id: str) -> NoteItem:
    item = table.get(NoteItem, _key(appointment, note_id))
    if item is None:
        raise NotFound
    return item


def _record_reading(by: Principal, appointment: AppointmentItem) -> None:
    facts = {"appointment": appointment.item_id, "patients": appointment.patient_id}
    trail.insist("The reading of notes", "notes_read", by.practice, by.actor, **facts)


def _lost(if_match: str | None) -> Conflict | PreconditionFailed:
    if if_match is not None:
        return PreconditionFailed()
    return Conflict("The note was changed at the same time: read it again")
