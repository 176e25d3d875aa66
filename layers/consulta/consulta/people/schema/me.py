"""Who is signed in, and where."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header

from consulta.core.http import ApiModel, Id
from consulta.core.permissions import Role

PracticeHeader = Annotated[str | None, Header(alias="Consulta-Practice", max_length=40)]


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
