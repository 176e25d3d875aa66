"""Packages: buying them and listing them.

Their sessions are :mod:`consulta.scheduling.package_sessions`. What is paid for a package, and what
goes back, is :mod:`consulta.money.appointments.packages`' to say.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
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
from consulta.scheduling import terms
from consulta.scheduling.package_sessions import USABLE, appointment_ids, key
from consulta.scheduling.pricing import owed
from consulta.scheduling.records import (
    PACKAGE,
    SERVICE,
    PackageItem,
    PaymentStatus,
    ServiceItem,
)
from consulta.scheduling.schema.fields import AppliedTax, Price
from consulta.scheduling.schema.packages import (
    PackageDetail,
    PackageFilter,
    PackagePage,
    PackageRequest,
    PackageStatus,
    SoldPackage,
)
from consulta.scheduling.whom import patient_of

MAX_RANGE = timedelta(days=366)
# A range's other end, a year away, is still a date.
YEARS = range(1971, 2200)
READ_BUDGET = 300


# ---------------------------------------------------------------- buying


def create(by: Principal, body: PackageRequest, key: str | None) -> PackageDetail:
    """Buy a package: pending until it is paid for; active at once with a member's ``confirm``.

    Raises NotFound, Forbidden, Invalid.
    """
    tenant, patient_id = by.tenant, patient_of(by, body.patient_id, confirm=body.confirm)
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
    if body.waives_withdrawal:
        item.policy = terms.waived(item.policy, now())
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
    # A package is paid as a whole.
    price = {name: value for name, value in owed(service).items() if name != "deposit"}
    return PackageItem.create(
        tenant.item(PACKAGE, package_id),
        PACKAGE,
        by.actor,
        service_id=service.item_id,
        expert_id=expert_id,
        patient_id=patient_id,
        order_id=ids.related(package_id, "ord"),
        status=str(PackageStatus.PENDING),
        payment_status=str(PaymentStatus.UNPAID),
        **price,
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
            parts.append(USABLE)
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
        tax=AppliedTax.model_validate(item.tax) if item.tax else None,
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
    return PackageDetail(
        **dict(to_api(item)),
        appointment_ids=used_for,
        withdraw_until=terms.withdraw_until(item.policy, item.created_at),
        withdrawal_waived_at=terms.waived_at(item.policy),
    )
