"""Who is calling: built from what the authorizer found, once per request.

The authorizer answers with ids only: a person, and that person's memberships. Which practice the
request is about is chosen here, by the ``Consulta-Practice`` header where there are several.
"""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from consulta.core.errors import Forbidden, Invalid, NotFound, Unauthorized
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role, may

PRACTICE_HEADER = "consulta-practice"

_PROBLEMS = {
    "missing": "No Authorization header: sign in at /v1/auth/login and send the access token",
    "expired": "The access token has expired: refresh it at /v1/auth/refresh",
    "invalid": "The access token is not valid",
}


@dataclass(frozen=True, slots=True)
class Membership:
    """One person's place in one practice. ``subject`` is their expert or patient id, if any."""

    practice: str
    role: Role
    member: str
    subject: str = ""

    def to_context(self) -> dict[str, str]:
        """Short names: an authorizer's context travels with every request."""
        return {"p": self.practice, "r": self.role, "m": self.member, "s": self.subject}

    @classmethod
    def from_context(cls, raw: dict[str, str]) -> "Membership":
        """The reverse of :meth:`to_context`."""
        return cls(raw["p"], Role(raw["r"]), raw["m"], raw["s"])


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in, before a practice is chosen."""

    person: str
    operator: bool
    memberships: tuple[Membership, ...]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, in one practice. An operator has no practice."""

    person: str
    role: Role
    request_id: str
    practice: str = ""
    member: str = ""
    subject: str = ""

    @property
    def tenant(self) -> Tenant:
        """The keys of the caller's practice, and of no other."""
        if not self.practice:
            raise Forbidden("This belongs to a practice, and the caller is in none")
        return Tenant(self.practice)

    @property
    def actor(self) -> Actor:
        """How changes by this caller are stamped."""
        return Actor(self.person, self.request_id)

    @property
    def expert(self) -> str:
        """The caller's own expert id, or nothing."""
        return self.subject if self.role is not Role.PATIENT else ""

    @property
    def patient(self) -> str:
        """The caller's own patient id, or nothing."""
        return self.subject if self.role is Role.PATIENT else ""

    @property
    def sees_patients(self) -> bool:
        """Whether patients' names may be told: to who may read patients, to patients their own."""
        return self.role is Role.PATIENT or may(self.role, "patients:read")

    def require(self, permission: str) -> None:
        """Raises Forbidden where the caller's role does not have ``permission``."""
        if not may(self.role, permission):
            raise Forbidden(f"This needs the permission {permission}")


def own_only[F: BaseModel](by: Principal, wanted: F, what: str) -> F:
    """A list's filter narrowed to the caller's own: patients and experts see no one else's.

    Raises Forbidden where it asks for another's ``patient_id`` or ``expert_id``.
    """
    own = {Role.PATIENT: ("patient_id", by.patient), Role.EXPERT: ("expert_id", by.expert)}
    if by.role not in own:
        return wanted
    name, subject = own[by.role]
    if not subject or getattr(wanted, name) not in (None, subject):
        raise Forbidden(f"You see only your own {what}")
    return wanted.model_copy(update={name: subject})


def authorizer_context(
    person: str, memberships: list[Membership], *, operator: bool
) -> dict[str, str]:
    """What the authorizer hands on about a caller whose token is good."""
    return {
        "person": person,
        "operator": "1" if operator else "",
        "memberships": json.dumps([m.to_context() for m in memberships], separators=(",", ":")),
    }


def account_of(context: dict[str, Any]) -> Account:
    """Who an authorizer's context says is signed in.

    Raises Unauthorized for a missing or bad token.
    """
    if "person" not in context:
        raise Unauthorized(_PROBLEMS[str(context.get("problem") or "missing")])
    return Account(
        str(context["person"]),
        bool(context.get("operator")),
        tuple(Membership.from_context(raw) for raw in json.loads(context["memberships"])),
    )


def principal_of(
    context: dict[str, Any], practice_header: str | None, request_id: str
) -> Principal:
    """The caller behind an authorizer's context.

    Raises Unauthorized for a missing or bad token, NotFound for a practice that the caller is not
    in (it might not exist: the two look the same), Invalid where the header is needed and absent.
    """
    account = account_of(context)
    if account.operator and not practice_header:
        return Principal(account.person, Role.OPERATOR, request_id)
    memberships = list(account.memberships)
    if practice_header:
        memberships = [m for m in memberships if m.practice == practice_header]
        if not memberships:
            raise NotFound
    if not memberships:
        raise Forbidden("The caller is not a member of any practice")
    if len(memberships) > 1:
        raise Invalid.of(
            "header.Consulta-Practice",
            "You are in several practices: name one in the Consulta-Practice header",
            "missing",
        )
    found = memberships[0]
    return Principal(
        account.person, found.role, request_id, found.practice, found.member, found.subject
    )
