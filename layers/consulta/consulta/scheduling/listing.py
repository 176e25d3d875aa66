"""GET /v1/appointments and its search: one dimension and time by index, the rest by filter.

Each within a read budget: docs/lists.md has the table.
"""

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import BadRequest, FieldError, Invalid
from consulta.core.identity import Principal, own_only
from consulta.core.ids import is_id
from consulta.core.keys import Tenant
from consulta.core.listing import Plan, equal
from consulta.core.time import now, to_text, utc_months
from consulta.people import patients
from consulta.scheduling import names
from consulta.scheduling.appointments import sees_patients
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.appointments import AppointmentPage
from consulta.scheduling.schema.searching import (
    AppointmentFilter,
    AppointmentMatches,
    AppointmentSearch,
)

MAX_RANGE = timedelta(days=366)
# Far beyond any booking; a range's other end, a year away, is still a date.
YEARS = range(1971, 2200)
# Without a range the practice's list begins this long ago.
LOOK_BACK = timedelta(days=30)
# Items that one request may read, whether or not the filters let them through.
READ_BUDGET = 300
# A name's search: patients whose lists are merged, and items of each that are read at once.
MAX_PATIENTS = 10
MERGED_AT_ONCE = 100
FILTERS = ("status", "payment_status", "patient_id", "expert_id", "service_id")


def page(
    by: Principal, wanted: AppointmentFilter, limit: int, cursor: str | None
) -> AppointmentPage:
    """One page, by start. Raises Forbidden, Invalid, BadRequest (a cursor of another list)."""
    wanted = _with_range(own_only(by, wanted, "appointments"), "query")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/appointments", by.role, wanted.model_dump_json())
    plan = plan_of(tenant, wanted, now())
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    items = [AppointmentItem.read(raw) for raw in raws]
    return AppointmentPage(
        items=names.to_api(tenant, items, patients=sees_patients(by)),
        next_cursor=encode(last_key, *scope),
    )


def plan_of(tenant: Tenant, wanted: AppointmentFilter, instant: datetime) -> Plan:
    """By patient, else by expert, else month by month."""
    asked = _asked(wanted)
    low, high = _bounds(wanted)
    newest_first = wanted.sort == "-start"
    partitions: tuple[str, ...]
    if patient := asked.pop("patient_id", None):
        index, partitions = "l3", (tenant.listing_by(APPOINTMENT, "PATIENT", patient),)
    elif expert := asked.pop("expert_id", None):
        index, partitions = "l2", (tenant.listing_by(APPOINTMENT, "EXPERT", expert),)
    else:
        first = wanted.low or instant - LOOK_BACK
        found = list(utc_months(first, wanted.high or first + MAX_RANGE))
        if newest_first:
            found.reverse()
        index = "l1"
        partitions = tuple(tenant.listing_by(APPOINTMENT, "MONTH", month) for month in found)
    return Plan(index, partitions, low, high, newest_first, **equal(asked), budget=READ_BUDGET)


def _asked(wanted: AppointmentFilter) -> dict[str, str]:
    return {
        name: str(value) for name in FILTERS if (value := getattr(wanted, name, None)) is not None
    }


def _bounds(wanted: AppointmentFilter) -> tuple[str | None, str | None]:
    """Places are "<start>#<id>", so the upper bound itself is left out: [low, high)."""
    low = to_text(wanted.low) if wanted.low else None
    return low, to_text(wanted.high) if wanted.high else None


def _with_range[F: AppointmentFilter](wanted: F, where: str) -> F:
    """Both ends where there is one."""
    low, high = wanted.low, wanted.high
    for name, end in (("from", low), ("to", high)):
        if end is not None and end.year not in YEARS:
            raise Invalid.of(f"{where}.{name}", "Not a year of any booking", "range")
    if low is None and high is None:
        return wanted
    if low is None and high is not None:
        low = high - MAX_RANGE
    if high is None and low is not None:
        high = low + MAX_RANGE
    if low is not None and high is not None and not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of(f"{where}.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"low": low, "high": high})


# ---------------------------------------------------------------- by a patient's name


def search(by: Principal, asked: AppointmentSearch) -> AppointmentMatches:
    """One page of the appointments of up to ten patients, merged by start.

    Nothing is kept between pages: a cursor is the place of the last appointment that was looked
    at, which is the same in every patient's list. Raises Forbidden, Invalid, BadRequest.
    """
    wanted = _with_range(own_only(by, asked, "appointments"), "body")
    tenant = by.tenant
    found, truncated = _patients(tenant, wanted.patient)
    filters = wanted.model_dump_json(exclude={"cursor", "limit"})
    scope = (tenant.practice, "/v1/appointments/search", by.role, filters)
    merge = _Merge(tenant, wanted, found, _after(wanted, scope))
    items = merge.read(wanted.limit)
    last = {"at": {"S": merge.last}} if merge.last else None
    return AppointmentMatches(
        items=names.to_api(tenant, items, patients=sees_patients(by)),
        next_cursor=encode(last, *scope),
        truncated=truncated,
    )


def _patients(tenant: Tenant, term: str) -> tuple[list[str], bool]:
    if is_id(term, "pat"):
        return [term], False
    found = [patient.item_id for patient in patients.named(tenant, term, MAX_PATIENTS + 1)]
    return found[:MAX_PATIENTS], len(found) > MAX_PATIENTS


def _after(wanted: AppointmentSearch, scope: tuple[str, ...]) -> str | None:
    """The place that a cursor says; whatever this search cannot have made is refused."""
    refusal = BadRequest(
        "The cursor is not one of this search",
        errors=(FieldError("body.cursor", "not a cursor"),),
    )
    try:
        key = decode(wanted.cursor, *scope)
    except BadRequest:
        raise refusal from None
    if key is None:
        return None
    place = str(key["at"]["S"]) if set(key) == {"at"} else ""
    low, high = _bounds(wanted)
    if not place or not (low or "") <= place or (high is not None and place > high):
        raise refusal
    return place


class _Merge:
    """Several patients' lists as one, read a few items of each at a time."""

    def __init__(
        self, tenant: Tenant, wanted: AppointmentSearch, found: list[str], after: str | None
    ) -> None:
        low, high = _bounds(wanted)
        self._newest_first = wanted.sort == "-start"
        # From the place on, itself included: it is passed over when it comes.
        self._low = low if self._newest_first else after or low
        self._high = after or high if self._newest_first else high
        self._after = after
        self._filters = _asked(wanted)
        self._lists = [tenant.listing_by(APPOINTMENT, "PATIENT", one) for one in found]
        self._at_once = max(MERGED_AT_ONCE // max(len(found), 1), 1)
        self.last: str | None = None
        """Where the next page goes on; None at the end."""

    def read(self, limit: int) -> list[AppointmentItem]:
        """Up to ``limit`` that pass the filters, of at most ``READ_BUDGET`` that are read."""
        merged = heapq.merge(
            *(self._items(one) for one in self._lists),
            key=lambda item: item.l3sk,
            reverse=self._newest_first,
        )
        found: list[AppointmentItem] = []
        # What is read ahead of each list is within the budget, too.
        for seen, item in enumerate(merged, 1):
            if len(found) == limit:
                return found
            if self._passes(item):
                found.append(item)
            self.last = item.l3sk
            if seen >= READ_BUDGET - MERGED_AT_ONCE:
                return found
        self.last = None
        return found

    def _items(self, partition: str) -> Iterator[AppointmentItem]:
        query = table.Query(
            partition,
            index="l3",
            low=self._low,
            high=self._high,
            newest_first=self._newest_first,
        )
        for raw in query.all(self._at_once):
            item = AppointmentItem.read(raw)
            if item.l3sk != self._after:
                yield item

    def _passes(self, item: AppointmentItem) -> bool:
        return all(getattr(item, name) == value for name, value in self._filters.items())
