"""Becoming a patient of a practice by oneself, where the practice allows it.

What proves that somebody is a patient whom the practice knows already is the email address that
their account has confirmed: never the phone, which is only said.
"""

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden, NotFound
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Account, Membership, refuse_key
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import accounts, me, members, memberships, patients, practices, writes
from consulta.people.records import PATIENT, PracticeItem
from consulta.people.schema.fields import PracticeName
from consulta.people.schema.me import JoinIn, MembershipOut
from consulta.people.schema.patients import PatientIn

_KNOWN = "This practice has this phone number or email address already: ask it to let you in"


def join(account: Account, body: JoinIn, key: str | None, by: Actor) -> MembershipOut:
    """Become a patient: a new one, or the one with the account's address who has no login yet.

    Raises NotFound where the practice takes nobody by themselves, Conflict where it knows them in a
    way that proves nothing, Forbidden without a confirmed address and for an API key.
    """
    refuse_key(account)
    tenant = Tenant(body.practice_id)
    once = Idempotent.of(tenant, account.person, key, body)
    practice = practices.of(tenant)
    if once.result:
        return _joined(account.person, practice)
    if not practices.security_of(practice).self_sign_up:
        raise NotFound
    known = accounts.of(account.person)
    if not known.proved:
        raise Forbidden("Confirm your email address first")
    patient_id, actions = _patient(practice, by, body, known.email)
    member, joining = members.joining(
        tenant,
        by,
        person=account.person,
        email=known.email,
        name=body.name,
        role=Role.PATIENT,
        expert=None,
        patient=patient_id,
    )
    # Its own look at the patient goes: a transaction has one part per item, and ours says more.
    actions += [action for action in joining if action.label != PATIENT]
    try:
        table.transact([*actions, *once.actions(member.item_id)])
    except table.ConditionFailed as failed:
        if LABEL in failed.labels:
            return _joined(account.person, practice)
        if memberships.LABEL in failed.labels:
            raise Conflict(
                "You are in this practice already, or were: ask it to let you in"
            ) from None
        raise Conflict(_KNOWN) from None
    made = Membership(tenant.practice, Role.PATIENT, member.item_id, patient_id)
    return me.to_out(made, _name(practice))


def _patient(
    practice: PracticeItem, by: Actor, body: JoinIn, email: str
) -> tuple[str, list[table.Action]]:
    tenant = practice.tenant
    wanted = PatientIn(name=body.name, phone=body.phone, email=email)
    patient, actions = patients.making(practice, by, wanted)
    existing = writes.holder(tenant, writes.PATIENT_EMAIL, email)
    if existing is None:
        # Another's phone fails by its own condition.
        return patient.item_id, actions
    # What the practice has written of them stays: name and phone are its to change.
    still_theirs = table.check(
        tenant.item(PATIENT, existing),
        "attribute_exists(pk) AND attribute_not_exists(deleted_at) AND email = :email",
        values={":email": email},
        label="known",
    )
    return existing, [still_theirs]


def _joined(person: str, practice: PracticeItem) -> MembershipOut:
    for membership in memberships.of(person):
        if membership.practice == practice.item_id:
            return me.to_out(membership, _name(practice))
    raise NotFound


def _name(practice: PracticeItem) -> PracticeName:
    return PracticeName(id=practice.item_id, name=practice.name)
