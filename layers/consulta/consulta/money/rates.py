"""Which commission holds for a payment: a practice's dated rate table.

A row is a fixed part plus a percentage, from a local day of the practice on, for one currency: for
the whole practice, or for one of its services. A service's own row comes before the practice's,
whichever is younger; where no row holds, the practice's ``commission_bps`` does. The rate that was
used is stamped on the payment, so that a table that changes never changes what was agreed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Self

from pynamodb.attributes import JSONAttribute

from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.item import Item
from consulta.core.keys import Key, Tenant
from consulta.core.money import share
from consulta.people.records import PRACTICE, PracticeItem

RATES = "RATES"


class Scope(StrEnum):
    """What a rate was made for; ``default`` is the practice's own percentage."""

    SERVICE = "service"
    PRACTICE = "practice"
    DEFAULT = "default"


class RatesItem(Item):
    """A practice's rate table, a part of its item.

    ``rates``: [{"from", "fixed", "percent_bps", "currency", "service_id", "plan_id"}, …], the
    latest ``from`` first; ``fixed`` in minor units of ``currency``.
    """

    rates = JSONAttribute()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. A plan's row is kept, and holds for no payment yet."""

    starts: date
    fixed: int
    percent_bps: int
    currency: str
    service_id: str | None = None
    plan_id: str | None = None

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
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """What holds for one payment. ``starts`` is None for the default, which has no date."""

    fixed: int
    percent_bps: int
    starts: date | None
    scope: Scope

    def of(self, amount: int) -> int:
        """The commission of ``amount`` minor units: rounded half to even, never above it."""
        return min(max(amount, 0), self.fixed + share(max(amount, 0), self.percent_bps))

    def to_stored(self) -> dict[str, Any]:
        """As it is stamped on a payment."""
        return {
            "fixed": self.fixed,
            "percent_bps": self.percent_bps,
            "from": self.starts.isoformat() if self.starts else None,
            "scope": str(self.scope),
        }


@dataclass(frozen=True, slots=True)
class RateTable:
    """A practice's rows and its default, in any order."""

    default_bps: int
    rows: tuple[Row, ...] = ()

    def chosen(self, service_id: str, currency: str, day: date) -> Rate:
        """The rate of a payment that is made on the practice's local ``day``."""
        begun = [
            row
            for row in self.rows
            if row.starts <= day and row.currency == currency and row.plan_id is None
        ]
        return (
            _latest((row for row in begun if row.service_id == service_id), Scope.SERVICE)
            or _latest((row for row in begun if row.service_id is None), Scope.PRACTICE)
            or Rate(0, self.default_bps, None, Scope.DEFAULT)
        )


def _latest(rows: Iterable[Row], scope: Scope) -> Rate | None:
    row = max(rows, key=lambda row: row.starts, default=None)
    return Rate(row.fixed, row.percent_bps, row.starts, scope) if row else None


def commission(rates: RateTable, service_id: str, amount: int, currency: str, day: date) -> int:
    """The platform's share of ``amount`` minor units, paid for a service on a local day."""
    return rates.chosen(service_id, currency, day).of(amount)


def key_of(tenant: Tenant) -> Key:
    """Where a practice's rate table is."""
    return tenant.sub(PRACTICE, tenant.practice, RATES)


def read(tenant: Tenant) -> tuple[PracticeItem, RatesItem | None]:
    """A practice and its rate table, consistently, in one read. Raises NotFound."""
    practice_key, rates_key = tenant.item(PRACTICE, tenant.practice), key_of(tenant)
    found = table.batch_get_raw([practice_key, rates_key])
    if practice_key not in found:
        raise NotFound
    known = found.get(rates_key)
    return PracticeItem.read(found[practice_key]), RatesItem.read(known) if known else None


def table_of(practice: PracticeItem, item: RatesItem | None) -> RateTable:
    """What :func:`read` found, to choose from."""
    rows = tuple(Row.read(stored) for stored in item.rates) if item else ()
    return RateTable(int(practice.commission_bps), rows)
