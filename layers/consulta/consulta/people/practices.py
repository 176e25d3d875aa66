"""Practices: made by the platform's operators, with their first owner; kept by their owners."""

from decimal import Decimal
from typing import Any

from consulta.core import ids, keys, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people import accounts, members, owners, writes
from consulta.people.policy import default_policy, to_stored
from consulta.people.records import PRACTICE, PracticeItem
from consulta.people.schema.practices import (
    PlanIn,
    PracticeCreated,
    PracticeIn,
    PracticeOut,
    PracticePage,
    PracticePatch,
    SecuritySettings,
)

# Operators are in no practice: their idempotency keys are kept apart from every practice's.
_PLATFORM = Tenant("PLATFORM")


def create(by: Principal, body: PracticeIn, key: str | None) -> PracticeCreated:
    """A new practice with its owner, in one transaction after the owner's account."""
    once = Idempotent.of(_PLATFORM, by.person, key, body)
    if once.result:
        return _created(once.result, body.owner.email)
    practice_id = ids.new_id("prac")
    tenant, owner = Tenant(practice_id), body.owner
    password = owner.temporary_password.get_secret_value() if owner.temporary_password else None
    person = accounts.ensure(owner.email, password, "body.owner.temporary_password")
    practice = PracticeItem.create(
        tenant.item(PRACTICE, practice_id),
        PRACTICE,
        by.actor,
        name=body.name,
        zone=body.zone,
        currency=body.currency,
        country=body.country,
        commission_bps=int(body.commission_percent * 100),
        policy=default_policy(body.currency),
        l1pk=keys.all_practices(),
        l1sk=f"{to_text(now())}#{practice_id}",
    )
    member, actions = members.joining(
        tenant,
        by.actor,
        person=person,
        email=owner.email,
        name=owner.name,
        role=Role.OWNER,
        expert=owner.expert,
        patient=None,
    )
    try:
        table.transact(
            [
                table.put_new(practice),
                owners.first(tenant),
                *actions,
                *once.actions(practice_id),
            ]
        )
    except table.ConditionFailed as failed:
        # Every other part is new with the practice's id.
        if failed.labels != [LABEL]:
            raise
        return _created(once.again().result, owner.email)
    return PracticeCreated(**to_out(practice).model_dump(), owner_member_id=member.item_id)


def _created(practice_id: str, owner_email: str) -> PracticeCreated:
    tenant = Tenant(practice_id)
    owner = writes.holder(tenant, writes.MEMBER_EMAIL, owner_email)
    if owner is None:
        raise NotFound
    return PracticeCreated(**to_out(of(tenant)).model_dump(), owner_member_id=owner)


def listing(by: Principal, limit: int, cursor: str | None) -> PracticePage:
    """Every practice, the newest first: for operators."""
    scope = (by.person, "/v1/practices")
    query = table.Query(keys.all_practices(), index="l1", newest_first=True)
    page = query.page(limit, decode(cursor, *scope))
    return PracticePage(
        items=[to_out(PracticeItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def of(tenant: Tenant) -> PracticeItem:
    """A tenant's practice. Raises NotFound."""
    practice = table.get(PracticeItem, tenant.item(PRACTICE, tenant.practice))
    if practice is None:
        raise NotFound
    return practice


def _own(by: Principal, practice_id: str) -> PracticeItem:
    if practice_id != by.practice:
        raise NotFound
    return of(by.tenant)


def get(by: Principal, practice_id: str) -> PracticeOut:
    """The caller's own practice. Raises NotFound for any other."""
    return to_out(_own(by, practice_id), staff=by.role is not Role.PATIENT)


def change(
    by: Principal, practice_id: str, body: PracticePatch, if_match: str | None
) -> PracticeOut:
    """Change the caller's own practice. A new policy holds for what is booked from now on.

    Raises NotFound, Forbidden where ``security`` is changed by who is no owner,
    PreconditionFailed, Conflict.
    """
    practice = _own(by, practice_id)
    if body.security is not None and not by.may("practice:own"):
        raise Forbidden("Only an owner changes the practice's security")
    check_version(if_match, practice.version)
    values: dict[str, Any] = body.model_dump(
        include={"name", "zone", "stripe_labels", "tax_id", "address"}, exclude_none=True
    )
    if body.policy is not None:
        version = int(practice.policy["version"]) + 1
        policy = to_stored(body.policy, practice.currency, version)
        values["policy"] = PracticeItem.policy.serialize(policy)
    if body.security is not None:
        settings = security_of(practice).model_copy(
            update=body.security.model_dump(exclude_none=True)
        )
        values["security"] = PracticeItem.security.serialize(settings.model_dump())
    if not values:
        return to_out(practice)
    if body.zone and body.zone != practice.zone:
        former = [zone for zone in practice.former_zones if zone != practice.zone]
        values["former_zones"] = [*former, practice.zone]
    try:
        table.transact([table.change(practice, by.actor, set_=values)])
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
    return to_out(of(by.tenant))


def put_plan(by: Principal, practice_id: str, body: PlanIn, if_match: str | None) -> PracticeOut:
    """Which of the platform's plans a practice is on: for operators. It holds from now on.

    A plan is known by its rate table, even an empty one. Raises NotFound, Invalid,
    PreconditionFailed, Conflict.
    """
    practice = of(Tenant(practice_id))
    check_version(if_match, practice.version)
    if body.plan_id is not None and table.get_raw(keys.plan_rates(body.plan_id)) is None:
        raise Invalid.of("body.plan_id", "No such plan: put its rate table first", "unknown")
    if body.plan_id == practice.plan_id:
        return to_out(practice)
    change = (
        table.change(practice, by.actor, set_={"plan_id": body.plan_id})
        if body.plan_id
        else table.change(practice, by.actor, remove=["plan_id"])
    )
    try:
        table.transact([change])
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
    return to_out(of(practice.tenant))


def security_of(practice: PracticeItem) -> SecuritySettings:
    """What its owner opened or demands; all is off where nothing was ever set."""
    return SecuritySettings.model_validate(practice.security or {})


def to_out(practice: PracticeItem, *, staff: bool = True) -> PracticeOut:
    """A practice as the API shows it: its terms with the platform and security to staff only."""
    percent = Decimal(int(practice.commission_bps)) / 100
    return PracticeOut(
        id=practice.item_id,
        name=practice.name,
        zone=practice.zone,
        currency=practice.currency,
        country=practice.country,
        commission_percent=f"{percent:.2f}" if staff else None,
        policy=practice.policy,
        security=security_of(practice) if staff else None,
        stripe_labels=practice.stripe_labels if staff else None,
        plan_id=practice.plan_id if staff else None,
        tax_id=practice.tax_id,
        address=practice.address,
        created_at=practice.created_at,
        version=int(practice.version),
    )
