"""Who is signed in, and where."""

from datetime import datetime
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Path
from pydantic import StringConstraints

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role
from consulta.people.schema.fields import Phone, PracticeName

PracticeHeader = Annotated[str | None, Header(alias="Consulta-Practice", max_length=40)]

SessionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,64}$")]
_CODE = r"^[0-9]{6}$"
CodeHeader = Annotated[
    str,
    Header(
        alias="Consulta-MFA-Code",
        pattern=_CODE,
        description="The authenticator app's current code; a header, as not all clients send a "
        "body with DELETE",
    ),
]


class MembershipOut(ApiModel):
    """The caller's place in one practice.

    ``mfa_required``: the practice lets them in only with a second factor, which this session had
    not.
    """

    practice: PracticeName
    role: Role
    member_id: Id
    expert_id: Id | None = None
    patient_id: Id | None = None
    mfa_required: bool = False


class MeOut(ApiModel):
    """Who is signed in. ``permissions`` are those in the chosen practice, if one is chosen."""

    person_id: str
    email: str
    name: str
    operator: bool
    mfa_enabled: bool
    memberships: list[MembershipOut]
    practice: PracticeName | None
    role: Role | None
    permissions: list[str]


class JoinIn(ApiModel):
    """Become a patient of a practice. A phone without ``+`` is read as one of its country."""

    practice_id: Id
    name: Name
    phone: Phone


class DeviceOut(ApiModel):
    """One device that is signed in. ``expires_at`` is when it ends in any case.

    ``mfa``: a second factor was shown, for all practices. ``mfa_practice_id``: it was not, but this
    practice takes its single sign-on for one.
    """

    id: str
    current: bool
    address: str
    user_agent: str
    mfa: bool
    mfa_practice_id: Id | None = None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class DevicePage(ApiModel):
    """Sessions that live, in no particular order."""

    items: list[DeviceOut]
    next_cursor: str | None


class MfaSecretOut(ApiModel):
    """For the authenticator app: the secret in base 32, and the same as what a QR code holds."""

    secret: str
    otpauth_uri: str


class MfaCodeIn(ApiModel):
    """The authenticator app's current code."""

    code: Annotated[str, StringConstraints(pattern=_CODE)]
