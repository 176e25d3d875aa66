"""API models of people: what comes in and what goes out."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Header
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from consulta.core.fields import Currency, Name, Text, Zone
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role
from consulta.people.contact import Email, is_country
from consulta.people.passwords import NewPassword, Password
from consulta.people.policy import PolicySettings


def _country(value: str) -> str:
    if not is_country(value):
        raise ValueError("not an ISO 3166-1 alpha-2 country, like ES")
    return value


Title = Annotated[str, StringConstraints(max_length=120, pattern=r"^[^\x00-\x1f\x7f]*$")]
Country = Annotated[str, StringConstraints(max_length=2), AfterValidator(_country)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")]
Languages = Annotated[list[Language], Field(max_length=20)]
Percent = Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2)]
Phone = Annotated[str, StringConstraints(min_length=4, max_length=32)]
Version = Annotated[int, Field(ge=1)]


# signing in

CsrfHeader = Annotated[str | None, Header(alias="Consulta-CSRF", max_length=1, description="1")]
PracticeHeader = Annotated[str | None, Header(alias="Consulta-Practice", max_length=40)]

_BEARER: Literal["Bearer"] = "Bearer"


class LoginIn(ApiModel):
    """An email address and its password."""

    email: Email
    password: Password


class ChallengeIn(ApiModel):
    """The answer to ``new_password_required``; ``session`` as the challenge gave it."""

    email: Email
    session: Annotated[str, StringConstraints(min_length=20, max_length=2_048)]
    new_password: NewPassword


class SignedInOut(ApiModel):
    """The access token, good for ``expires_in`` seconds; the refresh token is in the cookie."""

    access_token: str
    token_type: Literal["Bearer"] = _BEARER
    expires_in: int


class ChallengeOut(ApiModel):
    """The password is right; a new one is wanted, with this ``session``."""

    challenge: Literal["new_password_required"] = "new_password_required"
    session: str


class PracticeName(ApiModel):
    """A practice in short."""

    id: Id
    name: str


class MembershipOut(ApiModel):
    """The caller's place in one practice."""

    practice: PracticeName
    role: Role
    member_id: Id
    expert_id: Id | None = None
    patient_id: Id | None = None


class MeOut(ApiModel):
    """Who is signed in. ``permissions`` are those in the chosen practice, if one is chosen."""

    person_id: str
    email: str
    name: str
    operator: bool
    memberships: list[MembershipOut]
    practice: PracticeName | None
    role: Role | None
    permissions: list[str]


# practices


class ExpertIn(ApiModel):
    """The profile that a member who sees patients starts with."""

    title: Title = ""
    bio: Text = ""
    languages: Languages = Field(default_factory=list)
    zone: Zone


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


class PracticePatch(ApiModel):
    """What of a practice changes. Its currency never does: money has been booked in it."""

    name: Name | None = None
    zone: Zone | None = None
    policy: PolicySettings | None = None


class PracticeOut(ApiModel):
    """A practice. Patients are not shown ``commission_percent``."""

    id: Id
    name: str
    zone: str
    currency: str
    country: str
    commission_percent: str | None
    policy: dict[str, Any]
    created_at: datetime
    version: Version


class PracticeCreated(PracticeOut):
    """A new practice and its owner's member id."""

    owner_member_id: Id


class PracticePage(ApiModel):
    """Practices, the newest first."""

    items: list[PracticeOut]
    next_cursor: str | None


# members


class MemberIn(ApiModel):
    """Let somebody in. ``expert`` for who sees patients, ``patient_id`` for a patient's login."""

    email: Email
    name: Name
    role: Literal["owner", "admin", "expert", "billing", "viewer", "patient"]
    temporary_password: NewPassword
    patient_id: Id | None = None
    expert: ExpertIn | None = None

    @model_validator(mode="after")
    def _subject(self) -> Self:
        role = Role(self.role)
        if (role is Role.PATIENT) != (self.patient_id is not None):
            raise ValueError("patient_id belongs to the role patient, and the role needs it")
        if role is Role.EXPERT and self.expert is None:
            raise ValueError("the role expert needs expert")
        if self.expert is not None and role not in {Role.OWNER, Role.ADMIN, Role.EXPERT}:
            raise ValueError("only an owner, an admin or an expert sees patients")
        return self


class MemberOut(ApiModel):
    """A member of the practice, or a patient's login."""

    id: Id
    email: str
    name: str
    role: Role
    expert_id: Id | None
    patient_id: Id | None
    created_at: datetime
    version: Version


class MemberPage(ApiModel):
    """Members in the order in which they came."""

    items: list[MemberOut]
    next_cursor: str | None


# experts


class ExpertPatch(ApiModel):
    """What of a profile changes."""

    name: Name | None = None
    title: Title | None = None
    bio: Text | None = None
    languages: Languages | None = None
    zone: Zone | None = None


class ExpertOut(ApiModel):
    """An expert's public profile."""

    id: Id
    name: str
    title: str
    bio: str
    languages: list[str]
    zone: str
    published: bool
    version: Version


class ExpertPage(ApiModel):
    """Experts in the order in which they came."""

    items: list[ExpertOut]
    next_cursor: str | None


class SetupStepOut(ApiModel):
    """One step of an expert's set-up, and where it is done."""

    name: Literal["profile", "availability", "services", "identity", "payments", "calendar"]
    done: bool
    required: bool
    href: str


class SetupOut(ApiModel):
    """How far an expert's set-up is."""

    done: int
    total: int
    steps: list[SetupStepOut]
    can_publish: bool


# patients


class PatientIn(ApiModel):
    """A new patient. A phone without ``+`` is read as one of the practice's country."""

    name: Name
    phone: Phone
    email: Email | None = None
    notes: Text | None = None


class PatientPatch(ApiModel):
    """What of a patient changes; ``null`` clears email or notes."""

    name: Name | None = None
    phone: Phone | None = None
    email: Email | None = None
    notes: Text | None = None


class PatientSearchIn(ApiModel):
    """One of: the beginning of a name, a whole phone number, a whole email address."""

    name: Annotated[str | None, StringConstraints(min_length=2, max_length=120)] = None
    phone: Phone | None = None
    email: Email | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.name, self.phone, self.email)) != 1:
            raise ValueError("give one of name, phone and email")
        return self


class PatientOut(ApiModel):
    """A patient. ``notes`` only for who may write patients."""

    id: Id
    name: str
    phone: str | None
    email: str | None
    notes: str | None
    trust: str
    created_at: datetime
    version: Version


class PatientPage(ApiModel):
    """Patients, the newest first."""

    items: list[PatientOut]
    next_cursor: str | None


class PatientMatches(ApiModel):
    """What a search found, at most twenty, by name."""

    items: list[PatientOut]
