"""Which members a notice to the practice itself goes to: by what they may do."""

from collections.abc import Iterator

from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.permissions import GRANTS, Role
from consulta.people.records import MEMBER, ROLE, MemberItem, RoleItem

# More people than this are not told of one thing, however many a practice has.
MOST = 50


def who_may(tenant: Tenant, *permissions: str) -> Iterator[MemberItem]:
    """Active members who have all of ``permissions``, the oldest first, at most :data:`MOST`."""
    needed, found = frozenset(permissions), 0
    roles: dict[str, frozenset[str]] = {}
    for raw in table.Query(tenant.listing(MEMBER), index="l1").all():
        member = MemberItem.read(raw)
        if member.deactivated_at or not needed <= _granted(tenant, member, roles):
            continue
        found += 1
        yield member
        if found == MOST:
            return


def _granted(
    tenant: Tenant, member: MemberItem, roles: dict[str, frozenset[str]]
) -> frozenset[str]:
    if member.role != Role.CUSTOM or not member.role_id:
        return GRANTS[Role(member.role)]
    if member.role_id not in roles:
        role = table.get(RoleItem, tenant.item(ROLE, str(member.role_id)))
        roles[member.role_id] = frozenset(map(str, role.permissions)) if role else frozenset()
    return roles[member.role_id]
