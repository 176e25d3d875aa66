"""Packages: buying them, listing them, and using their sessions.

A session is used by the booking's own transaction, on conditions of the package item itself, so
that never more are used than were sold, however many book at once. What is paid for it, and what
goes back, is :mod:`consulta.money.packages`' to say.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import FieldError, Forbidden, Invalid, NoPackage, NotFound
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal, own_only
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.core.listing import Plan
from consulta.core.permissions import Role
from consulta.core.time import in_zone, now, to_text, utc_months
from consulta.people.records import (
    EXPERT,
    PATIENT,
    PRACTICE,
    ExpertItem,
    PatientItem,
    PracticeItem,
)
from consulta.scheduling.records import (
    PACKAGE,
    SERVICE,
    AppointmentItem,
    PackageItem,
    PaymentStatus,
    ServiceItem,
    Status,
)
from consulta.scheduling.schema.fields import Price
from consulta.scheduling.schema.packages import (
    PackageDetail,
    PackageFilter,
    PackagePage,
    PackageRequest,
    PackageStatus,
    SoldPackage,
)

# Sub-items of a package, one per appointment that used a session of it.
SESSION = "SESSION"
USED, RETURNED = "used", "returned"
LABEL = "package"
MAX_RANGE = timedelta(days=366)
# A range's other end, a year away, is still a date.
YEARS = range(1971, 2200)
READ_BUDGET = 300
_USABLE = "#status = :active AND #used < #sessions AND #valid_until > :at"
_NAMES = {
    "#status": "status",
    "#used": "used",
    "#sessions": "sessions",
    "#valid_until": "valid_until",
}


# ---------------------------------------------------------------- buying


def create(by: Principal, body: PackageRequest, key: str | None) -> PackageDetail:
    """Buy a package: pending until it is paid for; active at once with a member's ``confirm``.

    Raises NotFound, Forbidden, Invalid.
    """
    tenant, patient_id = by.tenant, _buyer(by, body)
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    keys = [
        tenant.item(PRACTICE, tenant.practice),
        tenant.item(PATIENT, patient_id),
        tenant.item(SERVICE, body.service_id),
    ]
    found = table.batch_get_raw(keys)
    patient = found.get(keys[1])
    if patient is None or PatientItem.read(patient).deleted_at is not None:
        raise NotFound
    service = _service(found.get(keys[2]))
    expert_id = _expert(by, body, service)
    practice = PracticeItem.read(found[keys[0]])
    item = _item(by, service, practice, expert_id, patient_id)
    if body.confirm:
        for name, value in activation(item, now()).items():
            setattr(item, name, value)
    try:
        table.transact([table.put_new(item), *once.actions(item.item_id)])
    except table.ConditionFailed as failed:
        if REPEATED not in failed.labels:
            raise
        return get(by, once.again().result)
    return _detail(item, [])


def _buyer(by: Principal, body: PackageRequest) -> str:
    if body.confirm and not by.may("appointments:confirm"):
        raise Forbidden("Confirming needs the permission appointments:confirm")
    if by.role is Role.PATIENT:
        if not by.patient:
            raise Forbidden("The caller is not a patient of this practice")
        if body.patient_id not in (None, by.patient):
            raise NotFound
        return by.patient
    if body.patient_id is None:
        raise Invalid.of("body.patient_id", "Say for which patient", "missing")
    return body.patient_id


def _service(raw: table.Raw | None) -> ServiceItem:
    service = ServiceItem.read(raw) if raw else None
    if service is None or service.deleted_at is not None:
        raise NotFound
    if service.kind != PACKAGE:
        raise Invalid.of("body.service_id", "This service is not sold as a package", "kind")
    if not service.active:
        raise Invalid.of("body.service_id", "This service is not active", "inactive")
    return service


def _expert(by: Principal, body: PackageRequest, service: ServiceItem) -> str:
    """Whose sale it is; the sessions themselves any expert of the service may give."""
    given = [str(one) for one in service.expert_ids]
    expert_id = body.expert_id or (given[0] if len(given) == 1 else "")
    if not expert_id:
        raise Invalid.of("body.expert_id", "Say with which expert", "missing")
    if by.role is not Role.PATIENT and not by.sees_all("appointments") and by.expert != expert_id:
        raise Forbidden("An expert sells only their own packages")
    raw = table.get_raw(by.tenant.item(EXPERT, expert_id))
    if raw is None or (by.role is Role.PATIENT and not ExpertItem.read(raw).published):
        raise NotFound
    if expert_id not in given:
        raise Invalid.of("body.expert_id", "This expert does not give this service", "service")
    return expert_id


def _item(
    by: Principal, service: ServiceItem, practice: PracticeItem, expert_id: str, patient_id: str
) -> PackageItem:
    tenant, instant, package_id = by.tenant, now(), ids.new_id("pkg")
    local, place = in_zone(instant, practice.zone), f"{to_text(instant)}#{package_id}"
    return PackageItem.create(
        tenant.item(PACKAGE, package_id),
        PACKAGE,
        by.actor,
        service_id=service.item_id,
        expert_id=expert_id,
        patient_id=patient_id,
        order_id=ids.new_id("ord"),
        status=str(PackageStatus.PENDING),
        payment_status=str(PaymentStatus.UNPAID),
        price=int(service.price),
        currency=service.currency,
        sessions=int(service.sessions),
        validity_days=int(service.validity_days),
        policy=practice.policy,
        zone=practice.zone,
        local_date=local.date().isoformat(),
        local_hour=local.hour,
        l1pk=tenant.listing_by(PACKAGE, "MONTH", to_text(instant)[:7]),
        l1sk=place,
        l2pk=tenant.listing_by(PACKAGE, "EXPERT", expert_id),
        l2sk=place,
        l3pk=tenant.listing_by(PACKAGE, "PATIENT", patient_id),
        l3sk=place,
        walkpk=tenant.listing(PACKAGE),
        walksk=package_id,
    )


def activation(package: PackageItem, at: datetime) -> dict[str, Any]:
    """What becomes of its attributes when its sessions may be used.

    It is good for the service's days, and not beyond the date that the policy may name.
    """
    until = at + timedelta(days=int(package.validity_days))
    if last := package.policy["package"].get("valid_until"):
        midnight = datetime.combine(date.fromisoformat(last) + timedelta(days=1), time())
        until = min(until, midnight.replace(tzinfo=ZoneInfo(package.zone)).astimezone(UTC))
    return {"status": str(PackageStatus.ACTIVE), "valid_until": until}


# ---------------------------------------------------------------- reading


def key(tenant: Tenant, package_id: str) -> Key:
    """The key of a package."""
    return tenant.item(PACKAGE, package_id)


def load(by: Principal, package_id: str) -> PackageItem:
    """One that the caller may see: patients and experts their own. Raises NotFound."""
    item = table.get(PackageItem, key(by.tenant, package_id))
    if item is None or not by.sees("appointments", item.patient_id, item.expert_id):
        raise NotFound
    return item


def get(by: Principal, package_id: str) -> PackageDetail:
    """One package with the appointments that used it. Raises NotFound."""
    item = load(by, package_id)
    return _detail(item, appointment_ids(item))


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


def listing(by: Principal, wanted: PackageFilter, limit: int, cursor: str | None) -> PackagePage:
    """By patient, else by expert, else month by month; the newest first (docs/lists.md).

    Raises Forbidden, Invalid, BadRequest (a cursor of another list).
    """
    wanted = own_only(by, wanted, "appointments")
    tenant, instant = by.tenant, now()
    scope = (tenant.practice, "/v1/packages", by.role, wanted.model_dump_json())
    raws, last_key = _plan(tenant, wanted, instant).read(limit, decode(cursor, *scope))
    return PackagePage(
        items=[to_api(PackageItem.read(raw)) for raw in raws], next_cursor=encode(last_key, *scope)
    )


def _plan(tenant: Tenant, wanted: PackageFilter, instant: datetime) -> Plan:
    for name, given in (("from", wanted.from_), ("to", wanted.to)):
        if given is not None and given.year not in YEARS:
            raise Invalid.of(f"query.{name}", "Not a year of any package", "range")
    has_range = wanted.from_ or wanted.to
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else instant + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    equal = {n: v for n in ("service_id", "expert_id") if (v := getattr(wanted, n)) is not None}
    partitions: tuple[str, ...]
    if wanted.patient_id:
        index, partitions = "l3", (tenant.listing_by(PACKAGE, "PATIENT", wanted.patient_id),)
    elif expert := equal.pop("expert_id", None):
        index, partitions = "l2", (tenant.listing_by(PACKAGE, "EXPERT", expert),)
    else:
        months = reversed(list(utc_months(first, end)))
        index = "l1"
        partitions = tuple(tenant.listing_by(PACKAGE, "MONTH", month) for month in months)
    bounded = has_range or index == "l1"
    low, high = (to_text(first), to_text(end)) if bounded else (None, None)
    where, names, values = _filter(equal, wanted.status, instant)
    return Plan(
        index, partitions, low, high, True, where, names, values, budget=READ_BUDGET
    )  # fmt: skip


def _filter(
    equal: Mapping[str, str], status: PackageStatus | None, instant: datetime
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The derived states by what they are derived from."""
    parts = [f"#{name} = :{name}" for name in equal]
    names = {f"#{name}": name for name in equal}
    values: dict[str, Any] = {f":{name}": value for name, value in equal.items()}
    match status:
        case None:
            return " AND ".join(parts), names, values
        case PackageStatus.PENDING | PackageStatus.CANCELLED:
            parts.append("#status = :status")
            names["#status"], values[":status"] = "status", str(status)
            return " AND ".join(parts), names, values
        case PackageStatus.ACTIVE:
            parts.append(_USABLE)
        case PackageStatus.EXHAUSTED:
            parts.append("#status = :active AND #used >= #sessions")
        case PackageStatus.EXPIRED:
            parts.append("#status = :active AND #used < #sessions AND #valid_until <= :at")
    names |= {"#status": "status", "#used": "used", "#sessions": "sessions"}
    values[":active"] = str(PackageStatus.ACTIVE)
    if status is not PackageStatus.EXHAUSTED:
        names["#valid_until"], values[":at"] = "valid_until", to_text(instant)
    return " AND ".join(parts), names, values


def shown_status(item: PackageItem, at: datetime) -> PackageStatus:
    """The stored state, with what time and use make of it."""
    status = PackageStatus(item.status)
    if status is not PackageStatus.ACTIVE:
        return status
    if int(item.used) >= int(item.sessions):
        return PackageStatus.EXHAUSTED
    return PackageStatus.ACTIVE if at < item.valid_until else PackageStatus.EXPIRED


def to_api(item: PackageItem) -> SoldPackage:
    """A package as the API shows it."""
    status = shown_status(item, now())
    left = int(item.sessions) - int(item.used) if status is PackageStatus.ACTIVE else 0
    return SoldPackage(
        id=item.item_id,
        service_id=item.service_id,
        expert_id=item.expert_id,
        patient_id=item.patient_id,
        order_id=item.order_id,
        payment_id=item.payment_id,
        status=status,
        payment_status=PaymentStatus(item.payment_status),
        price=Price(amount=int(item.price), currency=item.currency),
        sessions=int(item.sessions),
        used=int(item.used),
        remaining=left,
        valid_until=item.valid_until,
        cancelled_at=item.cancelled_at,
        cancelled_by=item.cancelled_by,
        created_at=item.created_at,
        updated_at=item.updated_at,
        version=int(item.version),
    )


def _detail(item: PackageItem, used_for: list[str]) -> PackageDetail:
    return PackageDetail(**dict(to_api(item)), appointment_ids=used_for)


# ---------------------------------------------------------------- using its sessions


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
        where=f"{_USABLE} AND #service_id = :service_id",
        names={**_NAMES, "#service_id": "service_id"},
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
        condition=_USABLE,
        names=_NAMES,
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
    policy says ``forfeits``. Whatever the practice, or time, has cancelled is given back.
    """
    if party != "patient" or appointment.policy["package"]["late"] == "returns":
        return True
    # An offer of the waitlist that was not taken: nobody had booked it.
    if appointment.status == Status.HELD:
        return True
    notice = (appointment.notice_to - at).total_seconds()
    steps = appointment.policy["cancel"]
    step = next((one for one in steps if notice >= one["min_notice_s"]), steps[-1])
    return not (step["keep"].get("fixed") or step["keep"].get("percent"))


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
