"""GET /v1/payments: by patient, by expert, or month by month; the newest first.

The dimension and the time are read by index; state, provider and the derived status are filtered
among at most ``limit`` items read per partition, so that a page may be short and still go on.
"""

from dataclasses import dataclass
from datetime import timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import BadRequest, FieldError, Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text, utc_months
from consulta.money import payment_views
from consulta.money.records import PAYMENT, PaymentItem
from consulta.money.schema import PaymentFilter, PaymentPage

MAX_RANGE = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class _Plan:
    index: str
    partitions: tuple[str, ...]
    low: str
    high: str

    def query(self, number: int) -> table.Query:
        return table.Query(
            self.partitions[number],
            index=self.index,
            low=self.low,
            high=self.high,
            newest_first=True,
        )

    def resume(self, key: table.Raw | None) -> tuple[int, table.Raw | None]:
        """Which partition a cursor's key is in, and where. A key of another plan is refused."""
        if key is None:
            return 0, None
        names = (f"{self.index}pk", f"{self.index}sk")
        partition = key.get(names[0], {}).get("S")
        if partition not in self.partitions:
            raise _not_ours()
        number = self.partitions.index(partition)
        if set(key) == {names[0]}:
            return number, None
        place = key.get(names[1], {}).get("S", "")
        if set(key) != {"pk", "sk", *names} or not self.low <= place <= self.high:
            raise _not_ours()
        return number, key


def _not_ours() -> BadRequest:
    return BadRequest(
        "The cursor is not one of this list", errors=(FieldError("query.cursor", "not a cursor"),)
    )


def page(by: Principal, wanted: PaymentFilter, limit: int, cursor: str | None) -> PaymentPage:
    """One page. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    wanted = own_only(by, wanted, "payments")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/payments", by.role, wanted.model_dump_json())
    wanted = _with_range(wanted)
    plan = _plan(tenant, wanted)
    number, start = plan.resume(decode(cursor, *scope))
    found: list[PaymentItem] = []
    last_key: table.Raw | None = None
    while number < len(plan.partitions):
        if len(found) == limit:
            last_key = start or {f"{plan.index}pk": {"S": plan.partitions[number]}}
            break
        answer = plan.query(number).page(limit - len(found), start)
        found += [PaymentItem.read(raw) for raw in answer.items]
        start = answer.last_key
        if start is None:
            number += 1
    shown = [payment_views.payment(by, item) for item in found if _passes(item, wanted)]
    return PaymentPage(items=shown, next_cursor=encode(last_key, *scope))


def _plan(tenant: Tenant, wanted: PaymentFilter) -> _Plan:
    first, end = wanted.from_ or now() - MAX_RANGE, wanted.to or now() + timedelta(days=1)
    low, high = to_text(first), to_text(end)
    if wanted.patient_id:
        return _Plan("l3", (tenant.listing_by(PAYMENT, "PATIENT", wanted.patient_id),), low, high)
    if wanted.expert_id:
        return _Plan("l2", (tenant.listing_by(PAYMENT, "EXPERT", wanted.expert_id),), low, high)
    months = [tenant.listing_by(PAYMENT, "MONTH", month) for month in utc_months(first, end)]
    return _Plan("l1", tuple(reversed(months)), low, high)


def _passes(item: PaymentItem, wanted: PaymentFilter) -> bool:
    equal = {
        name: value
        for name in ("state", "provider", "patient_id", "expert_id")
        if (value := getattr(wanted, name)) is not None
    }
    if any(getattr(item, name) != value for name, value in equal.items()):
        return False
    return wanted.status is None or payment_views.displayed(item) is wanted.status


def _with_range(wanted: PaymentFilter) -> PaymentFilter:
    end = wanted.to or (wanted.from_ + MAX_RANGE if wanted.from_ else now() + timedelta(days=1))
    first = wanted.from_ or end - MAX_RANGE
    if not timedelta() < end - first <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"from_": first, "to": end})
