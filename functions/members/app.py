"""Members of a practice: /v1/members. They come by invitation: /v1/invitations."""

from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IfMatch, Limit, needs
from consulta.money.accounts import payees
from consulta.people import members
from consulta.people.schema.members import MemberOut, MemberPage, MemberPatch

api = Api("members")

Kind = Annotated[Literal["staff", "patient"], Query(description="Staff, or patients' logins")]


@api.get("/v1/members")
@needs("members:read")
def listing(limit: Limit = 20, cursor: Cursor = None, kind: Kind = "staff") -> MemberPage:
    """The practice's members, the oldest first."""
    return api.ok(members.listing(api.caller, limit, cursor, patients=kind == "patient"))


@api.get("/v1/members/<member_id>")
@needs("members:read")
def get(member_id: Id) -> MemberOut:
    """One member."""
    return api.ok(members.get(api.caller, member_id))


@api.patch("/v1/members/<member_id>")
@needs("members:write")
def change(member_id: Id, body: MemberPatch, if_match: IfMatch = None) -> MemberOut:
    """Change a member's name or role."""
    member = members.change(api.caller, member_id, body, if_match)
    if body.expert and member.expert_id:
        # The practice's account may be ready already; people know nothing of money.
        payees.update_readiness(api.caller.tenant, member.expert_id, api.caller.actor)
    return api.ok(member)


@api.post("/v1/members/<member_id>/deactivate")
@needs("members:write")
def deactivate(member_id: Id, if_match: IfMatch = None) -> MemberOut:
    """Let a member in no longer."""
    return api.ok(members.deactivate(api.caller, member_id, if_match))


@api.post("/v1/members/<member_id>/reactivate")
@needs("members:write")
def reactivate(member_id: Id, if_match: IfMatch = None) -> MemberOut:
    """Let a deactivated member in again."""
    return api.ok(members.reactivate(api.caller, member_id, if_match))


@api.post("/v1/members/<member_id>/transfer-ownership")
@needs("practice:own")
def transfer_ownership(member_id: Id, if_match: IfMatch = None) -> MemberOut:
    """Make another member the owner, and oneself an admin."""
    return api.ok(members.transfer_ownership(api.caller, member_id, if_match))


lambda_handler = api.handler
