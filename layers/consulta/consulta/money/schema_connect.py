"""What the connect and account-session resources take and give."""

from datetime import datetime
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from pydantic import Field, StringConstraints

from consulta.core.http import ApiModel
from consulta.core.ids import ID_PATTERN
from consulta.money.account_components import ComponentName

PAYEE_PATTERN = f"^practice$|{ID_PATTERN}"

Payee = Annotated[str, StringConstraints(pattern=PAYEE_PATTERN)]
PayeePath = Annotated[str, Path(pattern=PAYEE_PATTERN, description="`practice`, or an expert's id")]
# Kept as it was typed: Mercado Pago compares redirect addresses letter by letter.
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=2048)]
Refresh = Annotated[bool, Query(description="Read the account at the provider again")]


class AccountIn(ApiModel):
    """A new connected account. ``country`` is ISO 3166-1 alpha-2.

    ``controller``: who bears losses. ``platform_losses`` gives destination charges, and the
    platform pays Stripe; ``stripe_losses`` gives direct charges, and the account pays.
    """

    payee: Payee = "practice"
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
    controller: Literal["platform_losses", "stripe_losses"] = "platform_losses"


class AccountPatch(ApiModel):
    """Settings of an account. ``refund_management`` lets refunds be made past our policy."""

    on_behalf_of: bool | None = None
    refund_management: bool | None = None


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
    refund_management: bool
    read_at: datetime | None
    version: int


class LinkIn(ApiModel):
    """Where Stripe sends the owner back: ``refresh_url`` if the link was no longer good."""

    refresh_url: Url
    return_url: Url


class LinkOut(ApiModel):
    """An onboarding link, good once and for minutes."""

    url: str
    expires_at: datetime


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
