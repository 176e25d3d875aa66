"""A person's memberships: one row per practice, read before the practice is known."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from consulta.core import keys, table
from consulta.core.identity import MFA_NEEDED, Membership
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import ALL_APPOINTMENTS, ASSIGNABLE, GRANTS, Role
from consulta.people.records import PRACTICE, ROLE

# More than anybody has; the authorizer's context is limited in size.
MAX_MEMBERSHIPS = 50


LABEL = "membership"


def put(person: str, membership: Membership, role_id: str | None = None) -> table.Action:
    """Write a new membership; fails (label ``LABEL``) where the person has one there.

    ``role_id`` is the practice's own role, where the role is ``custom``.
    """
    return table.put_values(
        keys.membership(person, membership.practice),
        {
            "entity": "MEMBERSHIP",
            "practice": membership.practice,
            "role": membership.role.value,
            "member": membership.member,
            "subject": membership.subject,
            **({"role_id": role_id} if role_id else {}),
        },
        label=LABEL,
    )


def change(
    person: str, practice: str, *, set_: dict[str, Any] | None = None, remove: Iterable[str] = ()
) -> table.Action:
    """Change a membership, in the transaction that changes its member's item: role, role_id,
    subject, deactivated_at. The member's version is what two writers meet at.
    """
    return table.update(
        keys.membership(person, practice),
        set_=set_,
        remove=remove,
        condition="attribute_exists(pk)",
        label=LABEL,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A membership as it is stored: before the practice's own rules are applied to it.

    ``role_id`` is the role that the practice made, where the role is ``custom``; ``active`` is
    False for who was deactivated.
    """

    practice: str
    role: Role
    member: str
    subject: str
    role_id: str
    active: bool

    @classmethod
    def read(cls, raw: table.Raw) -> Self:
        """The row of DynamoDB's attribute map."""
        row = table.from_raw(raw)
        return cls(
            row["practice"],
            Role(row["role"]),
            row["member"],
            row["subject"],
            row.get("role_id") or "",
            not row.get("deactivated_at"),
        )

    @property
    def practice_key(self) -> Key:
        """Where the practice's rules are."""
        return Tenant(self.practice).item(PRACTICE, self.practice)

    @property
    def role_key(self) -> Key | None:
        """Where the permissions of a role that the practice made are."""
        return Tenant(self.practice).item(ROLE, self.role_id) if self.role_id else None

    @property
    def needed(self) -> list[Key]:
        """What decides about this membership: to be read before :meth:`resolved`."""
        return [self.practice_key, *([self.role_key] if self.role_key else [])]

    def resolved(self, found: Mapping[Key, table.Raw], *, mfa: bool) -> Membership:
        """What the person may do there now. ``found`` has what is there of ``needed``.

        ``mfa`` is whether they came with a second factor.
        """
        rules = _rules(found.get(self.practice_key))
        granted: frozenset[str] | None = None
        if self.role is Role.CUSTOM:
            # A role that is gone grants nothing.
            granted = _permissions(found.get(self.role_key)) if self.role_key else frozenset()
        elif self.role is Role.EXPERT and rules.get("experts_see_all"):
            granted = GRANTS[Role.EXPERT] | {ALL_APPOINTMENTS}
        blocked = MFA_NEEDED if rules.get("mfa_required") and not mfa else ""
        return Membership(self.practice, self.role, self.member, self.subject, granted, blocked)


def _rules(practice: table.Raw | None) -> dict[str, Any]:
    # Of an item of a kilobyte only this: the authorizer's time is everybody's.
    text = (practice or {}).get("security", {}).get("S")
    return json.loads(text) if text else {}


def _permissions(role: table.Raw | None) -> frozenset[str]:
    if role is None or "deleted_at" in role or "permissions" not in role:
        return frozenset()
    named = table.from_raw({"permissions": role["permissions"]})["permissions"]
    # What was in a role's list once may have become an owner's alone since.
    return frozenset(named) & ASSIGNABLE


def rows(person: str) -> list[Row]:
    """Every membership row of a person, also of who was deactivated, by one consistent Query.

    Consistent, because whoever was let in a second ago must not be told that they are nobody.
    """
    query = table.Query(keys.person(person), begins="MEMBER#", consistent=True)
    return [Row.read(raw) for raw in query.page(MAX_MEMBERSHIPS).items]


def row(person: str, practice: str) -> Row | None:
    """A person's membership of one practice, by one consistent read."""
    raw = table.get_raw(keys.membership(person, practice))
    return Row.read(raw) if raw else None


def of(person: str) -> list[Membership]:
    """Every active membership of a person, by role alone.

    What the practice's own rules make of it only the authorizer asks.
    """
    return [
        Membership(row.practice, row.role, row.member, row.subject)
        for row in rows(person)
        if row.active
    ]
