"""Saying no to what the waitlist offers: the hold is cancelled, with a payment that was begun."""

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.identity import Principal
from consulta.money.appointments import closing
from consulta.scheduling import waitlist, waitlist_offering
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.booking import CancelRequest
from consulta.scheduling.schema.waitlist import WaitlistEntry
from consulta.scheduling.waitlist_records import WaitlistStatus

_NO = CancelRequest(reason_code=CancelReason.PATIENT_REQUEST, notify=False)


def decline(by: Principal, entry_id: str) -> WaitlistEntry:
    """Not this time: it goes to the next in order, and the entry waits on in its place.

    Raises NotFound, Conflict where nothing is offered, or no longer, and ProviderFailed.
    """
    entry, appointment = waitlist.offered(by, entry_id)
    if entry.status == WaitlistStatus.BOOKED:
        raise Conflict("It is booked: cancel the appointment", extra={"code": "booked"})
    closing.cancel(by, appointment.item_id, _NO)
    _settle(by, appointment.item_id)
    return waitlist.get(by, entry_id)


def leave(by: Principal, entry_id: str, if_match: str | None) -> None:
    """Wait no more; a time that was offered is free again. Raises as :func:`waitlist.leave`."""
    offered = waitlist.leave(by, entry_id, if_match)
    if offered is None:
        return
    try:
        closing.cancel(by, offered, _NO)
    except Conflict:
        # It has ended by itself, or was paid for this very moment: then it is booked, and stays.
        return


def _settle(by: Principal, appointment_id: str) -> None:
    """At once; the bus would bring it a moment later."""
    appointment = table.get(AppointmentItem, by.tenant.item(APPOINTMENT, appointment_id))
    if appointment is not None:
        waitlist_offering.settle(by, appointment)
