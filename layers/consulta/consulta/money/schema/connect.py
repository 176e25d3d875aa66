"""What the connect and account-session resources take and give."""

from datetime import datetime
from typing import Annotated, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import EmailStr, Field, StringConstraints, model_validator

from consulta.core.http import ApiModel
from consulta.core.ids import ID_PATTERN
from consulta.money.accounts.components import ComponentName

PAYEE_PATTERN = f"^practice$|{ID_PATTERN}"

Payee = Annotated[str, StringConstraints(pattern=PAYEE_PATTERN)]
PayeePath = Annotated[str, Path(pattern=PAYEE_PATTERN, description="`practice`, or an expert's id")]
# Kept as it was typed: Mercado Pago compares redirect addresses letter by letter.
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=2048)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Refresh = Annotated[bool, Query(description="Read the account at the provider again")]


class AccountIn(ApiModel):
    """A new connected account. ``country`` is ISO 3166-1 alpha-2.

    ``controller``: who bears losses. ``platform_losses`` gives destination charges, and the
    platform pays Stripe; ``stripe_losses`` gives direct charges, and the account pays.
    """

    payee: Payee = "practice"
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
    controller: Literal["platform_losses", "stripe_losses"] = "platform_losses"


class PayoutSchedule(ApiModel):
    """How often what is available is paid out; ``manual``: only when somebody asks for it.

    ``weekly_anchor`` with ``weekly`` alone, ``monthly_anchor`` (the last day of a shorter month)
    with ``monthly`` alone.
    """

    interval: Literal["daily", "weekly", "monthly", "manual"]
    weekly_anchor: Weekday | None = None
    monthly_anchor: Annotated[int, Field(ge=1, le=31)] | None = None

    @model_validator(mode="after")
    def _anchors_fit(self) -> Self:
        if (self.weekly_anchor is not None) != (self.interval == "weekly"):
            raise ValueError("weekly_anchor belongs to the interval weekly, and to no other")
        if (self.monthly_anchor is not None) != (self.interval == "monthly"):
            raise ValueError("monthly_anchor belongs to the interval monthly, and to no other")
        return self


class AccountPatch(ApiModel):
    """Settings of an account. ``refund_management`` lets refunds be made past our policy.

    ``pix`` offers Pix beside cards for payments in BRL: where Pix is not among the account's
    methods at Stripe, every one of them would be refused.
    ``payout_schedule`` is the payee's own and kept by Stripe; the owner may change it, too.
    """

    on_behalf_of: bool | None = None
    pix: bool | None = None
    refund_management: bool | None = None
    payout_schedule: PayoutSchedule | None = None


class AccountOut(ApiModel):
    """A connected account as it was at ``read_at``."""

    payee: str
    stripe_account: str
    state: Literal["not_submitted", "restricted", "enabled"]
    charge_type: Literal["destination", "direct"]
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    requirements_due: bool
    on_behalf_of: bool
    pix: bool
    refund_management: bool
    payout_schedule: PayoutSchedule | None
    read_at: datetime | None
    version: int


class AccountSearch(ApiModel):
    """The email that an account's owner gave Stripe. In a body, since addresses are logged."""

    email: EmailStr


class AccountFound(ApiModel):
    """A connected account of some practice, as it was when last read."""

    practice: str
    payee: str
    stripe_account: str
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    requirements_due: bool


class AccountMatches(ApiModel):
    """At most 50 accounts; one email may have several."""

    items: list[AccountFound]


class LinkIn(ApiModel):
    """Where Stripe sends the owner back: ``refresh_url`` if the link was no longer good."""

    refresh_url: Url
    return_url: Url


class LinkOut(ApiModel):
    """An onboarding link, good once and for minutes."""

    url: str
    expires_at: datetime


class LoginLinkOut(ApiModel):
    """Into the account's dashboard at Stripe, good once; never stored."""

    url: str


class ConnectionIn(ApiModel):
    """What the seller's consent at Mercado Pago gave."""

    payee: Payee = "practice"
    code: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    redirect_uri: Url


class ConnectionOut(ApiModel):
    """A connection to Mercado Pago, without its tokens."""

    payee: str
    user_id: str
    live: bool
    token_expires_at: datetime
    connected_at: datetime
    version: int


class SessionIn(ApiModel):
    """Of whose account, and, to show less than the role may, which components.

    Without ``payee`` it is the practice; for an expert, themselves.
    """

    payee: Payee | None = None
    components: Annotated[list[ComponentName], Field(min_length=1, max_length=30)] | None = None


class SessionOut(ApiModel):
    """Opens the embedded components once. ``publishable_key`` where one is set up."""

    client_secret: str
    expires_at: datetime
    publishable_key: str | None
    components: list[str]
