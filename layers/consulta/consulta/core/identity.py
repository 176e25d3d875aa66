"""Who is calling: built from what the authorizer found, once per request.

The authorizer answers with ids only: a person, and that person's memberships. Which practice the
request is about is chosen here, by the ``Consulta-Practice`` header where there are several.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel

from consulta.core.errors import Forbidden, Invalid, MfaRequired, NotFound, Unauthorized
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import ALL_APPOINTMENTS, ALL_PAYMENTS, GRANTS, Role

PRACTICE_HEADER = "consulta-practice"

_ALL = {"appointments": ALL_APPOINTMENTS, "payments": ALL_PAYMENTS}
_PROBLEMS = {
    "missing": "No Authorization header: sign in at /v1/auth/login and send the access token",
    "expired": "The access token has expired: refresh it at /v1/auth/refresh",
    "invalid": "The access token is not valid",
    "ended": "This session has ended: sign in again",
    "key": "The API key is not valid, was revoked or has expired",
}
MFA_NEEDED = "mfa"


# Named tuples in what every function imports: to make a dataclass takes a cold start four times as
# long.
class Membership(NamedTuple):
    """One person's place in one practice. ``subject`` is their expert or patient id, if any.

    ``granted`` are the permissions where they are not just the role's: a custom role's, an API
    key's, or a role's that the practice opened wider. ``blocked`` says why the practice does not
    let them in as they signed in now (``MFA_NEEDED``).
    """

    practice: str
    role: Role
    member: str
    subject: str = ""
    granted: frozenset[str] | None = None
    blocked: str = ""

    @property
    def permissions(self) -> frozenset[str]:
        """What they may do there."""
        return GRANTS[self.role] if self.granted is None else self.granted

    def to_context(self) -> dict[str, str]:
        """Short names: an authorizer's context travels with every request."""
        short = {"p": self.practice, "r": self.role, "m": self.member, "s": self.subject}
        if self.granted is not None:
            short["g"] = " ".join(sorted(self.granted))
        if self.blocked:
            short["b"] = self.blocked
        return short

    @classmethod
    def from_context(cls, raw: dict[str, str]) -> "Membership":
        """The reverse of :meth:`to_context`."""
        granted = frozenset(raw["g"].split()) if "g" in raw else None
        return cls(raw["p"], Role(raw["r"]), raw["m"], raw["s"], granted, raw.get("b", ""))


class Account(NamedTuple):
    """Who is signed in, before a practice is chosen: by a session, or by an API key."""

    person: str
    operator: bool
    memberships: tuple[Membership, ...]
    session: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, in one practice. An operator has no practice.

    ``session`` or ``key`` is what they came with; ``origin`` is the address and the user agent.
    """

    person: str
    role: Role
    request_id: str
    practice: str = ""
    member: str = ""
    subject: str = ""
    granted: frozenset[str] | None = None
    session: str = ""
    key: str = ""
    origin: str = ""

    @property
    def tenant(self) -> Tenant:
        """The keys of the caller's practice, and of no other."""
        if not self.practice:
            raise Forbidden("This belongs to a practice, and the caller is in none")
        return Tenant(self.practice)

    @property
    def actor(self) -> Actor:
        """How changes by this caller are stamped."""
        return Actor(f"key:{self.key}" if self.key else self.person, self.request_id, self.origin)

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
        return self.role is Role.PATIENT or self.may("patients:read")

    @property
    def permissions(self) -> frozenset[str]:
        """What the caller may do."""
        return GRANTS[self.role] if self.granted is None else self.granted

    def may(self, permission: str) -> bool:
        """Whether the caller has ``permission``."""
        return permission in self.permissions

    def sees_all(self, what: str) -> bool:
        """Whether all of the practice's ``appointments`` or ``payments`` are theirs to see."""
        return self.role is not Role.PATIENT and self.may(_ALL[what])

    def sees(self, what: str, patient: str | None, expert: str | None) -> bool:
        """Whether they may see one of a patient with an expert."""
        if self.role is Role.PATIENT:
            return bool(self.patient) and patient == self.patient
        return self.sees_all(what) or (bool(self.expert) and expert == self.expert)

    def require(self, permission: str) -> None:
        """Raises Forbidden where the caller does not have ``permission``."""
        if not self.may(permission):
            raise Forbidden(f"This needs the permission {permission}")


def refuse_key(caller: Account | Principal) -> None:
    """Raises Forbidden where an API key calls: for what is only for who signed in themselves."""
    if caller.key:
        raise Forbidden("An API key cannot do this: sign in")


def own_only[F: BaseModel](by: Principal, wanted: F, what: str) -> F:
    """A list's filter narrowed to the caller's own, unless they may see all.

    ``what`` is ``appointments`` or ``payments``. Raises Forbidden where the filter asks for
    another's ``patient_id`` or ``expert_id``.
    """
    if by.sees_all(what):
        return wanted
    is_patient = by.role is Role.PATIENT
    name, subject = ("patient_id", by.patient) if is_patient else ("expert_id", by.expert)
    if not subject or getattr(wanted, name) not in (None, subject):
        raise Forbidden(f"You see only your own {what}")
    return wanted.model_copy(update={name: subject})


def authorizer_context(
    person: str,
    memberships: list[Membership],
    *,
    operator: bool,
    session: str = "",
    key: str = "",
) -> dict[str, str]:
    """What the authorizer hands on about a caller whose token or key is good."""
    return {
        "person": person,
        "session": session,
        "key": key,
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
        str(context.get("session") or ""),
        str(context.get("key") or ""),
    )


def principal_of(
    context: dict[str, Any], practice_header: str | None, request_id: str, origin: str = ""
) -> Principal:
    """The caller behind an authorizer's context.

    Raises Unauthorized for a missing or bad token, NotFound for a practice that the caller is not
    in (it might not exist: the two look the same), Invalid where the header is needed and absent,
    MfaRequired where the practice wants a second factor and the session had none.
    """
    account = account_of(context)
    if account.operator and not practice_header:
        return Principal(
            account.person,
            Role.OPERATOR,
            request_id,
            session=account.session,
            origin=origin,
        )
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
    if found.blocked == MFA_NEEDED:
        raise MfaRequired
    return Principal(
        account.person,
        found.role,
        request_id,
        found.practice,
        found.member,
        found.subject,
        found.granted,
        account.session,
        account.key,
        origin,
    )
