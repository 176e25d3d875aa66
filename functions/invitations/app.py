"""Invitations into a practice, and accepting one: /v1/invitations."""

from consulta.core.http import (
    PUBLIC,
    SIGNED_IN,
    Api,
    Cursor,
    Id,
    IdempotencyKey,
    IfMatch,
    Limit,
    needs,
)
from consulta.money.accounts import payees
from consulta.people import invitations
from consulta.people.schema import invitations as s

api = Api("invitations")


@api.post("/v1/invitations")
@needs("members:write")
def create(body: s.InvitationIn, key: IdempotencyKey = None) -> s.InvitationOut:
    """Invite somebody by mail."""
    invitation = invitations.create(api.caller, body, key)
    return api.created(invitation, f"/v1/invitations/{invitation.id}")


@api.get("/v1/invitations")
@needs("members:write")
def listing(limit: Limit = 20, cursor: Cursor = None) -> s.InvitationPage:
    """The practice's invitations, the newest first."""
    return api.ok(invitations.listing(api.caller, limit, cursor))


@api.get("/v1/invitations/<invitation_id>")
@needs("members:write")
def get(invitation_id: Id) -> s.InvitationOut:
    """One invitation."""
    return api.ok(invitations.get(api.caller, invitation_id))


@api.post("/v1/invitations/<invitation_id>/resend")
@needs("members:write")
def resend(invitation_id: Id, key: IdempotencyKey = None) -> s.InvitationOut:
    """Mail a new link; the old one no longer works."""
    return api.ok(invitations.resend(api.caller, invitation_id, key))


@api.delete("/v1/invitations/<invitation_id>")
@needs("members:write")
def revoke(invitation_id: Id, if_match: IfMatch = None) -> None:
    """End an invitation."""
    invitations.revoke(api.caller, invitation_id, if_match)
    return api.no_content()


@api.post("/v1/invitations/accept")
@needs(PUBLIC)
def accept(body: s.AcceptIn) -> s.AcceptedOut:
    """Come in with a new account, by the token of the mailed link."""
    came = invitations.accept(body, api.request_id, api.origin)
    payees.newcomer(came.practice.id, came.expert_id, api.request_id, api.origin)
    return api.created(came, f"/v1/members/{came.member_id}")


@api.post("/v1/invitations/accept-signed-in")
@needs(SIGNED_IN)
def accept_signed_in(body: s.AcceptSignedIn) -> s.AcceptedOut:
    """Come in with the account that is signed in."""
    came = invitations.accept_signed_in(api.account, body, api.request_id, api.origin)
    payees.newcomer(came.practice.id, came.expert_id, api.request_id, api.origin)
    return api.created(came, f"/v1/members/{came.member_id}")


lambda_handler = api.handler
