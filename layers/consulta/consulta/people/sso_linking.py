"""A member with a password who comes by their practice's identity provider is made one account.

Source: the Cognito developer guide, "Linking federated users to an existing user profile": who has
signed in by the provider before must be deleted first. Whom we link, and whom never:
docs/decisions/0007.
"""

from typing import Any

from consulta.core import table, trail
from consulta.core.keys import Tenant
from consulta.people import memberships, sso_cognito, writes
from consulta.people.contact import fold_email
from consulta.people.records import MEMBER, MemberItem
from consulta.people.sso import SsoItem


def link(provider: SsoItem, claims: dict[str, Any], *, origin: str, request_id: str) -> str | None:
    """The person whose account now takes whoever came; None where there is nobody to link them to.

    ``claims`` are the ID token's, whose address is of a domain verified as this provider's. A crash
    after the deletion loses nothing: the next sign-in makes the federated user anew and comes here.
    Raises cognito.Refused, TooManyRequests, Busy.
    """
    # Lazily: its imports take 76 ms, and this is rare.
    from consulta.people.tokens import OPERATORS  # noqa: PLC0415

    email = str(fold_email(claims["email"]))
    came = str(claims.get("sub") or "")
    if not came or memberships.rows(came):
        # Somebody already, here or elsewhere: not a fresh federated user, and never deleted.
        return None
    member = _member(provider.tenant, email)
    if member is None:
        return None
    person = member.person_id
    native = sso_cognito.native_username(person, email)
    identity = sso_cognito.identity_of(came, provider.item_id) if native else None
    if native is None or identity is None:
        return None
    if OPERATORS in sso_cognito.groups_of(native) + sso_cognito.groups_of(identity.username):
        return None
    sso_cognito.link(provider.item_id, identity, native)
    trail.record(
        "sso_linked",
        provider.tenant.practice,
        by=person,
        request_id=request_id,
        origin=origin,
        facts={"provider": provider.item_id, "member": member.item_id},
    )
    return person


def _member(tenant: Tenant, email: str) -> MemberItem | None:
    """The practice's active member with this address, who is a member of no other practice.

    The provider will be everything that they are: it must not become what they are elsewhere.
    """
    member_id = writes.holder(tenant, writes.MEMBER_EMAIL, email)
    member = table.get(MemberItem, tenant.item(MEMBER, member_id)) if member_id else None
    if member is None or member.deactivated_at:
        return None
    rows = memberships.rows(member.person_id)
    mine = [row for row in rows if row.practice == tenant.practice and row.active]
    return member if mine and len(rows) == 1 else None
