"""Reading figures: what dashboards and reports are made of. Never reads history.

Subjects are ``PRACTICE``, ``EXPERT``, ``SERVICE`` and ``PATIENT``; docs/figures.md lists what each
row holds. Money figures end in their currency: ``collected.EUR``, in minor units.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from consulta.aggregates import contributions
from consulta.aggregates.contributions import TOTAL, AggregateKey
from consulta.aggregates.rows import WALK, aggregates_table, figures_key
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.money import Money
from consulta.core.table import Raw

PAGE = 500


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
        values = {name: int(value["N"]) for name, value in raw.items() if "N" in value}
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


def _range(tenant: Tenant, first: AggregateKey, last: str) -> Iterable[tuple[str, Figures]]:
    low = figures_key(tenant, first)
    query = table.Query(low.pk, low=low.sk, high=last, table=aggregates_table())
    return ((raw["sk"]["S"], Figures.of(raw)) for raw in query.all(PAGE))


def is_complete(walk: Figures) -> bool:
    """Whether a practice's walk for the present figures has ended.

    ``walk`` is the practice's row of the period ``WALK``. Until then older items may be missing in
    a figure that is new. The first generation needs no walk: every item was counted as it came.
    """
    return walk.get("done", 1) >= contributions.GENERATION


def latest(rows: Iterable[Figures]) -> str | None:
    """When any of ``rows`` last changed."""
    return max((row.updated_at for row in rows if row.updated_at), default=None)


__all__ = [
    "TOTAL",
    "WALK",
    "Figures",
    "day",
    "days",
    "is_complete",
    "latest",
    "month",
    "months",
    "read",
]
