"""Invitations: the one way into a practice, by a link that is mailed to the invited address.

Whoever holds the link's token owns the address: only the token's sha256 is kept, it works once and
for seven days, and sending it again makes a new one and ends the old. What happens with a token
that does not work is the same whatever the reason: it says nothing about who was invited where.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import ids, keys, mail, settings, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from consulta.core.http import ApiModel, Id, check_version
from consulta.core.idempotency import LABEL as IDEMPOTENCY
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Account, Principal, refuse_key
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import failure
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch, to_text
from consulta.people import accounts, members, memberships, owners, practices, roles, writes
from consulta.people.contact import fold_email
from consulta.people.records import INVITATION, PATIENT, InvitationItem, MemberItem
from consulta.people.schema.experts import ExpertIn
from consulta.people.schema.fields import PracticeName
from consulta.people.schema.invitations import (
    AcceptedOut,
    AcceptIn,
    AcceptSignedIn,
    InvitationIn,
    InvitationOut,
    InvitationPage,
)

LIFETIME = timedelta(days=7)
# The lookup of a token that nobody used goes by the table's TTL, later than any clock's doubt.
_TIDY = LIFETIME + timedelta(days=2)
_MEMBER = "Somebody with this email address is in the practice already"
_INVITED = "This address is invited already: send that invitation again, or revoke it"


class AppSettings(settings.Settings):
    """Where the front end is that the links of mails lead to."""

    app_url: str


class _Again(ApiModel):
    """What an Idempotency-Key of sending again is bound to."""

    invitation_id: Id


def create(by: Principal, body: InvitationIn, key: str | None) -> InvitationOut:
    """Invite somebody, and mail them the link.

    Raises Forbidden for a role that is more than the caller's, Conflict (409 with ``existing_id``)
    for an address that is a member or invited already, Invalid for an unknown role or patient.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    standing = roles.standing(tenant, body.role, body.role_id)
    roles.require(by, standing)
    invitation_id, token, instant = ids.new_id("inv"), secrets.token_urlsafe(32), now()
    invitation = InvitationItem.create(
        tenant.item(INVITATION, invitation_id),
        INVITATION,
        by.actor,
        email=body.email,
        name=body.name,
        role=standing.role.value,
        role_id=standing.role_id,
        expert=body.expert.model_dump(mode="json") if body.expert else None,
        patient_id=body.patient_id,
        token_digest=_digest(token),
        valid_until=instant + LIFETIME,
        l1pk=tenant.listing(INVITATION),
        l1sk=f"{to_text(instant)}#{invitation_id}",
        walkpk=tenant.listing(INVITATION),
        walksk=invitation_id,
    )
    actions = [
        table.put_new(invitation),
        _lookup(tenant, invitation_id, token, instant),
        writes.claim(tenant, writes.INVITATION_EMAIL, body.email, invitation_id),
        table.check(
            tenant.unique(writes.MEMBER_EMAIL, body.email),
            "attribute_not_exists(pk)",
            label=writes.MEMBER_EMAIL,
        ),
        *([members.is_patient(tenant, body.patient_id)] if body.patient_id else []),
    ]
    try:
        table.transact([*actions, *once.actions(invitation_id)])
    except table.ConditionFailed as failed:
        if IDEMPOTENCY in failed.labels:
            return get(by, once.again().result)
        raise _not_invited(failed) from None
    return _mailed(by, invitation, token)


def _not_invited(failed: table.ConditionFailed) -> Problem:
    match failed.label:
        case writes.MEMBER_EMAIL:
            return writes.taken("body.email", _MEMBER, failed)
        case writes.INVITATION_EMAIL:
            return writes.taken("body.email", _INVITED, failed)
        case _:
            return Invalid.of("body.patient_id", "There is no such patient", "unknown")


def resend(by: Principal, invitation_id: str, key: str | None) -> InvitationOut:
    """Mail a new link, good for seven days from now; the old one no longer works.

    Raises NotFound, Forbidden as :func:`create` does, Conflict for one that is no longer open.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, _Again(invitation_id=invitation_id))
    if once.result:
        return get(by, once.result)
    invitation = _load(tenant, invitation_id)
    _must_be_open(invitation)
    roles.require(by, roles.standing(tenant, invitation.role, invitation.role_id))
    token, instant = secrets.token_urlsafe(32), now()
    values = {"token_digest": _digest(token), "valid_until": to_text(instant + LIFETIME)}
    actions = [
        table.change(invitation, by.actor, set_=values, remove=["mailed_at"]),
        _lookup(tenant, invitation_id, token, instant),
        table.delete(keys.invitation(invitation.token_digest)),
    ]
    try:
        table.transact([*actions, *once.actions(invitation_id)])
    except table.ConditionFailed as failed:
        if IDEMPOTENCY in failed.labels:
            return get(by, once.again().result)
        raise writes.lost_race(None) from None
    return _mailed(by, _load(tenant, invitation_id), token)


def revoke(by: Principal, invitation_id: str, if_match: str | None) -> None:
    """End an invitation: its link no longer works, and the address may be invited anew.

    Raises NotFound, PreconditionFailed, Conflict for one that was accepted or revoked.
    """
    tenant = by.tenant
    invitation = _load(tenant, invitation_id)
    check_version(if_match, invitation.version)
    _must_be_open(invitation)
    actions = [
        table.change(invitation, by.actor, set_={"state": "revoked"}),
        *_closed(tenant, invitation),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None


def listing(by: Principal, limit: int, cursor: str | None) -> InvitationPage:
    """The practice's invitations, the newest first, whatever became of them."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/invitations")
    query = table.Query(tenant.listing(INVITATION), index="l1", newest_first=True)
    page = query.page(limit, decode(cursor, *scope))
    return InvitationPage(
        items=[to_out(InvitationItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, invitation_id: str) -> InvitationOut:
    """One invitation. Raises NotFound."""
    return to_out(_load(by.tenant, invitation_id))


# coming in


def accept(body: AcceptIn, request_id: str, origin: str) -> AcceptedOut:
    """Come in with a new account.

    The account comes first, then all items in one transaction: after a crash in between, the
    account is there with the password that was chosen, and accepting goes on signed in.
    Raises NotFound for any token that does not work, Forbidden where the address has an account
    (its owner signs in and accepts), Invalid for a missing or refused password.
    """
    invitation = _by_token(body.token.get_secret_value())
    password = body.password.get_secret_value() if body.password else None
    person = accounts.admit(invitation.email, password, "body.password")
    if person is None:
        raise Forbidden(
            "This address has an account: sign in with it, "
            "then accept at /v1/invitations/accept-signed-in"
        )
    return _come_in(invitation, person, body.name, Actor(person, request_id, origin))


def accept_signed_in(
    account: Account, body: AcceptSignedIn, request_id: str, origin: str
) -> AcceptedOut:
    """Come in with the account that is signed in. Raises NotFound, Forbidden for another's."""
    refuse_key(account)
    invitation = _by_token(body.token.get_secret_value())
    if fold_email(accounts.of(account.person).email) != invitation.email:
        raise Forbidden("This invitation is for another address than your account's")
    return _come_in(
        invitation, account.person, body.name, Actor(account.person, request_id, origin)
    )


def _come_in(invitation: InvitationItem, person: str, name: str | None, by: Actor) -> AcceptedOut:
    tenant = invitation.tenant
    try:
        standing = roles.standing(tenant, invitation.role, invitation.role_id)
    except Invalid:
        raise _role_gone() from None
    member, joined = members.joining(
        tenant,
        by,
        person=person,
        email=invitation.email,
        name=name or invitation.name,
        role=standing.role,
        role_id=standing.role_id,
        expert=ExpertIn.model_validate(invitation.expert) if invitation.expert else None,
        patient=invitation.patient_id,
    )
    accepted = table.change(
        invitation,
        by,
        set_={"state": "accepted", "member_id": member.item_id},
        # The version says that it is the invitation that was read; its time may be over by now.
        condition="valid_until > :now",
        values={":now": to_text(now())},
    )
    actions = [accepted, *_closed(tenant, invitation), *joined]
    if standing.role is Role.OWNER:
        actions.append(owners.one_more(tenant))
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        raise _not_let_in(failed) from None
    return _accepted(practices.of(tenant).name, member)


def _not_let_in(failed: table.ConditionFailed) -> Problem:
    # First of all: of two at once the second finds everything taken, by the first.
    if INVITATION in failed.labels:
        return _not_good()
    if writes.MEMBER_EMAIL in failed.labels or memberships.LABEL in failed.labels:
        return Conflict("You are in this practice already")
    if PATIENT in failed.labels or writes.PATIENT_LOGIN in failed.labels:
        return Conflict("This invitation's patient has a login already, or is no longer there")
    return _role_gone()


def _role_gone() -> Problem:
    return Conflict("The role of this invitation is no longer there: ask for a new one")


def _not_good() -> Problem:
    return NotFound("This invitation does not work, or no longer: ask for a new one")


def _accepted(practice: str, member: MemberItem) -> AcceptedOut:
    shown = members.to_out(member)
    return AcceptedOut(
        practice=PracticeName(id=member.tenant.practice, name=practice),
        member_id=shown.id,
        role=shown.role,
        expert_id=shown.expert_id,
        patient_id=shown.patient_id,
    )


def _by_token(token: str) -> InvitationItem:
    digest = _digest(token)
    raw = table.get_raw(keys.invitation(digest))
    if raw is None:
        raise _not_good()
    found = table.from_raw(raw)
    tenant = Tenant(found["practice"])
    invitation = table.get(InvitationItem, tenant.item(INVITATION, found["invitation"]))
    if (
        invitation is None
        or invitation.token_digest != digest
        or to_out(invitation).state != "open"
    ):
        raise _not_good()
    return invitation


# rows and mail


def _digest(token: str) -> str:
    """What is kept of a token; 32 random bytes need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _lookup(tenant: Tenant, invitation_id: str, token: str, instant: datetime) -> table.Action:
    return table.put_values(
        keys.invitation(_digest(token)),
        {
            "entity": "INVITATION_TOKEN",
            "practice": tenant.practice,
            "invitation": invitation_id,
            "expires_at": to_epoch(instant + _TIDY),
        },
        label="token",
    )


def _closed(tenant: Tenant, invitation: InvitationItem) -> list[table.Action]:
    return [
        table.delete(keys.invitation(invitation.token_digest)),
        writes.release(tenant, writes.INVITATION_EMAIL, invitation.email),
    ]


def _must_be_open(invitation: InvitationItem) -> None:
    if invitation.state != "open":
        raise Conflict(f"The invitation was {invitation.state}")


def _load(tenant: Tenant, invitation_id: str) -> InvitationItem:
    invitation = table.get(InvitationItem, tenant.item(INVITATION, invitation_id))
    if invitation is None:
        raise NotFound
    return invitation


def _mailed(by: Principal, invitation: InvitationItem, token: str) -> InvitationOut:
    """Send the link, and note that it was sent.

    An invitation whose mail was refused stays, without ``mailed_at``: the token is nowhere but in
    the mail, so what helps is to send it again.
    """
    tenant = by.tenant
    try:
        mail.send(invitation.email, *_letter(practices.of(tenant).name, token))
    except (BotoCoreError, ClientError) as error:
        failure("an invitation was not mailed", error, invitation=invitation.item_id)
        return to_out(invitation)
    noted = table.change(invitation, by.actor, set_={"mailed_at": to_text(now())})
    _unless_changed(lambda: table.transact([noted]))
    return get(by, invitation.item_id)


def _unless_changed(write: Callable[[], None]) -> None:
    """A note only: whoever changed the item meanwhile knows better."""
    try:
        write()
    except table.ConditionFailed:
        return


def _letter(practice: str, token: str) -> tuple[str, str]:
    """Subject and text: the practice's name and the link, nothing about anybody."""
    link = f"{settings.load(AppSettings).app_url.rstrip('/')}/accept?token={token}"
    days = LIFETIME.days
    return (
        f"{practice} invites you",
        f"{practice} invites you to its account at Consulta.\n\n"
        f"To accept, open this link within {days} days:\n\n{link}\n\n"
        "The link is for you alone: whoever has it can accept in your place. "
        "If you did not expect this mail, you need not do anything.\n",
    )


def to_out(invitation: InvitationItem) -> InvitationOut:
    """An invitation as the API shows it."""
    is_over = invitation.state == "open" and invitation.valid_until <= now()
    return InvitationOut(
        id=invitation.item_id,
        email=invitation.email,
        name=invitation.name,
        role=Role(invitation.role),
        role_id=invitation.role_id,
        patient_id=invitation.patient_id,
        state="expired" if is_over else invitation.state,
        valid_until=invitation.valid_until,
        mailed_at=invitation.mailed_at,
        member_id=invitation.member_id,
        created_at=invitation.created_at,
        version=int(invitation.version),
    )
