"""The columns of an export of payments, for both of its formats: pure.

docs/exports.md has the same table.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

Kind = Literal["text", "date", "instant", "money"]


@dataclass(frozen=True, slots=True)
class Column:
    """``key`` names it in both files, and is the payment's attribute where nothing else is said.

    Cells: text ``str``, date ISO 8601, instant ISO 8601 with its offset, money minor units of the
    row's currency; all but money may be None.
    """

    key: str
    kind: Kind = "text"


CURRENCY = "currency"
PATIENT_COLUMNS = (Column("patient_id"), Column("patient_name"))
_COLUMNS = (
    Column("payment_id"),
    Column("created_at", "instant"),
    Column("paid_at", "instant"),
    Column("paid_on", "date"),
    Column("status"),
    Column("part"),
    Column("provider"),
    Column("provider_id"),
    Column("method"),
    Column(CURRENCY),
    Column("amount", "money"),
    Column("captured", "money"),
    Column("refunded", "money"),
    Column("disputed", "money"),
    Column("commission", "money"),
    Column("commission_returned", "money"),
    Column("fee", "money"),
    Column("fee_paid_by"),
    Column("tax", "money"),
    Column("tax_withheld", "money"),
    Column("net", "money"),
    Column("fraud_warning"),
    Column("order_id"),
    Column("appointment_id"),
    Column("package_id"),
    Column("expert_id"),
    Column("service_id"),
)


@cache
def columns(*, patients: bool) -> tuple[Column, ...]:
    """With who paid, or without: for who may not see patients, and for what is mailed."""
    return (*_COLUMNS, *PATIENT_COLUMNS) if patients else _COLUMNS
