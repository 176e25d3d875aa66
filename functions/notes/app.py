"""Notes with a booked time: /v1/appointments/{id}/notes."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.scheduling import notes
from consulta.scheduling.schema.notes import Note, NoteIn, NotePage

api = Api("notes")
ALL = "/v1/appointments/<appointment_id>/notes"


@api.get(ALL)
@needs("notes:read")
def page(appointment_id: Id, limit: Limit = 20, cursor: Cursor = None) -> NotePage:
    """The newest first; the audit records who has read them."""
    return api.ok(notes.page(api.caller, appointment_id, limit, cursor))


@api.post(ALL)
@needs("notes:write")
def create(appointment_id: Id, body: NoteIn, idempotency_key: IdempotencyKey = None) -> Note:
    """A new note."""
    note = notes.create(api.caller, appointment_id, body, idempotency_key)
    return api.created(note, f"/v1/appointments/{appointment_id}/notes/{note.id}")


@api.patch(f"{ALL}/<note_id>")
@needs("notes:write")
def change(appointment_id: Id, note_id: Id, body: NoteIn, if_match: IfMatch = None) -> Note:
    """Another text; only by its author."""
    return api.ok(notes.change(api.caller, appointment_id, note_id, body, if_match))


@api.delete(f"{ALL}/<note_id>")
@needs("notes:write")
def delete(appointment_id: Id, note_id: Id, if_match: IfMatch = None) -> None:
    """Take a note away; the audit keeps it."""
    notes.delete(api.caller, appointment_id, note_id, if_match)
    return api.no_content()


lambda_handler = api.handler
