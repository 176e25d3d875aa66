"""GET /v1/appointments: one dimension and time by index, the rest by filter within a read budget.

docs/lists.md has the table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import BadRequest, FieldError, Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text, utc_months
from consulta.scheduling import names
from consulta.scheduling.appointments import sees_patients
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.appointments import AppointmentFilter, AppointmentPage

MAX_RANGE = timedelta(days=366)
# Without a range the practice's list begins this long ago.
LOOK_BACK = timedelta(days=30)
# Items that one request may read, whether or not the filters let them through.
READ_BUDGET = 300
CHUNK = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """Which partitions of which index are read, in order, and what is filtered."""

    index: str
    partitions: tuple[str, ...]
    low: str | None
    high: str | None
    newest_first: bool
    equal: dict[str, str]

    def query(self, partition: str) -> table.Query:
        """The query of one partition."""
        return table.Query(
            partition,
            index=self.index,
            low=self.low,
            high=self.high,
            newest_first=self.newest_first,
            where=" AND ".join(f"#{name} = :{name}" for name in self.equal),
            names={f"#{name}": name for name in self.equal},
            values={f":{name}": value for name, value in self.equal.items()},
        )

    def key_after(self, raw: table.Raw) -> table.Raw:
        """Where to go on after this very item."""
        return {name: raw[name] for name in ("pk", "sk", *self._own)}

    @property
    def _own(self) -> tuple[str, str]:
        return f"{self.index}pk", f"{self.index}sk"

    def resume(self, key: table.Raw | None) -> tuple[int, table.Raw | None]:
        """Which partition a cursor's key is in, and where in it.

        The key comes from outside: whatever this plan cannot have made is refused.
        """
        if key is None:
            return 0, None
        hash_name, range_name = self._own
        partition = key.get(hash_name, {}).get("S")
        if partition not in self.partitions:
            raise _not_ours()
        number = self.partitions.index(partition)
        if set(key) == {hash_name}:
            return number, None
        place = key.get(range_name, {}).get("S", "")
        in_range = (self.low or "") <= place and (self.high is None or place <= self.high)
        whole = set(key) == {"pk", "sk", hash_name, range_name} and all(
            part["S"] for part in key.values()
        )
        if not whole or not in_range:
            raise _not_ours()
        return number, key


def _not_ours() -> BadRequest:
    return BadRequest(
        "The cursor is not one of this list", errors=(FieldError("query.cursor", "not a cursor"),)
    )


def page(
    by: Principal, wanted: AppointmentFilter, limit: int, cursor: str | None
) -> AppointmentPage:
    """One page, by start. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    wanted = _with_range(own_only(by, wanted, "appointments"))
    tenant = by.tenant
    scope = (tenant.practice, "/v1/appointments", by.role, wanted.model_dump_json())
    plan = plan_of(tenant, wanted, now())
    raws, last_key = _read(plan, limit, decode(cursor, *scope))
    items = [AppointmentItem.read(raw) for raw in raws]
    return AppointmentPage(
        items=names.to_api(tenant, items, patients=sees_patients(by)),
        next_cursor=encode(last_key, *scope),
    )


def plan_of(tenant: Tenant, wanted: AppointmentFilter, instant: datetime) -> Plan:
    """By patient, else by expert, else month by month."""
    equal = {
        name: str(value)
        for name in ("status", "payment_status", "patient_id", "expert_id", "service_id")
        if (value := getattr(wanted, name)) is not None
    }
    low = to_text(wanted.low) if wanted.low else None
    # Places are "<start>#<id>", so the bound itself is left out: [from, to).
    high = to_text(wanted.high) if wanted.high else None
    newest_first = wanted.sort == "-start"
    partitions: tuple[str, ...]
    if patient := equal.pop("patient_id", None):
        partitions = (tenant.listing_by(APPOINTMENT, "PATIENT", patient),)
        return Plan("l3", partitions, low, high, newest_first, equal)
    if expert := equal.pop("expert_id", None):
        partitions = (tenant.listing_by(APPOINTMENT, "EXPERT", expert),)
        return Plan("l2", partitions, low, high, newest_first, equal)
    first = wanted.low or instant - LOOK_BACK
    found = list(utc_months(first, wanted.high or first + MAX_RANGE))
    if newest_first:
        found.reverse()
    partitions = tuple(tenant.listing_by(APPOINTMENT, "MONTH", month) for month in found)
    return Plan("l1", partitions, low, high, newest_first, equal)


def _with_range(wanted: AppointmentFilter) -> AppointmentFilter:
    """Both ends where there is one."""
    low, high = wanted.low, wanted.high
    if low is None and high is None:
        return wanted
    if low is None and high is not None:
        low = high - MAX_RANGE
    if high is None and low is not None:
        high = low + MAX_RANGE
    if low is not None and high is not None and not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"low": low, "high": high})


def _read(
    plan: Plan, limit: int, key: table.Raw | None
) -> tuple[list[table.Raw], table.Raw | None]:
    """Up to ``limit`` items that pass the filters, and where to go on, None at the list's end."""
    number, start = plan.resume(key)
    found: list[table.Raw] = []
    budget = READ_BUDGET
    while number < len(plan.partitions):
        if budget <= 0 or len(found) == limit:
            return found, start or {f"{plan.index}pk": {"S": plan.partitions[number]}}
        chunk = min(budget, CHUNK if plan.equal else limit - len(found))
        answer = plan.query(plan.partitions[number]).page(chunk, start)
        budget -= chunk
        room = limit - len(found)
        found += answer.items[:room]
        if len(answer.items) > room:
            return found, plan.key_after(found[-1])
        start = answer.last_key
        if start is None:
            number += 1
    return found, None
