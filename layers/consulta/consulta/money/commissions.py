"""The rate table of a practice, which operators write, and the commission of each payment.

A rate that changes holds for payments that are made from then on: what a payment owes was decided,
and stamped, when it was made (:mod:`consulta.money.rates`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import FieldError, Forbidden, Invalid
from consulta.core.fields import Amount
from consulta.core.http import check_version
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.listing import Plan
from consulta.core.permissions import Role
from consulta.core.time import now, to_text, utc_months
from consulta.money import rates
from consulta.money.rates import RatesItem
from consulta.money.records import PAYMENT, PaymentItem, Provider
from consulta.money.schema_commissions import (
    Commission,
    CommissionFilter,
    CommissionPage,
    CommissionRate,
    CommissionRates,
    CommissionStatus,
    RatesRequest,
    RateUsed,
)
from consulta.people import writes
from consulta.people.records import PracticeItem
from consulta.scheduling.records import SERVICE

MAX_RANGE = timedelta(days=366)


# ---------------------------------------------------------------- the rate table


def rates_for_staff(by: Principal) -> CommissionRates:
    """The caller's own practice's. Raises Forbidden for who sees only their own payments."""
    if not by.sees_all("payments"):
        raise Forbidden("The practice's terms with the platform are for who sees all its payments")
    return rates_of(by.practice)


def rates_of(practice_id: str) -> CommissionRates:
    """A practice's. Raises NotFound."""
    return _shown(*rates.read(Tenant(practice_id)))


def put_rates(
    by: Principal, practice_id: str, body: RatesRequest, if_match: str | None
) -> CommissionRates:
    """Replace a practice's rate table: for the platform's operators.

    Raises NotFound, Invalid under ``body.rates.<n>``, PreconditionFailed, Conflict.
    """
    tenant = Tenant(practice_id)
    practice, known = rates.read(tenant)
    check_version(if_match, known.version if known else 0)
    _check(tenant, body.rates)
    stored = [rate.model_dump(mode="json", by_alias=True) for rate in body.rates]
    if known is None:
        made = RatesItem.create(rates.key_of(tenant), rates.RATES, by.actor, rates=stored)
        action = table.put_new(made)
    elif known.rates == stored:
        return _shown(practice, known)
    else:
        text = RatesItem.rates.serialize(stored)
        action = table.change(known, by.actor, set_={"rates": text})
    try:
        table.transact([action])
    except table.ConditionFailed:
        # The very same table, from whoever it is: there is nothing left to do.
        practice, known = rates.read(tenant)
        if known is None or known.rates != stored:
            raise writes.lost_race(if_match) from None
    return rates_of(practice_id)


def _check(tenant: Tenant, wanted: Sequence[CommissionRate]) -> None:
    """Dates go down, one row a day for the same thing, and services are the practice's."""
    problems: list[FieldError] = []
    seen: set[tuple[date, str, str | None, str | None]] = set()
    services = {rate.service_id for rate in wanted if rate.service_id}
    keys = {service_id: tenant.item(SERVICE, service_id) for service_id in services}
    found = table.batch_get_raw(list(keys.values())) if keys else {}
    for number, rate in enumerate(wanted):
        place = f"body.rates.{number}"
        what = (rate.starts, rate.currency, rate.service_id, rate.plan_id)
        if what in seen:
            message = "There is a row for the same day, currency and service already"
            problems.append(FieldError(f"{place}.from", message, "duplicate"))
        elif number and wanted[number - 1].starts < rate.starts:
            problems.append(FieldError(f"{place}.from", "The latest row comes first", "order"))
        if rate.service_id and keys[rate.service_id] not in found:
            problems.append(FieldError(f"{place}.service_id", "No such service", "unknown"))
        seen.add(what)
    if problems:
        raise Invalid("The rate table cannot be accepted", errors=tuple(problems))


def _shown(practice: PracticeItem, item: RatesItem | None) -> CommissionRates:
    stored = item.rates if item else []
    return CommissionRates(
        practice_id=practice.item_id,
        default_percent_bps=int(practice.commission_bps),
        rates=[CommissionRate.model_validate(row) for row in stored],
        updated_at=item.updated_at if item else None,
        version=int(item.version) if item else 0,
    )


# ---------------------------------------------------------------- what was taken


def page(by: Principal, wanted: CommissionFilter, limit: int, cursor: str | None) -> CommissionPage:
    """Of captured payments, the newest first; experts see their own.

    Raises Forbidden (patients, another expert's), Invalid, BadRequest (a cursor of another list).
    """
    if by.role is Role.PATIENT:
        raise Forbidden("Commissions are between the practice and the platform")
    wanted = own_only(by, wanted, "payments")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/commissions", by.role, wanted.model_dump_json())
    plan = _plan(tenant, wanted)
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    return CommissionPage(
        items=[commission(PaymentItem.read(raw)) for raw in raws],
        next_cursor=encode(last_key, *scope),
    )


def _plan(tenant: Tenant, wanted: CommissionFilter) -> Plan:
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else now() + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    # What was not captured has no commission, and comes to none of these pages.
    where, names = "#captured > :zero", {"#captured": "captured"}
    values: dict[str, str | int] = {":zero": 0}
    if wanted.service_id:
        where += " AND #service = :service"
        names["#service"] = "service_id"
        values[":service"] = wanted.service_id
    if wanted.expert_id:
        index, partitions = "l2", [tenant.listing_by(PAYMENT, "EXPERT", wanted.expert_id)]
    else:
        months = reversed(list(utc_months(first, end)))
        index, partitions = "l1", [tenant.listing_by(PAYMENT, "MONTH", month) for month in months]
    return Plan(
        index,
        tuple(partitions),
        to_text(first),
        to_text(end),
        newest_first=True,
        where=where,
        names=names,
        values=values,
    )


def status_of(payment: PaymentItem) -> CommissionStatus:
    """Whether the platform has it yet, has it, or gave all of it back."""
    taken, returned = int(payment.commission), int(payment.commission_returned)
    if taken and returned >= taken:
        return CommissionStatus.RETURNED
    if payment.settled or payment.provider == Provider.MANUAL:
        return CommissionStatus.COLLECTED
    return CommissionStatus.PENDING


def commission(payment: PaymentItem) -> Commission:
    """What was taken of a captured payment."""

    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=payment.currency)

    kept = int(payment.commission) - int(payment.commission_returned)
    costs = int(payment.tax_withheld) + (0 if payment.platform_pays_fees else int(payment.fee))
    return Commission(
        payment_id=payment.item_id,
        appointment_id=payment.appointment_id,
        package_id=payment.package_id,
        expert_id=payment.expert_id,
        service_id=payment.service_id,
        provider=Provider(payment.provider).value,
        status=status_of(payment),
        gross=amount(payment.captured),
        refunded=amount(payment.refunded),
        commission=amount(payment.commission),
        commission_returned=amount(payment.commission_returned),
        fee=amount(payment.fee),
        fee_paid_by="platform" if payment.platform_pays_fees else "payee",
        tax_withheld=amount(payment.tax_withheld),
        net=amount(int(payment.captured) - int(payment.refunded) - kept - costs),
        rate=RateUsed.model_validate(payment.rate) if payment.rate else None,
        paid_on=date.fromisoformat(str(payment.local_date)),
        created_at=payment.created_at,
    )
