"""What is kept and what goes back when an appointment does not take place. Pure.

Source: MONEY_AND_BOOKING_RULES §9. A policy is the snapshot that an appointment was booked under;
``consulta.people.policy`` has its shape and a new practice's default: free until 24 hours before,
then half of it is kept, all of it for a no-show, nothing where the practice cancels, or where the
patient withdraws by law in time; our commission goes back with the money.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from consulta.scheduling.terms import is_within, keep, keeps_something, step_of

Policy = Mapping[str, Any]


class Party(StrEnum):
    """Who calls it off."""

    PATIENT = "patient"
    PRACTICE = "practice"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a preview, in minor units."""

    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What cancelling now would mean. Amounts in minor units of ``currency``.

    ``step`` is the rule that was applied; the same answer holds until ``valid_until``, that instant
    included (None: for good). ``session``: what becomes of a package's session, returned or
    forfeited, if it is one. ``hash`` changes with the answer.
    """

    currency: str
    paid: int
    kept: int
    refund: int
    commission_returned: bool
    step: dict[str, Any]
    valid_until: datetime | None
    session: Literal["returned", "forfeited"] | None = None

    def giving_back(self, refund: int) -> "Preview":
        """The same where only ``refund`` can be moved: never less than the policy gives back."""
        return replace(self, refund=refund, kept=self.paid - refund)

    @property
    def lines(self) -> tuple[Line, ...]:
        """As a person reads it."""
        return (Line("paid", self.paid), Line("kept", self.kept), Line("refund", self.refund))

    @property
    def hash(self) -> str:
        """Of the answer: cancelling carries it, and is refused where the answer has changed."""
        answer = [self.currency, self.paid, self.kept, self.commission_returned, self.step]
        answer += [self.session] if self.session else []
        text = json.dumps(answer, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _kept(policy: Policy, rule: Mapping[str, Any], paid: int, price: int) -> int:
    base = price if policy["refund_base"] == "price" else paid
    return keep(paid, base, int(rule.get("fixed", 0)), int(rule.get("percent", 0)))


def preview(
    policy: Policy,
    *,
    paid: int,
    price: int,
    start: datetime,
    at: datetime,
    by: Party,
    withdraw_until: datetime | None = None,
) -> Preview:
    """What cancelling at ``at`` gives back.

    ``paid`` is what was collected and not refunded yet. ``start`` is the appointment's, or the
    earlier one where it was rescheduled inside the window. Notice is elapsed time, and a step's
    boundary belongs to it. ``withdraw_until``: until when the patient may withdraw by law, which
    counts where a step would keep something.
    """
    if by is Party.PRACTICE:
        kept = min(paid, int(policy["expert_cancel"]["keep"]))
        return _preview(policy, paid, kept, {"rule": "expert_cancel"}, None)
    step = step_of(policy, (start - at).total_seconds())
    if keeps_something(step) and is_within(withdraw_until, at):
        return _preview(policy, paid, 0, {"rule": "statutory"}, withdraw_until)
    kept = _kept(policy, step["keep"], paid, price)
    valid_until = start - timedelta(seconds=int(step["min_notice_s"]))
    used = {"rule": "cancel", "min_notice_s": step["min_notice_s"], "keep": dict(step["keep"])}
    return _preview(policy, paid, kept, used, None if step is policy["cancel"][-1] else valid_until)


def no_show(policy: Policy, *, paid: int, price: int) -> Preview:
    """What a patient who did not come gets back."""
    rule = {name: policy["no_show"][name] for name in ("fixed", "percent")}
    kept = _kept(policy, rule, paid, price)
    return _preview(policy, paid, kept, {"rule": "no_show", "keep": rule}, None)


def _preview(
    policy: Policy, paid: int, kept: int, step: dict[str, Any], valid_until: datetime | None
) -> Preview:
    return Preview(
        currency=policy["currency"],
        paid=paid,
        kept=kept,
        refund=paid - kept,
        commission_returned=bool(policy["commission_returned"]),
        step=step,
        valid_until=valid_until,
    )
