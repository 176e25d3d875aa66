"""A person's memberships: one row per practice, read before the practice is known."""

from consulta.core import keys, table
from consulta.core.identity import Membership
from consulta.core.permissions import Role

# More than anybody has; the authorizer's context is limited in size.
MAX_MEMBERSHIPS = 50


def put(person: str, membership: Membership) -> table.Action:
    """Write a new membership; fails (label ``membership``) where the person has one there."""
    return table.put_values(
        keys.membership(person, membership.practice),
        {
            "entity": "MEMBERSHIP",
            "practice": membership.practice,
            "role": membership.role.value,
            "member": membership.member,
            "subject": membership.subject,
        },
        label="membership",
    )


def of(person: str) -> list[Membership]:
    """Every membership of a person, by one consistent Query.

    Consistent, because whoever was let in a second ago must not be told that they are nobody.
    """
    query = table.Query(keys.person(person), begins="MEMBER#", consistent=True)
    rows = [table.from_raw(raw) for raw in query.page(MAX_MEMBERSHIPS).items]
    return [
        Membership(row["practice"], Role(row["role"]), row["member"], row["subject"])
        for row in rows
    ]
