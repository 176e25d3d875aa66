"""A practice's policy of cancelling and no-shows, as it is set and stored.

Source of the shape: the rules of money and booking, §9. What it means for one appointment is
money's to compute; every appointment keeps the copy that it was booked under.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from consulta.core.http import ApiModel

Seconds = Annotated[int, Field(ge=0, le=366 * 86_400)]


class Keep(ApiModel):
    """What the practice keeps: ``fixed`` minor units and ``percent`` of the base, at most all."""

    fixed: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    percent: Annotated[int, Field(ge=0, le=100)] = 0


class CancelStep(ApiModel):
    """Cancelled at least ``min_notice_s`` seconds before the start: this is kept."""

    min_notice_s: Seconds
    keep: Keep


class NoShow(Keep):
    """The patient did not come. No card is kept, so none can be charged."""

    charge_card: Literal[False] = False


class Reschedule(ApiModel):
    """How patients move what they booked: free until ``free_until_s`` before, ``max`` times.

    ``inside`` that it is denied, or costs what cancelling at that moment would keep of the price.
    """

    free_until_s: Seconds = 86_400
    max: Annotated[int, Field(ge=0, le=100)] = 3
    inside: Literal["deny", "fee"] = "deny"


class Package(ApiModel):
    """Unused sessions of a package. ``valid_until`` is a date, or open."""

    unused: Literal["prorata", "none"] = "prorata"
    late: Literal["forfeits", "returns"] = "forfeits"
    valid_until: Annotated[str | None, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = None


class Statutory(ApiModel):
    """The consumer's legal right to withdraw: so many times 24 hours after booking, all goes back.

    Only a patient waives it, for one booking: there ``waived_at`` says when, in RFC 3339.
    """

    withdraw_days: Annotated[int, Field(ge=0, le=90)] = 0
    waived_at: None = None


class ExpertCancel(ApiModel):
    """The practice cancels: nothing is kept, whatever the notice."""

    keep: Literal[0] = 0


def _free_until_a_day() -> list[CancelStep]:
    return [
        CancelStep(min_notice_s=86_400, keep=Keep()),
        CancelStep(min_notice_s=0, keep=Keep(percent=50)),
    ]


class PolicySettings(ApiModel):
    """What a practice may set. The defaults are a new practice's: free until a day before.

    The commission goes back with what is refunded, in proportion, whatever the reason.
    """

    refund_base: Literal["paid", "price"] = "paid"
    commission_returned: Literal[True] = True
    cancel: list[CancelStep] = Field(min_length=1, max_length=10, default_factory=_free_until_a_day)
    no_show: NoShow = NoShow(percent=100)
    expert_cancel: ExpertCancel = ExpertCancel()
    reschedule: Reschedule = Reschedule()
    package: Package = Package()
    statutory: Statutory = Statutory()

    @model_validator(mode="after")
    def _descending(self) -> Self:
        notices = [step.min_notice_s for step in self.cancel]
        if notices != sorted(set(notices), reverse=True) or notices[-1] != 0:
            raise ValueError("cancel: the steps' min_notice_s must fall, and the last must be 0")
        return self


def to_stored(settings: PolicySettings, currency: str, version: int) -> dict[str, Any]:
    """The policy as a practice's item and every appointment have it."""
    return {"version": version, "currency": currency, **settings.model_dump(mode="json")}


def default_policy(currency: str) -> dict[str, Any]:
    """A new practice's policy."""
    return to_stored(PolicySettings(), currency, 1)
