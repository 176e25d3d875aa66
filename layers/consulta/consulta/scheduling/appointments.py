"""Appointments: one of them, and what scheduling alone does to it.

Where money has a part in it (cancelling, completing), :mod:`consulta.money.appointments.closing`
puts the parts of :mod:`consulta.scheduling.transitions` and its own into one transaction.
"""

from collections.abc import Sequence
from datetime import date

from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.identity import Principal
from consulta.scheduling import terms, transitions
from consulta.scheduling.names import Names, resolve, shown
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.appointments import AppointmentDetail
from consulta.scheduling.slots import MINUTE


def load(by: Principal, appointment_id: str) -> AppointmentItem:
    """One that the caller may see: patients and experts their own. Raises NotFound."""
    item = table.get(AppointmentItem, by.tenant.item(APPOINTMENT, appointment_id))
    if item is None or not visible(by, item):
        raise NotFound
    return item


def visible(by: Principal, item: AppointmentItem) -> bool:
    """Whether the caller may see this appointment of their practice."""
    return by.sees("appointments", item.patient_id, item.expert_id)


def sees_patients(by: Principal) -> bool:
    """Whether patients' names may be told: to who may read patients, and to patients their own."""
    return by.sees_patients


def get(by: Principal, appointment_id: str) -> AppointmentDetail:
    """One appointment with its names. Raises NotFound."""
    return to_api(by, load(by, appointment_id))


def to_api(by: Principal, item: AppointmentItem) -> AppointmentDetail:
    """One appointment as this caller sees it."""
    return detail(item, resolve(by.tenant, [item], patients=sees_patients(by)))


def detail(item: AppointmentItem, names: Names) -> AppointmentDetail:
    """One appointment in full."""
    return AppointmentDetail(
        **dict(shown(item, names)),
        local_date=date.fromisoformat(item.local_date),
        buffer_before_minutes=int(item.buffer_before_s) // MINUTE,
        buffer_after_minutes=int(item.buffer_after_s) // MINUTE,
        cancel_note=item.cancel_note,
        withdraw_until=terms.withdraw_until(item.policy, item.created_at, item.start),
        withdrawal_waived_at=terms.waived_at(item.policy),
    )


def confirm(by: Principal, appointment_id: str) -> AppointmentDetail:
    """Held or awaiting approval → confirmed, to be paid later.

    Raises NotFound, Conflict, and SlotTaken where a hold that had ended lost its time.
    """
    item = load(by, appointment_id)
    apply(transitions.confirm_actions(item, by.actor))
    return get(by, appointment_id)


def apply(actions: Sequence[table.Action]) -> None:
    """Write the parts of one transition. Raises Conflict or SlotTaken where somebody was faster."""
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        raise transitions.refusal(failed) from None
