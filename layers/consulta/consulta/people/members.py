"""Members of a practice, and patients' logins.

A member is several rows in one transaction: the member, the person's membership (what the
authorizer reads), the address that is unique in the practice, for who sees patients the expert,
and where it applies the number of owners and of a role's members. Members come by invitation.
"""

from typing import Any

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from consulta.core.http import check_version
from consulta.core.identity import Membership, Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people import memberships, owners, roles, writes
from consulta.people.records import EXPERT, MEMBER, PATIENT, ExpertItem, MemberItem
from consulta.people.roles import Standing
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.members import MemberOut, MemberPage, MemberPatch


def joining(
    tenant: Tenant,
    by: Actor,
    *,
    person: str,
    email: str,
    name: str,
    role: Role,
    expert: ExpertIn | None,
    patient: str | None,
    role_id: str | None = None,
) -> tuple[MemberItem, list[table.Action]]:
    """A new member and everything that must be written for them, in one transaction.

    ``role_id`` is the practice's own role, where ``role`` is custom. The number of owners is left
    to the caller: a new practice begins it, whoever comes later raises it.
    """
    member_id, stamp = ids.new_id("mem"), to_text(now())
    expert_id = ids.new_id("exp") if expert else ""
    subject = expert_id or patient or ""
    member = MemberItem.create(
        tenant.item(MEMBER, member_id),
        MEMBER,
        by,
        person_id=person,
        role=role.value,
        role_id=role_id,
        email=email,
        name=name,
        subject=subject,
        # Patients' logins may be many: staff is a list of its own.
        l1pk=_list(tenant, role),
        l1sk=f"{stamp}#{member_id}",
        walkpk=tenant.listing(MEMBER),
        walksk=member_id,
    )
    membership = Membership(tenant.practice, role, member_id, subject)
    actions = [
        table.put_new(member),
        memberships.put(person, membership, role_id),
        writes.claim(tenant, writes.MEMBER_EMAIL, email, member_id),
        *roles.given(tenant, role_id),
    ]
    if expert:
        actions.append(_profile(tenant, by, expert_id, member_id, name, expert))
    if patient:
        actions += [
            is_patient(tenant, patient),
            writes.claim(tenant, writes.PATIENT_LOGIN, patient, member_id),
        ]
    return member, actions


def is_patient(tenant: Tenant, patient: str) -> table.Action:
    """Only if the practice has this patient; the part's label is ``PATIENT``."""
    return table.check(
        tenant.item(PATIENT, patient),
        "attribute_exists(pk) AND attribute_not_exists(deleted_at)",
        label=PATIENT,
    )


def _profile(
    tenant: Tenant, by: Actor, expert_id: str, member_id: str, name: str, expert: ExpertIn
) -> table.Action:
    item = ExpertItem.create(
        tenant.item(EXPERT, expert_id),
        EXPERT,
        by,
        member_id=member_id,
        name=name,
        title=expert.title,
        bio=expert.bio,
        languages=expert.languages,
        zone=expert.zone,
        l1pk=tenant.listing(EXPERT),
        l1sk=f"{to_text(now())}#{expert_id}",
        walkpk=tenant.listing(EXPERT),
        walksk=expert_id,
    )
    return table.put_new(item)


def _list(tenant: Tenant, role: Role) -> str:
    if role is Role.PATIENT:
        return tenant.listing_by(MEMBER, "ROLE", role.value)
    return tenant.listing(MEMBER)


def listing(by: Principal, limit: int, cursor: str | None, *, patients: bool) -> MemberPage:
    """Staff, or patients' logins; the oldest first."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/members", str(patients))
    query = table.Query(_list(tenant, Role.PATIENT if patients else Role.VIEWER), index="l1")
    page = query.page(limit, decode(cursor, *scope))
    return MemberPage(
        items=[to_out(MemberItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, member_id: str) -> MemberOut:
    """One member. Raises NotFound."""
    return to_out(_load(by.tenant, member_id))


def change(by: Principal, member_id: str, body: MemberPatch, if_match: str | None) -> MemberOut:
    """Change a member's name or role; a new role holds within a minute.

    Raises NotFound, Forbidden for who is or would be more than the caller, Invalid, Conflict (also
    where it would leave the practice without an owner), PreconditionFailed.
    """
    tenant = by.tenant
    member = _load(tenant, member_id)
    check_version(if_match, member.version)
    former = roles.standing_of(tenant, member)
    roles.require(by, former)
    values: dict[str, Any] = {}
    removed: list[str] = []
    actions: list[table.Action] = []
    if body.name is not None and body.name != member.name:
        values["name"] = body.name
    if body.expert is not None:
        if member.subject:
            raise Conflict("This member has a profile already: change it at /v1/experts")
        values["subject"] = ids.new_id("exp")
        name = body.name or member.name
        expert = _profile(tenant, by.actor, values["subject"], member_id, name, body.expert)
        actions.append(expert)
    wanted = roles.standing(tenant, body.role or member.role, _role_id(body, member))
    if (wanted.role, wanted.role_id) != (former.role, former.role_id):
        _may_become(by, member, wanted, values.get("subject") or member.subject)
        moved, gone = _as(wanted)
        values, removed = values | moved, gone
        actions += _moves(tenant, former, wanted)
    if not values:
        return to_out(member)
    known = {name: value for name, value in values.items() if name in {"role", "role_id"}}
    known |= {"subject": values["subject"]} if "subject" in values else {}
    if known:
        actions.append(
            memberships.change(member.person_id, tenant.practice, set_=known, remove=removed)
        )
    _write([table.change(member, by.actor, set_=values, remove=removed), *actions], if_match)
    return get(by, member_id)


def _role_id(body: MemberPatch, member: MemberItem) -> str | None:
    return body.role_id or (None if body.role else member.role_id)


def _may_become(by: Principal, member: MemberItem, wanted: Standing, subject: str) -> None:
    if member.role == Role.PATIENT:
        raise Conflict("A patient's login keeps its role")
    if member.deactivated_at is not None:
        raise Conflict("This member is deactivated: reactivate them first")
    roles.require(by, wanted)
    if wanted.role is Role.EXPERT and not subject:
        raise Invalid.of("body.expert", "This member has no profile as an expert yet", "missing")


def _as(wanted: Standing) -> tuple[dict[str, Any], list[str]]:
    """What a role is on a member's item and on the membership: to set, and to remove."""
    if wanted.role_id:
        return {"role": wanted.role.value, "role_id": wanted.role_id}, []
    return {"role": wanted.role.value}, ["role_id"]


def _moves(tenant: Tenant, former: Standing, wanted: Standing) -> list[table.Action]:
    counted = []
    if former.role is Role.OWNER:
        counted.append(owners.one_less(tenant))
    if wanted.role is Role.OWNER:
        counted.append(owners.one_more(tenant))
    return [
        *counted,
        *roles.taken(tenant, former.role_id),
        *roles.given(tenant, wanted.role_id),
    ]


def deactivate(by: Principal, member_id: str, if_match: str | None) -> MemberOut:
    """Let a member in no longer, within a minute; a profile of theirs is hidden from patients.

    Everything that they did stays. Raises NotFound, Forbidden, Conflict for the last owner.
    """
    tenant = by.tenant
    member = _load(tenant, member_id)
    check_version(if_match, member.version)
    roles.require(by, roles.standing_of(tenant, member))
    if member.deactivated_at is not None:
        return to_out(member)
    gone = {"deactivated_at": to_text(now())}
    actions = [
        table.change(member, by.actor, set_=gone),
        memberships.change(member.person_id, tenant.practice, set_=gone),
    ]
    if member.role == Role.OWNER:
        actions.append(owners.one_less(tenant))
    if member.subject and member.role != Role.PATIENT:
        expert = table.get(ExpertItem, tenant.item(EXPERT, member.subject))
        if expert is not None and expert.published:
            actions.append(table.change(expert, by.actor, set_={"published": False}))
    _write(actions, if_match)
    return get(by, member_id)


def reactivate(by: Principal, member_id: str, if_match: str | None) -> MemberOut:
    """Let a deactivated member in again, in the role that they had.

    Raises NotFound, Forbidden, Conflict.
    """
    tenant = by.tenant
    member = _load(tenant, member_id)
    check_version(if_match, member.version)
    roles.require(by, roles.standing_of(tenant, member))
    if member.deactivated_at is None:
        return to_out(member)
    actions = [
        table.change(member, by.actor, remove=["deactivated_at"]),
        memberships.change(member.person_id, tenant.practice, remove=["deactivated_at"]),
    ]
    if member.role == Role.OWNER:
        actions.append(owners.one_more(tenant))
    _write(actions, if_match)
    return get(by, member_id)


def transfer_ownership(by: Principal, member_id: str, if_match: str | None) -> MemberOut:
    """The caller's ownership becomes another member's, and the caller an admin, at once.

    The number of owners stays as it is. Raises NotFound, Forbidden where the caller is no owner
    any more, Conflict for who cannot become one, PreconditionFailed.
    """
    tenant = by.tenant
    target, own = _load(tenant, member_id), _load(tenant, by.member)
    check_version(if_match, target.version)
    if own.role != Role.OWNER or own.deactivated_at is not None:
        raise Forbidden("Only an owner can hand over the ownership")
    if target.role == Role.OWNER:
        raise Conflict("This member is an owner already")
    if target.role == Role.PATIENT or target.deactivated_at is not None:
        raise Conflict("Only an active member of the staff can become an owner")
    actions = roles.taken(tenant, target.role_id)
    for member, role in ((target, Role.OWNER), (own, Role.ADMIN)):
        values, removed = _as(roles.standing(tenant, role.value, None))
        actions += [
            table.change(member, by.actor, set_=values, remove=removed),
            memberships.change(member.person_id, tenant.practice, set_=values, remove=removed),
        ]
    _write(actions, if_match)
    return get(by, member_id)


def _write(actions: list[table.Action], if_match: str | None) -> None:
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        refused: Problem = roles.refusal(failed) or writes.lost_race(if_match)
        raise refused from None


def _load(tenant: Tenant, member_id: str) -> MemberItem:
    member = table.get(MemberItem, tenant.item(MEMBER, member_id))
    if member is None:
        raise NotFound
    return member


def to_out(member: MemberItem) -> MemberOut:
    """A member as the API shows one."""
    is_login = member.role == Role.PATIENT
    subject = member.subject or None
    return MemberOut(
        id=member.item_id,
        email=member.email,
        name=member.name,
        role=Role(member.role),
        role_id=member.role_id,
        expert_id=None if is_login else subject,
        patient_id=subject if is_login else None,
        deactivated_at=member.deactivated_at,
        created_at=member.created_at,
        version=int(member.version),
    )
