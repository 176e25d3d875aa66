"""Appointments as the API shows them: names of all on a page come from one batch of reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.core.time import in_zone
from consulta.people.records import EXPERT, PATIENT
from consulta.scheduling.records import SERVICE, AppointmentItem, PaymentStatus, Status
from consulta.scheduling.schema.appointments import Appointment, CancelReason, Ref
from consulta.scheduling.schema.fields import AppliedTax, Price


@dataclass(frozen=True, slots=True)
class Names:
    """Names by the keys of services, experts, patients and resources; the services' colours."""

    tenant: Tenant
    by_key: dict[Key, str]
    colours: dict[Key, str] = field(default_factory=dict)

    def ref(self, entity: str, item_id: str) -> Ref:
        """The id with its name."""
        return Ref(id=item_id, name=self.by_key.get(self.tenant.item(entity, item_id)))

    def colour(self, service_id: str) -> str | None:
        """The colour that a service has in calendars."""
        return self.colours.get(self.tenant.item(SERVICE, service_id))


def resolve(
    tenant: Tenant,
    appointments: Sequence[AppointmentItem],
    *,
    patients: bool = True,
    known: Mapping[Key, str] | None = None,
) -> Names:
    """The names on these appointments, by one batch; without ``patients``, theirs are left out.

    ``known`` names are not read again.
    """
    known = known or {}
    unknown = keys_of(tenant, appointments, patients=patients) - set(known)
    ordered = sorted(unknown, key=lambda key: key.pk)
    return named(tenant, table.batch_get_raw(ordered, consistent=False) if ordered else {}, known)


def keys_of(
    tenant: Tenant, appointments: Sequence[AppointmentItem], *, patients: bool = True
) -> set[Key]:
    """Whose names are on these appointments."""
    return {
        tenant.item(entity, item_id)
        for appointment in appointments
        for entity, item_id in (
            (SERVICE, appointment.service_id),
            (EXPERT, appointment.expert_id),
            (PATIENT, appointment.patient_id),
        )
        if patients or entity != PATIENT
    }


def named(
    tenant: Tenant, found: Mapping[Key, table.Raw], known: Mapping[Key, str] | None = None
) -> Names:
    """The names in a batch that holds such items, among others."""
    names = {key: raw["name"]["S"] for key, raw in found.items() if "name" in raw}
    colours = {
        key: raw["colour"]["S"] for key, raw in found.items() if "S" in raw.get("colour", {})
    }
    return Names(tenant, {**(known or {}), **names}, colours)


def shown(appointment: AppointmentItem, names: Names) -> Appointment:
    """One appointment as the API shows it."""
    a = appointment
    return Appointment(
        id=a.item_id,
        service=names.ref(SERVICE, a.service_id),
        expert=names.ref(EXPERT, a.expert_id),
        patient=names.ref(PATIENT, a.patient_id),
        status=Status(a.status),
        payment_status=PaymentStatus(a.payment_status),
        start=in_zone(a.start, a.zone),
        end=in_zone(a.end, a.zone),
        zone=a.zone,
        price=Price(amount=int(a.price), currency=a.currency),
        tax=AppliedTax.model_validate(a.tax) if a.tax else None,
        # With a fee on it this is all that was paid before, which nobody asked for as a deposit.
        deposit=_price(a.deposit if not a.fee else None, a.currency),
        fee=_price(a.fee, a.currency),
        order_id=a.order_id,
        payment_id=a.payment_id,
        hold_expires_at=a.hold_expires_at,
        approve_until=a.approve_until if a.status == Status.AWAITING_APPROVAL else None,
        rescheduled=int(a.rescheduled),
        series_id=a.series_id,
        package_id=a.package_id,
        waitlist_id=a.waitlist_id,
        cancelled_at=a.cancelled_at,
        cancelled_by=a.cancelled_by,
        cancel_reason=CancelReason(a.cancel_reason) if a.cancel_reason else None,
        created_at=a.created_at,
        updated_at=a.updated_at,
        version=int(a.version),
    )


def _price(amount: float | None, currency: str) -> Price | None:
    return Price(amount=int(amount), currency=currency) if amount else None


def to_api(
    tenant: Tenant, appointments: Sequence[AppointmentItem], *, patients: bool = True
) -> list[Appointment]:
    """A page of appointments with their names."""
    names = resolve(tenant, appointments, patients=patients)
    return [shown(appointment, names) for appointment in appointments]
