"""Reading figures: what dashboards and reports are made of. Never reads history.

docs/figures.md lists the subjects and what each row holds. Money figures end in their currency:
``collected.EUR``, in minor units.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from consulta.aggregates import catalog
from consulta.aggregates.catalog import TOTAL, WALK, AggregateKey, aggregates_table, figures_key
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.money import Money
from consulta.core.table import Raw

PAGE = 500
REV = "rev"


class Figures(dict[str, int]):
    """One row: figure → value. A figure that is not in the row is 0, and so is an absent row.

    ``updated_at`` is when the row last changed (RFC 3339 in UTC), or None for an absent row.
    """

    def __init__(self, values: dict[str, int] | None = None, updated_at: str | None = None) -> None:
        super().__init__(values or {})
        self.updated_at = updated_at

    def __missing__(self, name: str) -> int:
        return 0

    def money(self, name: str) -> dict[str, Money]:
        """A money figure in every currency that it is not zero in, by currency."""
        return {
            currency: Money(value, currency)
            for figure, value in sorted(self.items())
            for prefix, _, currency in [figure.partition(".")]
            if value and prefix == name and currency
        }

    @classmethod
    def of(cls, raw: Raw | None) -> "Figures":
        """The row of DynamoDB's attribute map."""
        if raw is None:
            return cls()
        values = {n: int(value["N"]) for n, value in raw.items() if "N" in value and n != REV}
        return cls(values, raw.get("updated_at", {}).get("S"))


def month(day: date) -> str:
    """The period of the month of ``day``."""
    return f"M#{day:%Y-%m}"


def day(of: date) -> str:
    """The period of one day."""
    return f"D#{of.isoformat()}"


def read(
    tenant: Tenant, wanted: Sequence[tuple[str, str, str]], *, consistent: bool = False
) -> dict[tuple[str, str, str], Figures]:
    """Rows by (subject, subject id, period), in one call per hundred; every one is answered.

    Figures follow the items by a moment anyway, so that a consistent read, which costs double,
    gains nothing outside tests.
    """
    keys = {key: figures_key(tenant, AggregateKey(*key)) for key in wanted}
    found = table.batch_get_raw(
        list(keys.values()), consistent=consistent, table=aggregates_table()
    )
    return {key: Figures.of(found.get(where)) for key, where in keys.items()}


def days(
    tenant: Tenant, subject: str, subject_id: str, first: date, last: date
) -> dict[date, Figures]:
    """A PRACTICE's or EXPERT's days that have figures, ``last`` included, in order: one range."""
    rows = _range(tenant, AggregateKey(subject, subject_id, day(first)), day(last))
    return {date.fromisoformat(period[2:]): figures for period, figures in rows}


def months(
    tenant: Tenant, subject: str, subject_id: str, first: date, last: date
) -> dict[date, Figures]:
    """The months that have figures, by their first day, in order: one range."""
    rows = _range(tenant, AggregateKey(subject, subject_id, month(first)), month(last))
    return {date.fromisoformat(f"{period[2:]}-01"): figures for period, figures in rows}


def by_member(
    tenant: Tenant, subject: str, first: date, last: date, *, months: bool = False
) -> list[tuple[date, str, Figures]]:
    """All SERVICES, EXPERTS or PATIENTS of a practice side by side: (day, id, row), in order.

    The days ``first`` to ``last``, or the months of both, each by its first day. One range, as
    long as those who had anything on those days.
    """
    period = month if months else day
    # "~" comes after every id.
    rows = _range(
        tenant, AggregateKey(subject, tenant.practice, period(first)), f"{period(last)}#~"
    )
    found = []
    for where, row in rows:
        _, on, member = where.split("#", 2)
        found.append((date.fromisoformat(f"{on}-01" if months else on), member, row))
    return found


def _range(tenant: Tenant, first: AggregateKey, last: str) -> Iterable[tuple[str, Figures]]:
    low = figures_key(tenant, first)
    query = table.Query(low.pk, low=low.sk, high=last, table=aggregates_table())
    return ((raw["sk"]["S"], Figures.of(raw)) for raw in query.all(PAGE))


def is_complete(walk: Figures, *names: str) -> bool:
    """Whether these figures count every older item too; without names, whether all figures do.

    ``walk`` is the practice's row of the period ``WALK``: until the walk of a new figure has ended,
    older items may be missing in it. The first generation needs no walk: every item was counted as
    it came. Names may be with or without what comes after their dot.
    """
    since = (catalog.SINCE.get(name.partition(".")[0], 1) for name in names)
    wanted = max(since) if names else catalog.GENERATION
    return walk.get("done", 1) >= wanted


def latest(rows: Iterable[Figures]) -> str | None:
    """When any of ``rows`` last changed."""
    return max((row.updated_at for row in rows if row.updated_at), default=None)


__all__ = [
    "TOTAL",
    "WALK",
    "Figures",
    "by_member",
    "day",
    "days",
    "is_complete",
    "latest",
    "month",
    "months",
    "read",
]
