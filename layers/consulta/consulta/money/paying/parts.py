"""What of an order one payment pays: all of it, the deposit, or what is left after that.

Source: MONEY_AND_BOOKING_RULES §2, "deposit, then remainder": two payments of one order. Amounts
come from what was agreed when it was booked; amount, tax and commission of the two add up to those
of the whole, to the last minor unit. The fee for a late move is such a remainder, too: what was
paid before it is the deposit then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from consulta.core.errors import Invalid
from consulta.core.money import proportion
from consulta.money import currencies, rates
from consulta.money.rates import Rate
from consulta.money.records import PaymentItem
from consulta.scheduling.records import AppointmentItem, PackageItem, PaymentStatus

type PaidFor = AppointmentItem | PackageItem

UNPAID = frozenset({PaymentStatus.UNPAID, PaymentStatus.PROCESSING})


class Part(StrEnum):
    """What of an order a payment is for."""

    FULL = "full"
    DEPOSIT = "deposit"
    REMAINDER = "remainder"


@dataclass(frozen=True, slots=True)
class Share:
    """One part of what is owed, and the tax within it, in minor units."""

    part: Part
    amount: int
    tax: int


def deposit_of(wanted: PaidFor) -> int:
    """What is paid first, in minor units: a deposit, or all but a fee; 0 where there is neither."""
    return int(wanted.deposit or 0) if isinstance(wanted, AppointmentItem) else 0


def fee_of(wanted: PaidFor) -> int:
    """What of the price is for a late move, in minor units; 0 without one."""
    return int(wanted.fee or 0) if isinstance(wanted, AppointmentItem) else 0


def share_of(wanted: PaidFor, part: Part) -> Share:
    """What this part comes to. Raises Invalid (``body.part``) where no deposit was agreed on."""
    price, tax = int(wanted.price), int(wanted.tax["amount"]) if wanted.tax else 0
    if part is Part.FULL:
        return Share(part, price, tax)
    deposit = deposit_of(wanted)
    if not deposit:
        raise Invalid.of("body.part", "It is paid as a whole: no deposit is asked for", "deposit")
    within = _deposit_tax(wanted, proportion(tax, deposit, price))
    if part is Part.DEPOSIT:
        return Share(part, deposit, within)
    return Share(part, price - deposit, tax - within)


def _deposit_tax(wanted: PaidFor, in_proportion: int) -> int:
    if not isinstance(wanted, AppointmentItem) or wanted.deposit_tax is None:
        return in_proportion
    return int(wanted.deposit_tax)


def due_part(wanted: PaidFor) -> Part:
    """What is asked for next: after a deposit the rest, before it the deposit, else all."""
    if wanted.payment_status == PaymentStatus.DEPOSIT_PAID:
        return Part.REMAINDER
    return Part.DEPOSIT if deposit_of(wanted) else Part.FULL


def outstanding_part(wanted: PaidFor) -> Part:
    """All that is left: the rest after a deposit, else the whole."""
    paid = wanted.payment_status == PaymentStatus.DEPOSIT_PAID
    return Part.REMAINDER if paid else Part.FULL


def is_due(wanted: PaidFor, part: Part) -> bool:
    """Whether this part can be paid now, as far as what was paid goes."""
    if wanted.payment_status == PaymentStatus.DEPOSIT_PAID:
        return part is Part.REMAINDER
    return wanted.payment_status in UNPAID and part is not Part.REMAINDER


def of_amount(wanted: PaidFor, amount: int) -> Share | None:
    """The part that comes to this amount; of two the one that can be paid now."""
    every = [Part.FULL, *([Part.DEPOSIT, Part.REMAINDER] if deposit_of(wanted) else [])]
    every.sort(key=lambda part: not is_due(wanted, part))
    shares = (share_of(wanted, part) for part in every)
    return next((share for share in shares if share.amount == amount), None)


# ---------------------------------------------------------------- the platform's part of it


def agreed_rate(before: PaymentItem | None) -> Rate | None:
    """The rate of the deposit, which holds for the rest too; None where nothing was taken of it."""
    stored: Mapping[str, Any] | None = before.rate if before else None
    if not stored:
        return None
    starts = stored["from"]
    return Rate(
        int(stored["fixed"]),
        int(stored["percent_bps"]),
        date.fromisoformat(starts) if starts else None,
        rates.Scope(stored["scope"]),
        int(stored.get("tax_bps", 0)),
        bool(stored.get("on_manual")),
    )


def commission_of(
    rate: Rate, amount: int, provider: str, currency: str, before: PaymentItem | None
) -> tuple[int, int]:
    """The commission of one payment and the tax within that.

    ``before`` is the deposit where this is the rest: what was taken of it counts, so that both come
    to the commission of the whole, its fixed part once.
    """
    if before is None or not before.rate:
        commission = currencies.movable(provider, rate.of(amount), currency)
        return commission, rates.contained_tax(commission, rate.tax_bps)
    had, had_tax = int(before.commission), int(before.commission_tax)
    rest = min(max(rate.of(int(before.amount) + amount) - had, 0), amount)
    commission = currencies.movable(provider, rest, currency)
    return commission, rates.contained_tax(had + commission, rate.tax_bps) - had_tax
