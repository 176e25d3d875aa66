"""Practices and their owners."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from consulta.core.fields import Currency, Name, Zone
from consulta.core.http import ApiModel, Id
from consulta.people.contact import Email, is_country
from consulta.people.passwords import NewPassword
from consulta.people.policy import PolicySettings
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.fields import Version


def _country(value: str) -> str:
    if not is_country(value):
        raise ValueError("not an ISO 3166-1 alpha-2 country, like ES")
    return value


Country = Annotated[str, StringConstraints(max_length=2), AfterValidator(_country)]
# A service's name is health data: what Stripe's pages show of it is neutral unless it is chosen.
StripeLabels = Literal["neutral", "service"]
TaxId = Annotated[str, StringConstraints(max_length=40, pattern=r"^[^\x00-\x1f\x7f]*$")]
Address = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2)]


class OwnerIn(ApiModel):
    """A new practice's owner. Without a temporary password they get one by mail."""

    email: Email
    name: Name
    temporary_password: NewPassword | None = None
    expert: ExpertIn | None = None


class PracticeIn(ApiModel):
    """A new practice. ``commission_percent`` is the platform's share, two decimals at most."""

    name: Name
    zone: Zone
    currency: Currency
    country: Country
    commission_percent: Percent
    owner: OwnerIn


class SecuritySettings(ApiModel):
    """What a practice's owner opened or demands.

    ``mfa_required``: members come in with a second factor only. ``experts_see_all``: experts see
    everybody's appointments, not just their own. ``self_sign_up``: patients make logins themselves.
    """

    mfa_required: bool = False
    experts_see_all: bool = False
    self_sign_up: bool = False


class SecurityPatch(ApiModel):
    """What of the security changes; only owners may."""

    mfa_required: bool | None = None
    experts_see_all: bool | None = None
    self_sign_up: bool | None = None


class PracticePatch(ApiModel):
    """What of a practice changes. Its currency never does: money has been booked in it.

    ``tax_id`` and ``address`` stand on receipts; an empty text takes them off.
    """

    name: Name | None = None
    zone: Zone | None = None
    policy: PolicySettings | None = None
    security: SecurityPatch | None = None
    stripe_labels: StripeLabels | None = None
    tax_id: TaxId | None = None
    address: Address | None = None


class PlanIn(ApiModel):
    """The plan that a practice is on, or none."""

    plan_id: Id | None


class PracticeOut(ApiModel):
    """A practice.

    Patients see no ``commission_percent``, ``security``, ``stripe_labels`` and ``plan_id``.
    """

    id: Id
    name: str
    zone: str
    currency: str
    country: str
    commission_percent: str | None
    policy: dict[str, Any]
    security: SecuritySettings | None
    stripe_labels: StripeLabels | None
    plan_id: Id | None = None
    tax_id: str = ""
    address: str = ""
    created_at: datetime
    version: Version


class PracticeCreated(PracticeOut):
    """A new practice and its owner's member id."""

    owner_member_id: Id


class PracticePage(ApiModel):
    """Practices, the newest first."""

    items: list[PracticeOut]
    next_cursor: str | None
