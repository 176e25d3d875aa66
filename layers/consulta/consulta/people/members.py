"""Members of a practice, and patients' logins.

A member is four rows in one transaction: the member, the person's membership (what the authorizer
reads), the address that is unique in the practice, and, for who sees patients, the expert.
"""

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Membership, Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people import accounts, memberships, writes
from consulta.people.records import EXPERT, MEMBER, PATIENT, ExpertItem, MemberItem
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.members import MemberIn, MemberOut, MemberPage

_TAKEN = "Somebody with this email address is in the practice already"


def create(by: Principal, body: MemberIn, key: str | None) -> MemberOut:
    """Let somebody in; only an owner makes an owner.

    The account comes first, then the items in one transaction: whatever crashes in between, the
    same request again finds the account and converges. Raises Forbidden, Conflict (409, names the
    member who has the address), Invalid for a patient that is not there.
    """
    role = Role(body.role)
    if role is Role.OWNER and by.role is not Role.OWNER:
        raise Forbidden("Only an owner can let another owner in")
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    existing = writes.holder(tenant, writes.MEMBER_EMAIL, body.email)
    if existing:
        raise writes.duplicate("body.email", _TAKEN, existing)
    password = body.temporary_password.get_secret_value()
    person = accounts.ensure(body.email, password, "body.temporary_password")
    member, actions = joining(
        tenant,
        by.actor,
        person=person,
        email=body.email,
        name=body.name,
        role=role,
        expert=body.expert,
        patient=body.patient_id,
    )
    try:
        table.transact([*actions, *once.actions(member.item_id)])
    except table.ConditionFailed as failed:
        if LABEL in failed.labels:
            return get(by, once.again().result)
        raise _refusal(failed) from None
    return to_out(member)


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
) -> tuple[MemberItem, list[table.Action]]:
    """A new member and everything that must be written for them, in one transaction."""
    member_id, stamp = ids.new_id("mem"), to_text(now())
    expert_id = ids.new_id("exp") if expert else ""
    subject = expert_id or patient or ""
    member = MemberItem.create(
        tenant.item(MEMBER, member_id),
        MEMBER,
        by,
        person_id=person,
        role=role.value,
        email=email,
        name=name,
        subject=subject,
        # Patients' logins may be many: staff is a list of its own.
        l1pk=_list(tenant, role),
        l1sk=f"{stamp}#{member_id}",
        walkpk=tenant.listing(MEMBER),
        walksk=member_id,
    )
    actions = [
        table.put_new(member),
        memberships.put(person, Membership(tenant.practice, role, member_id, subject)),
        writes.claim(tenant, writes.MEMBER_EMAIL, email, member_id),
    ]
    if expert:
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
            l1sk=f"{stamp}#{expert_id}",
            walkpk=tenant.listing(EXPERT),
            walksk=expert_id,
        )
        actions.append(table.put_new(item))
    if patient:
        actions += [
            table.check(
                tenant.item(PATIENT, patient),
                "attribute_exists(pk) AND attribute_not_exists(deleted_at)",
                label=PATIENT,
            ),
            writes.claim(tenant, writes.PATIENT_LOGIN, patient, member_id),
        ]
    return member, actions


def _refusal(failed: table.ConditionFailed) -> Problem:
    match failed.label:
        case writes.MEMBER_EMAIL:
            return writes.taken("body.email", _TAKEN, failed)
        case "membership":
            return Conflict("This person is in the practice already")
        case writes.PATIENT_LOGIN:
            return writes.taken("body.patient_id", "This patient has a login already", failed)
        case _:
            return Invalid.of("body.patient_id", "There is no such patient", "unknown")


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
    member = table.get(MemberItem, by.tenant.item(MEMBER, member_id))
    if member is None:
        raise NotFound
    return to_out(member)


def to_out(member: MemberItem) -> MemberOut:
    """A member as the API shows one."""
    is_patient = member.role == Role.PATIENT
    subject = member.subject or None
    return MemberOut(
        id=member.item_id,
        email=member.email,
        name=member.name,
        role=Role(member.role),
        expert_id=None if is_patient else subject,
        patient_id=subject if is_patient else None,
        created_at=member.created_at,
        version=int(member.version),
    )
