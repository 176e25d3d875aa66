"""What is done to a booked time, and what that would mean."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from consulta.core.fields import Amount, Currency, printable
from consulta.core.http import ApiModel
from consulta.scheduling.schema.booking import GivenReason


class PreviewRequest(ApiModel):
    """Why it would be cancelled: whose terms hold depends on it."""

    reason_code: GivenReason


class Kept(ApiModel):
    """What a rule lets the practice keep: ``fixed`` minor units and ``percent`` of the base."""

    fixed: int
    percent: int


class Step(ApiModel):
    """The rule of the booking's policy that was applied.

    ``cancel`` with the notice that it asks for at least; ``expert_cancel``, the practice's own
    cancelling, for which there is no notice; or ``statutory``: the patient withdraws by law.
    """

    rule: Literal["cancel", "expert_cancel", "statutory"]
    min_notice_s: int | None = None
    keep: Kept | None = None


class PreviewLine(ApiModel):
    """One line, as a person reads it."""

    name: Literal["paid", "kept", "refund"]
    amount: Amount


class CancellationPreview(ApiModel):
    """What cancelling now gives back, under the policy that the booking was made under.

    It holds until ``valid_until``, that instant included (null: for good), as long as nothing is
    paid or given back meanwhile. ``session``: what becomes of it, where it is one of a package;
    its price counts only if the package was cancelled. Send ``hash`` as ``preview_hash`` to cancel
    just so.
    """

    currency: Currency
    lines: list[PreviewLine]
    paid: Amount
    kept: Amount
    refund: Amount
    commission_returned: bool
    step: Step
    valid_until: datetime | None
    session: Literal["returned", "forfeited"] | None
    hash: str


class MarkPaidRequest(ApiModel):
    """A member has taken all that is left of the price, or the ``part`` that is said.

    ``received_at`` is the practice's calendar day.
    """

    part: Literal["full", "deposit", "remainder"] | None = None
    method: Literal["cash", "transfer"]
    received_at: date
    notes: Annotated[str, StringConstraints(max_length=200), AfterValidator(printable)] = ""
