"""Which commission holds for a payment: a practice's dated rate table.

A row is a fixed part plus a percentage, from a local day of the practice on, for one currency: for
the whole practice, for one of its services, or for while it is on a plan. Service before practice
before plan, whichever is younger: what was agreed with one practice comes before what a plan gives
to all that are on it. A plan's rows are the platform's own table, one for each plan; a practice's
row for a plan, where there is one, comes before them. Where no row holds, the practice's
``commission_bps`` does. The rate that was used is stamped on the payment, so that a table that
changes never changes what was agreed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Self

from pynamodb.attributes import JSONAttribute

from consulta.core import keys, table
from consulta.core.errors import NotFound
from consulta.core.item import Item
from consulta.core.keys import Key, Tenant
from consulta.core.money import BASIS_POINTS, proportion, share
from consulta.people.records import PRACTICE, PracticeItem

RATES = "RATES"


class Scope(StrEnum):
    """What a rate was made for; ``default`` is the practice's own percentage."""

    SERVICE = "service"
    PRACTICE = "practice"
    PLAN = "plan"
    DEFAULT = "default"


class RatesItem(Item):
    """A rate table: a practice's is a part of its item; a plan's is the platform's.

    ``rates``: [{"from", "fixed", "percent_bps", "tax_bps", "on_manual", "currency", "service_id",
    "plan_id"}, …], the latest ``from`` first; ``fixed`` in minor units of ``currency``.
    """

    rates = JSONAttribute()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. With ``plan_id`` it holds only while the practice is on that plan."""

    starts: date
    fixed: int
    percent_bps: int
    currency: str
    service_id: str | None = None
    plan_id: str | None = None
    tax_bps: int = 0
    on_manual: bool = False

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Of how it is stored."""
        return cls(
            date.fromisoformat(stored["from"]),
            int(stored["fixed"]),
            int(stored["percent_bps"]),
            str(stored["currency"]),
            stored.get("service_id"),
            stored.get("plan_id"),
            int(stored.get("tax_bps", 0)),
            bool(stored.get("on_manual")),
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """What holds for one payment. ``starts`` is None for the default, which has no date.

    ``tax_bps``: the tax that the commission contains, in ten-thousandths of what is left without
    it. ``on_manual``: it is taken of cash and transfers too, and owed by the payee.
    """

    fixed: int
    percent_bps: int
    starts: date | None
    scope: Scope
    tax_bps: int = 0
    on_manual: bool = False

    def of(self, amount: int) -> int:
        """The commission of ``amount`` minor units: rounded half to even, never above it."""
        return min(max(amount, 0), self.fixed + share(max(amount, 0), self.percent_bps))

    def to_stored(self) -> dict[str, Any]:
        """As it is stamped on a payment."""
        return {
            "fixed": self.fixed,
            "percent_bps": self.percent_bps,
            "tax_bps": self.tax_bps,
            "on_manual": self.on_manual,
            "from": self.starts.isoformat() if self.starts else None,
            "scope": str(self.scope),
        }


@dataclass(frozen=True, slots=True)
class RateTable:
    """A practice's rows, those of its plan and its default, in any order."""

    default_bps: int
    rows: tuple[Row, ...] = ()
    plan_id: str | None = None
    plan_rows: tuple[Row, ...] = ()

    def chosen(self, service_id: str, currency: str, day: date) -> Rate:
        """The rate of a payment that is made on the practice's local ``day``."""
        own, plans = (
            [row for row in rows if row.starts <= day and row.currency == currency]
            for rows in (self.rows, self.plan_rows)
        )
        for_all = [row for row in own if row.plan_id is None]
        on_plan = [row for row in own if self.plan_id and row.plan_id == self.plan_id]
        return (
            _latest((row for row in for_all if row.service_id == service_id), Scope.SERVICE)
            or _latest((row for row in for_all if row.service_id is None), Scope.PRACTICE)
            or _latest((row for row in on_plan if row.service_id == service_id), Scope.PLAN)
            or _latest((row for row in on_plan if row.service_id is None), Scope.PLAN)
            or _latest(plans, Scope.PLAN)
            or Rate(0, self.default_bps, None, Scope.DEFAULT)
        )


def _latest(rows: Iterable[Row], scope: Scope) -> Rate | None:
    row = max(rows, key=lambda row: row.starts, default=None)
    if row is None:
        return None
    return Rate(row.fixed, row.percent_bps, row.starts, scope, row.tax_bps, row.on_manual)


def contained_tax(commission: int, tax_bps: int) -> int:
    """The tax that a commission contains: half to even."""
    return proportion(commission, tax_bps, BASIS_POINTS + tax_bps)


def commission(rates: RateTable, service_id: str, amount: int, currency: str, day: date) -> int:
    """The platform's share of ``amount`` minor units, paid for a service on a local day."""
    return rates.chosen(service_id, currency, day).of(amount)


def key_of(tenant: Tenant) -> Key:
    """Where a practice's rate table is."""
    return tenant.sub(PRACTICE, tenant.practice, RATES)


def read_plan(plan_id: str) -> RatesItem | None:
    """A plan's rate table, consistently."""
    return read_item(keys.plan_rates(plan_id))


def read_item(key: Key) -> RatesItem | None:
    """A rate table by its key, consistently, with the permission that :func:`read` takes."""
    found = table.batch_get_raw([key]).get(key)
    return RatesItem.read(found) if found else None


def read(tenant: Tenant) -> tuple[PracticeItem, RatesItem | None]:
    """A practice and its rate table, consistently, in one read. Raises NotFound."""
    practice_key, rates_key = tenant.item(PRACTICE, tenant.practice), key_of(tenant)
    found = table.batch_get_raw([practice_key, rates_key])
    if practice_key not in found:
        raise NotFound
    known = found.get(rates_key)
    return PracticeItem.read(found[practice_key]), RatesItem.read(known) if known else None


def table_of(practice: PracticeItem, item: RatesItem | None) -> RateTable:
    """What :func:`read` found, to choose from; with one more read where the practice has a plan."""
    plan = read_plan(practice.plan_id) if practice.plan_id else None
    return RateTable(
        int(practice.commission_bps), _rows(item), practice.plan_id or None, _rows(plan)
    )


def _rows(item: RatesItem | None) -> tuple[Row, ...]:
    return tuple(Row.read(stored) for stored in item.rates) if item else ()
