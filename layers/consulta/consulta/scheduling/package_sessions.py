"""Sessions of a package that is paid for: taken with a booking, given back, moved.

A session is used by the booking's own transaction, on conditions of the package item itself, so
that never more are used than were sold, however many book at once. Source:
MONEY_AND_BOOKING_RULES §9 (package).
"""

from datetime import datetime

from consulta.core import table
from consulta.core.errors import FieldError, Invalid, NoPackage
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.listing import Plan
from consulta.core.time import to_text
from consulta.scheduling import terms
from consulta.scheduling.records import PACKAGE, AppointmentItem, PackageItem, Status
from consulta.scheduling.schema.packages import PackageStatus

# Sub-items of a package, one per appointment that used a session of it.
SESSION = "SESSION"
USED, RETURNED = "used", "returned"
LABEL = "package"
READ_BUDGET = 300
USABLE = "#status = :active AND #used < #sessions AND #valid_until > :at"
USABLE_NAMES = {
    "#status": "status",
    "#used": "used",
    "#sessions": "sessions",
    "#valid_until": "valid_until",
}


def key(tenant: Tenant, package_id: str) -> Key:
    """The key of a package."""
    return tenant.item(PACKAGE, package_id)


def appointment_ids(package: PackageItem) -> list[str]:
    """The appointments that its sessions are used for; never more than were sold."""
    query = table.Query(
        package.pk,
        begins=f"{SESSION}#",
        consistent=True,
        where="#state = :used",
        names={"#state": "state"},
        values={":used": USED},
    )
    return [raw["sk"]["S"].removeprefix(f"{SESSION}#") for raw in query.all()]


def chosen(
    tenant: Tenant, package_id: str | None, patient_id: str, service_id: str, start: datetime
) -> PackageItem:
    """The package that a booking uses: the one that is named, else the only one that can be.

    Raises Invalid under ``body.package_id`` for one that is not this patient's or not of this
    service, and where several could be used; Conflict with a code for one that cannot be used;
    NoPackage where there is none.
    """
    if package_id is not None:
        item = table.get(PackageItem, key(tenant, package_id))
        if item is None or item.patient_id != patient_id:
            raise Invalid.of("body.package_id", "The patient has no such package", "unknown")
        if item.service_id != service_id:
            raise Invalid.of("body.package_id", "This package is of another service", "service")
        check_usable(item, start)
        return item
    # By the patient's list, which is a moment behind: the use itself depends on the item.
    plan = Plan(
        "l3",
        (tenant.listing_by(PACKAGE, "PATIENT", patient_id),),
        None,
        None,
        newest_first=True,
        where=f"{USABLE} AND #service_id = :service_id",
        names={**USABLE_NAMES, "#service_id": "service_id"},
        values={
            ":active": str(PackageStatus.ACTIVE),
            ":at": to_text(start),
            ":service_id": service_id,
        },
        budget=READ_BUDGET,
    )
    raws, _ = plan.read(2, None)
    if not raws:
        raise NoPackage
    if len(raws) > 1:
        raise Invalid.of("body.package_id", "The patient has several: say which", "missing")
    return PackageItem.read(raws[0])


def check_usable(package: PackageItem, start: datetime) -> None:
    """Raises Conflict, with a code at ``body.package_id``, where no session is left for then."""
    if package.status == PackageStatus.PENDING:
        problem = ("The package is not paid yet", "pending")
    elif package.status != PackageStatus.ACTIVE:
        problem = ("The package was cancelled", "cancelled")
    elif int(package.used) >= int(package.sessions):
        problem = ("All sessions of the package are used", "exhausted")
    elif start >= package.valid_until:
        problem = ("The package is not valid any more by then", "expired")
    else:
        return
    raise NoPackage(problem[0], errors=(FieldError("body.package_id", *problem),))


def use(
    tenant: Tenant,
    package: PackageItem | table.Raw,
    appointment_id: str,
    start: datetime,
    at: datetime,
    by: Actor | None = None,
) -> list[table.Action]:
    """The parts of a booking's transaction that use one session (label ``package``).

    They hold on the item as it will be then, not as it was read: two bookings at once both get
    theirs while there are two left. Raises Conflict (see :func:`check_usable`).
    """
    item = package if isinstance(package, PackageItem) else PackageItem.read(package)
    check_usable(item, start)
    taken = table.update(
        item.key,
        set_=_stamps(at, by),
        add={"used": 1, "version": 1},
        condition=USABLE,
        names=USABLE_NAMES,
        values={":active": str(PackageStatus.ACTIVE), ":at": to_text(start)},
        label=LABEL,
    )
    row = {"entity": "PACKAGE_SESSION", "state": USED}
    return [taken, table.put_values(_session(tenant, item.item_id, appointment_id), row)]


def stays(appointment: AppointmentItem, start: datetime) -> list[table.Action]:
    """What a new time of a session depends on: its package is still valid then."""
    if not appointment.package_id:
        return []
    return [
        table.check(
            key(appointment.tenant, appointment.package_id),
            "#valid_until > :at",
            names={"#valid_until": "valid_until"},
            values={":at": to_text(start)},
            label=LABEL,
        )
    ]


def is_returned(appointment: AppointmentItem, party: str, at: datetime) -> bool:
    """Whether cancelling gives the session back, by the policy that it was booked under.

    A patient who cancels so late that something would be kept of a price has used it, where the
    policy says ``forfeits``. Whatever the practice, or time, has cancelled is given back, and
    whatever the patient may withdraw from by law.
    """
    if party != "patient" or appointment.policy["package"]["late"] == "returns":
        return True
    # An offer of the waitlist that was not taken: nobody had booked it.
    if appointment.status == Status.HELD:
        return True
    ends = terms.withdraw_until(appointment.policy, appointment.created_at, appointment.start)
    if terms.is_within(ends, at):
        return True
    notice = (appointment.notice_to - at).total_seconds()
    return not terms.keeps_something(terms.step_of(appointment.policy, notice))


def returned(
    appointment: AppointmentItem,
    status: str,
    at: datetime,
    by: Actor | None = None,
) -> table.Action:
    """One session less is used of an appointment's package.

    Only while its ``status`` is as it was read: what a session is worth depends on it.
    """
    return table.update(
        key(appointment.tenant, str(appointment.package_id)),
        set_=_stamps(at, by),
        add={"used": -1, "version": 1},
        condition="#used > :none AND #status = :status",
        names={"#used": "used", "#status": "status"},
        values={":none": 0, ":status": status},
        label=LABEL,
    )


def session_returned(appointment: AppointmentItem) -> table.Action:
    """Its row says so too, once."""
    return table.update(
        _session(appointment.tenant, str(appointment.package_id), appointment.item_id),
        set_={"state": RETURNED},
        condition="#state = :used",
        names={"#state": "state"},
        values={":used": USED},
        label=LABEL,
    )


def _session(tenant: Tenant, package_id: str, appointment_id: str) -> Key:
    return tenant.sub(PACKAGE, package_id, SESSION, appointment_id)


def _stamps(at: datetime, by: Actor | None) -> dict[str, str]:
    stamps = {"updated_at": to_text(at)}
    if by:
        stamps |= {"updated_by": by.id, "request_id": by.request_id}
    return stamps
