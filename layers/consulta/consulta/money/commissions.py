"""The rate table of a practice, which operators write, and the commission of each payment.

A rate that changes holds for payments that are made from then on: what a payment owes was decided,
and stamped, when it was made (:mod:`consulta.money.rates`).
"""

from collections.abc import Sequence
from datetime import date, timedelta

from consulta.core import keys, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import FieldError, Forbidden, Invalid, NotFound
from consulta.core.fields import Amount
from consulta.core.http import check_version
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Key, Tenant
from consulta.core.listing import Plan
from consulta.core.permissions import Role
from consulta.core.time import now, to_text, utc_months
from consulta.money import rates
from consulta.money.rates import RatesItem
from consulta.money.records import PAYMENT, PaymentItem, Provider
from consulta.money.schema.commissions import (
    Commission,
    CommissionFilter,
    CommissionPage,
    CommissionRate,
    CommissionRates,
    CommissionStatus,
    PlanRates,
    RatesRequest,
    RateUsed,
)
from consulta.money.schema.payments import ExchangedInto
from consulta.people import writes
from consulta.scheduling.records import SERVICE

MAX_RANGE = timedelta(days=366)


# ---------------------------------------------------------------- the rate table


def rates_for_staff(by: Principal) -> CommissionRates:
    """The caller's own practice's. Raises Forbidden for who sees only their own payments."""
    if not by.sees_all("payments"):
        raise Forbidden("The practice's terms with the platform are for who sees all its payments")
    return rates_of(by.practice)


def rates_of(practice_id: str) -> CommissionRates:
    """A practice's, with its plan's. Raises NotFound."""
    practice, item = rates.read(Tenant(practice_id))
    plan = rates.read_plan(practice.plan_id) if practice.plan_id else None
    return CommissionRates(
        practice_id=practice.item_id,
        default_percent_bps=int(practice.commission_bps),
        rates=_rows(item),
        plan_id=practice.plan_id or None,
        plan_rates=_rows(plan),
        updated_at=item.updated_at if item else None,
        version=int(item.version) if item else 0,
    )


def put_rates(
    by: Principal, practice_id: str, body: RatesRequest, if_match: str | None
) -> CommissionRates:
    """Replace a practice's rate table: for the platform's operators.

    Raises NotFound, Invalid under ``body.rates.<n>``, PreconditionFailed, Conflict.
    """
    tenant = Tenant(practice_id)
    _, known = rates.read(tenant)
    check_version(if_match, known.version if known else 0)
    _check(tenant, body.rates)
    _put(by, rates.key_of(tenant), known, body, if_match)
    return rates_of(practice_id)


def plan_rates_of(plan_id: str) -> PlanRates:
    """A plan's. Raises NotFound where none was ever put."""
    found = rates.read_plan(plan_id)
    if found is None:
        raise NotFound
    return PlanRates(
        plan_id=plan_id,
        rates=_rows(found),
        updated_at=found.updated_at,
        version=int(found.version),
    )


def put_plan_rates(
    by: Principal, plan_id: str, body: RatesRequest, if_match: str | None
) -> PlanRates:
    """Replace a plan's rate table: for the platform's operators.

    Raises Invalid under ``body.rates.<n>`` (services are a practice's), PreconditionFailed,
    Conflict.
    """
    known = rates.read_plan(plan_id)
    check_version(if_match, known.version if known else 0)
    # All rows here are the plan's, whether or not they name it.
    problems = _order_problems(
        [rate.model_copy(update={"plan_id": plan_id}) for rate in body.rates]
    )
    for number, rate in enumerate(body.rates):
        if rate.service_id:
            place = f"body.rates.{number}.service_id"
            message = "Services are a practice's: put this row into its own table"
            problems.append(FieldError(place, message, "not_a_plans"))
        if rate.plan_id not in (None, plan_id):
            problems.append(FieldError(f"body.rates.{number}.plan_id", "Another plan", "unknown"))
    _refuse(problems)
    _put(by, keys.plan_rates(plan_id), known, body, if_match)
    return plan_rates_of(plan_id)


def _put(
    by: Principal, key: Key, known: RatesItem | None, body: RatesRequest, if_match: str | None
) -> None:
    """Write a table unless it is the same. Raises PreconditionFailed, Conflict."""
    stored = [rate.model_dump(mode="json", by_alias=True) for rate in body.rates]
    if known is None:
        made = RatesItem.create(key, rates.RATES, by.actor, rates=stored)
        action = table.put_new(made)
    elif known.rates == stored:
        return
    else:
        text = RatesItem.rates.serialize(stored)
        action = table.change(known, by.actor, set_={"rates": text})
    try:
        table.transact([action])
    except table.ConditionFailed:
        # The very same table, from whoever it is: there is nothing left to do.
        known = rates.read_item(key)
        if known is None or known.rates != stored:
            raise writes.lost_race(if_match) from None


def _check(tenant: Tenant, wanted: Sequence[CommissionRate]) -> None:
    """As :func:`_order_problems` has it, and services are the practice's."""
    problems = _order_problems(wanted)
    services = {rate.service_id for rate in wanted if rate.service_id}
    where = {service_id: tenant.item(SERVICE, service_id) for service_id in services}
    found = table.batch_get_raw(list(where.values())) if where else {}
    for number, rate in enumerate(wanted):
        if rate.service_id and where[rate.service_id] not in found:
            place = f"body.rates.{number}.service_id"
            problems.append(FieldError(place, "No such service", "unknown"))
    _refuse(problems)


def _order_problems(wanted: Sequence[CommissionRate]) -> list[FieldError]:
    """Dates go down, and there is one row a day for the same thing."""
    problems: list[FieldError] = []
    seen: set[tuple[date, str, str | None, str | None]] = set()
    for number, rate in enumerate(wanted):
        place = f"body.rates.{number}"
        what = (rate.starts, rate.currency, rate.service_id, rate.plan_id)
        if what in seen:
            message = "There is a row for the same day, currency and service already"
            problems.append(FieldError(f"{place}.from", message, "duplicate"))
        elif number and wanted[number - 1].starts < rate.starts:
            problems.append(FieldError(f"{place}.from", "The latest row comes first", "order"))
        seen.add(what)
    return problems


def _refuse(problems: list[FieldError]) -> None:
    if problems:
        raise Invalid("The rate table cannot be accepted", errors=tuple(problems))


def _rows(item: RatesItem | None) -> list[CommissionRate]:
    return [CommissionRate.model_validate(row) for row in (item.rates if item else ())]


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
    """Whether the platform has it yet, is owed it, has it, or gave all of it back."""
    taken, returned = int(payment.commission), int(payment.commission_returned)
    if taken and returned >= taken:
        return CommissionStatus.RETURNED
    if taken and payment.provider == Provider.MANUAL:
        return CommissionStatus.DUE
    if payment.settled or payment.provider == Provider.MANUAL:
        return CommissionStatus.COLLECTED
    return CommissionStatus.PENDING


def net_of(payment: PaymentItem) -> int:
    """What is left of a captured payment for its payee, in minor units."""
    kept = int(payment.commission) - int(payment.commission_returned)
    costs = int(payment.tax_withheld) + (0 if payment.platform_pays_fees else int(payment.fee))
    return int(payment.captured) - int(payment.refunded) - kept - costs


def commission(payment: PaymentItem) -> Commission:
    """What was taken of a captured payment."""

    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=payment.currency)

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
        commission_tax=amount(payment.commission_tax),
        fee=amount(payment.fee),
        fee_paid_by="platform" if payment.platform_pays_fees else "payee",
        tax_withheld=amount(payment.tax_withheld),
        net=amount(net_of(payment)),
        exchange=ExchangedInto.of(payment.fx),
        rate=RateUsed.model_validate(payment.rate) if payment.rate else None,
        paid_on=date.fromisoformat(str(payment.local_date)),
        created_at=payment.created_at,
    )
