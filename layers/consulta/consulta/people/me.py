"""Who is signed in, and what they may do in the practice that they are in."""

from consulta.core import table
from consulta.core.errors import NotFound
from consulta.core.identity import MFA_NEEDED, Account, Membership
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import GRANTS, Role
from consulta.people import accounts
from consulta.people.records import MEMBER, PRACTICE, MemberItem, PracticeItem
from consulta.people.schema.fields import PracticeName
from consulta.people.schema.me import MembershipOut, MeOut


def me(account: Account, practice_header: str | None) -> MeOut:
    """The caller with all their memberships.

    The practice is the one that the header names, or the only one. With several and no header none
    is chosen, so that an app can ask which. Raises NotFound for a practice the caller is not in.
    """
    chosen = _chosen(account, practice_header)
    found = table.batch_get_raw(
        [key for m in account.memberships for key in (_practice(m), _member(m))]
    )
    names = {
        m.practice: PracticeName(id=m.practice, name=PracticeItem.read(found[_practice(m)]).name)
        for m in account.memberships
    }
    profile = chosen or next(iter(account.memberships), None)
    member = MemberItem.read(found[_member(profile)]) if profile else None
    known = accounts.of(account.person)
    role = chosen.role if chosen else None
    permissions = chosen.permissions if chosen else frozenset[str]()
    if role is None and account.operator and not practice_header:
        role, permissions = Role.OPERATOR, GRANTS[Role.OPERATOR]
    return MeOut(
        person_id=account.person,
        email=member.email if member else known.email,
        name=member.name if member else "",
        operator=account.operator,
        mfa_enabled=known.mfa,
        memberships=[to_out(m, names[m.practice]) for m in account.memberships],
        practice=names[chosen.practice] if chosen else None,
        role=role,
        permissions=sorted(permissions),
    )


def _chosen(account: Account, practice_header: str | None) -> Membership | None:
    if practice_header:
        for membership in account.memberships:
            if membership.practice == practice_header:
                return membership
        raise NotFound
    # The same choice as principal_of makes: an operator without the header acts as operator.
    if account.operator or len(account.memberships) != 1:
        return None
    return account.memberships[0]


def _practice(membership: Membership) -> Key:
    return Tenant(membership.practice).item(PRACTICE, membership.practice)


def _member(membership: Membership) -> Key:
    return Tenant(membership.practice).item(MEMBER, membership.member)


def to_out(membership: Membership, practice: PracticeName) -> MembershipOut:
    """A membership as the API shows it."""
    subject = membership.subject or None
    is_patient = membership.role is Role.PATIENT
    return MembershipOut(
        practice=practice,
        role=membership.role,
        member_id=membership.member,
        expert_id=None if is_patient else subject,
        patient_id=subject if is_patient else None,
        mfa_required=membership.blocked == MFA_NEEDED,
    )
