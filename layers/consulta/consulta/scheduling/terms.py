"""What the terms of a booking say at one moment: the step in force, and what it keeps. Pure.

Source: MONEY_AND_BOOKING_RULES §9. Terms are the snapshot that an appointment or a package was
booked under; ``consulta.people.policy`` has its shape. What goes back of a payment is
:mod:`consulta.money.appointments.policy`'s to say.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from consulta.core.money import MAX_AMOUNT, share
from consulta.core.time import from_text, to_text
from consulta.scheduling.pricing import PERCENT_IN_BASIS_POINTS, coarse

Terms = Mapping[str, Any]


def step_of(terms: Terms, notice_s: float) -> Mapping[str, Any]:
    """The step of cancelling at so many seconds of notice; its boundary belongs to it.

    The last one holds after the start too: whoever cancels then has given no notice at all.
    """
    steps = terms["cancel"]
    found: Mapping[str, Any] = next((s for s in steps if notice_s >= s["min_notice_s"]), steps[-1])
    return found


def keeps_something(step: Mapping[str, Any]) -> bool:
    """Whether anything of a price is kept under it."""
    return bool(step["keep"].get("fixed") or step["keep"].get("percent"))


def keep(paid: int, base: int, fixed: int, percent: int) -> int:
    """What the practice keeps of ``paid``: ``fixed`` + ``percent`` of ``base``, never more.

    In minor units; the share is rounded half to even.
    """
    return min(paid, fixed + share(base, percent * PERCENT_IN_BASIS_POINTS))


# ---------------------------------------------------------------- the right to withdraw


def withdraw_until(
    terms: Terms, booked: datetime, start: datetime | None = None
) -> datetime | None:
    """Until when a consumer may withdraw by law, that instant included; None where they may not.

    So many times 24 hours after it was booked, but not after the ``start`` of what was booked: it
    was given, or missed, then. Nobody who has waived it may.
    """
    statutory = terms.get("statutory") or {}
    days = int(statutory.get("withdraw_days") or 0)
    if not days or statutory.get("waived_at"):
        return None
    ends = booked + timedelta(days=days)
    return ends if start is None else min(ends, start)


def is_within(until: datetime | None, at: datetime) -> bool:
    """Whether it can be withdrawn from at that moment."""
    return until is not None and at <= until


def waived(terms: Terms, at: datetime) -> dict[str, Any]:
    """The same terms, with the right to withdraw waived; as they are where they give none."""
    statutory = terms.get("statutory") or {}
    if not statutory.get("withdraw_days"):
        return dict(terms)
    return {**terms, "statutory": {**statutory, "waived_at": to_text(at)}}


def waived_at(terms: Terms) -> datetime | None:
    """When the right to withdraw was waived, if it was."""
    stored = (terms.get("statutory") or {}).get("waived_at")
    return from_text(stored) if stored else None


# ---------------------------------------------------------------- moving it late


def moving_fee(terms: Terms, price: int, currency: str, notice_s: float) -> int:
    """What moving a booking costs inside the window: what cancelling would keep of its price.

    In minor units of ``currency``, rounded down to what a provider can move; price and fee together
    are at most what an amount can be.
    """
    rule = step_of(terms, notice_s)["keep"]
    kept = keep(price, price, int(rule.get("fixed", 0)), int(rule.get("percent", 0)))
    return coarse(max(min(kept, MAX_AMOUNT - price), 0), currency)
