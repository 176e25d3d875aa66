"""What figures there are, since when, and where: all that who reads them has to know.

How they are counted is in ``contributions``, and which one has what in docs/figures.md.
"""

from typing import NamedTuple

from consulta.core import settings
from consulta.core.keys import Key, Tenant
from consulta.people.records import PRACTICE

# The version of what items contribute. It rises with every change of that.
GENERATION = 4
# From which generation on a figure is counted; the others, from the first. What is older than that
# is missing in it until a walk of its practice has ended.
SINCE = {
    **dict.fromkeys(("balance", "earned"), 2),
    **dict.fromkeys(
        (
            *("payment_status", "scheduled", "paid", "paid_completed", "made", "visited"),
            *("services", "reviews", "rating", "rated", "unread", "views"),
        ),
        3,
    ),
}

TOTAL = "TOTAL"

# Figures that not every period has, so TOTAL = Σ MONTH = Σ DAY is not asked of them: distinct
# counts cannot be added up, what awaits payment has no day yet, hours are only inside days.
NOT_ADDITIVE = {
    *("unique_patients", "unique_experts", "awaiting", "patients", "hour", "balance"),
    *("services", "unread"),
}
# The ledger's balances: a row per book (``PAYEE:<id>``, ``PLAT``) of the practice.
BOOK, BALANCE = "BOOK", "balance"
# All services, experts or patients of a practice side by side: rows ``D#2026-11-21#<id>`` and
# ``M#2026-11#<id>``, so that one range answers who had most in any stretch of days.
SERVICES, EXPERTS, PATIENTS = "SERVICES", "EXPERTS", "PATIENTS"
MEMBERS = frozenset({SERVICES, EXPERTS, PATIENTS})
# Patients by the month of their first visit: a row per such month, ``visited.<months later>``.
COHORT, VISITED = "COHORT", "visited"
# Beside a practice's periods: how far a walk of its items has come.
WALK = "WALK"


class AggregateKey(NamedTuple):
    """One row of figures: of whom, and of which period (``TOTAL``, ``M#2026-11``, ``D#…``)."""

    subject: str
    subject_id: str
    period: str


def is_additive(name: str) -> bool:
    """Whether a figure's total is the sum of its months, and of its days where it has days."""
    return name.partition(".")[0] not in NOT_ADDITIVE


def aggregates_table() -> str:
    """The aggregates table's name."""
    name: str = settings.load(settings.Tables).aggregates_table
    return name


def figures_key(tenant: Tenant, key: AggregateKey) -> Key:
    """Where a row of figures is."""
    return tenant.figures(*key)


def walk_key(tenant: Tenant) -> Key:
    """Where it is written which generation of a practice is complete, or being walked."""
    return figures_key(tenant, AggregateKey(PRACTICE, tenant.practice, WALK))
