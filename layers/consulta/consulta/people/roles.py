"""Roles: the built-in ones, and those that a practice makes of the same permissions.

How many members have a role is counted in a row under it, in the transaction that gives or takes
it: a role that somebody has cannot be removed, whoever is being given it at that moment.
"""

from dataclasses import dataclass
from typing import Any

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as IDEMPOTENCY
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import ASSIGNABLE, GRANTS, MEMBER_ROLES, Role
from consulta.core.time import now, to_text
from consulta.people import owners, writes
from consulta.people.contact import fold_name
from consulta.people.records import PRACTICE, ROLE, MemberItem, RoleItem
from consulta.people.schema.roles import BuiltInRole, RoleIn, RoleOut, RolePage, RolePatch

MAX_ROLES = 50
_COUNT, _FULL, _UNUSED = "role", "roles", "role unused"
_NAME_TAKEN = "There is a role with this name already"
# A patient's login reaches one patient's data: whoever may change that data may give it.
_GIVES_LOGINS = frozenset({"patients:write"})


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is in a practice: a built-in role, or one of the practice's own."""

    role: Role
    role_id: str | None
    permissions: frozenset[str]


def standing(tenant: Tenant, role: str | None, role_id: str | None) -> Standing:
    """What a built-in role grants or, where there is a ``role_id``, one of the practice's own.

    Raises Invalid for a role that the practice does not have.
    """
    if role_id is None:
        built_in = Role(str(role))
        return Standing(built_in, None, GRANTS[built_in])
    found = table.get(RoleItem, tenant.item(ROLE, role_id))
    if found is None:
        raise Invalid.of("body.role_id", "There is no such role", "unknown")
    return Standing(Role.CUSTOM, role_id, frozenset(map(str, found.permissions)))


def standing_of(tenant: Tenant, member: MemberItem) -> Standing:
    """What a member is."""
    return standing(tenant, member.role, member.role_id)


def require(by: Principal, wanted: Standing) -> None:
    """Nobody gives, takes or changes more than they have. Raises Forbidden."""
    if "practice:own" in wanted.permissions and not by.may("practice:own"):
        raise Forbidden("Only an owner can do this with an owner")
    needed = _GIVES_LOGINS if wanted.role is Role.PATIENT else wanted.permissions
    require_all(by, needed)


def require_all(by: Principal, permissions: frozenset[str]) -> None:
    """Raises Forbidden, naming what the caller lacks of ``permissions``."""
    lacking = sorted(permissions - by.permissions)
    if lacking:
        raise Forbidden(f"You do not have yourself: {', '.join(lacking)}")


# what giving and taking a role writes


def given(tenant: Tenant, role_id: str | None) -> list[table.Action]:
    """Somebody has the role from now on; see :func:`refusal` for what can fail."""
    return [_counted(tenant, role_id, 1)] if role_id else []


def taken(tenant: Tenant, role_id: str | None) -> list[table.Action]:
    """Somebody no longer has the role."""
    return [_counted(tenant, role_id, -1)] if role_id else []


def refusal(failed: table.ConditionFailed) -> Problem | None:
    """The answer where giving or taking a role is what failed."""
    if owners.LABEL in failed.labels:
        return owners.last_one()
    if _COUNT in failed.labels:
        return Conflict("The role was removed at the same time")
    return None


def _counted(tenant: Tenant, role_id: str, change: int) -> table.Action:
    return table.update(
        _members(tenant, role_id),
        add={"members": change},
        condition="attribute_exists(pk)",
        label=_COUNT,
    )


def _members(tenant: Tenant, role_id: str) -> Key:
    return tenant.sub(ROLE, role_id, "MEMBERS")


def _number(tenant: Tenant) -> Key:
    return tenant.sub(PRACTICE, tenant.practice, "ROLES")


# the practice's own roles


def create(by: Principal, body: RoleIn, key: str | None) -> RoleOut:
    """A new role. Raises Forbidden for a permission that the caller does not have, Conflict."""
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    require_all(by, frozenset(body.permissions))
    role_id = ids.new_id("role")
    role = RoleItem.create(
        tenant.item(ROLE, role_id),
        ROLE,
        by.actor,
        name=body.name,
        permissions=sorted(set(body.permissions)),
        l1pk=tenant.listing(ROLE),
        l1sk=f"{to_text(now())}#{role_id}",
        walkpk=tenant.listing(ROLE),
        walksk=role_id,
    )
    actions = [
        table.put_new(role),
        table.put_values(_members(tenant, role_id), {"entity": "ROLE_MEMBERS", "members": 0}),
        writes.claim(tenant, writes.ROLE_NAME, fold_name(body.name), role_id),
        table.update(
            _number(tenant),
            set_={"entity": "ROLES"},
            add={"made": 1},
            condition="attribute_not_exists(pk) OR made < :max",
            values={":max": MAX_ROLES},
            label=_FULL,
        ),
    ]
    try:
        table.transact([*actions, *once.actions(role_id)])
    except table.ConditionFailed as failed:
        if IDEMPOTENCY in failed.labels:
            return get(by, once.again().result)
        if failed.label == _FULL:
            raise Conflict(f"A practice has at most {MAX_ROLES} roles of its own") from None
        raise writes.taken("body.name", _NAME_TAKEN, failed) from None
    return to_out(role)


def listing(by: Principal, limit: int, cursor: str | None) -> RolePage:
    """The built-in roles, and the practice's own, the oldest first."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/roles")
    page = table.Query(tenant.listing(ROLE), index="l1").page(limit, decode(cursor, *scope))
    return RolePage(
        built_in=[
            BuiltInRole(role=role, permissions=sorted(GRANTS[role]))
            for role in Role
            if role in MEMBER_ROLES | {Role.PATIENT} and role is not Role.CUSTOM
        ],
        assignable=sorted(ASSIGNABLE),
        items=[to_out(RoleItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, role_id: str) -> RoleOut:
    """One of the practice's own. Raises NotFound."""
    return to_out(_load(by.tenant, role_id))


def change(by: Principal, role_id: str, body: RolePatch, if_match: str | None) -> RoleOut:
    """Rename a role or change what it grants; its members have it within a minute.

    Raises NotFound, Forbidden where it grants or granted what the caller does not have,
    PreconditionFailed, Conflict.
    """
    tenant = by.tenant
    role = _load(tenant, role_id)
    check_version(if_match, role.version)
    require_all(by, _granted(role) | set(body.permissions or ()))
    values: dict[str, Any] = {}
    actions: list[table.Action] = []
    if body.permissions is not None and set(body.permissions) != _granted(role):
        values["permissions"] = sorted(set(body.permissions))
    if body.name is not None and body.name != role.name:
        values["name"] = body.name
        old, new = fold_name(role.name), fold_name(body.name)
        if old != new:
            actions += [
                writes.claim(tenant, writes.ROLE_NAME, new, role_id),
                writes.release(tenant, writes.ROLE_NAME, old),
            ]
    if not values:
        return to_out(role)
    try:
        table.transact([table.change(role, by.actor, set_=values), *actions])
    except table.ConditionFailed as failed:
        if failed.label == writes.ROLE_NAME:
            raise writes.taken("body.name", _NAME_TAKEN, failed) from None
        raise writes.lost_race(if_match) from None
    return get(by, role_id)


def remove(by: Principal, role_id: str, if_match: str | None) -> None:
    """Remove a role that nobody has. Raises NotFound, Forbidden, PreconditionFailed, Conflict."""
    tenant = by.tenant
    role = _load(tenant, role_id)
    check_version(if_match, role.version)
    require_all(by, _granted(role))
    actions = [
        table.delete(
            _members(tenant, role_id),
            condition="members = :none",
            values={":none": 0},
            label=_UNUSED,
        ),
        table.delete(
            role.key, condition="version = :read", values={":read": int(role.version)}, label=ROLE
        ),
        writes.release(tenant, writes.ROLE_NAME, fold_name(role.name)),
        table.update(_number(tenant), add={"made": -1}),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        if failed.labels == [_UNUSED]:
            raise Conflict("Members still have this role: give them another first") from None
        raise writes.lost_race(if_match) from None


def _load(tenant: Tenant, role_id: str) -> RoleItem:
    role = table.get(RoleItem, tenant.item(ROLE, role_id))
    if role is None:
        raise NotFound
    return role


def _granted(role: RoleItem) -> frozenset[str]:
    return frozenset(map(str, role.permissions))


def to_out(role: RoleItem) -> RoleOut:
    """A role as the API shows it."""
    return RoleOut(
        id=role.item_id,
        name=role.name,
        permissions=sorted(_granted(role)),
        created_at=role.created_at,
        version=int(role.version),
    )
