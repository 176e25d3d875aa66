"""Members of a practice: /v1/members."""

from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.money import payees
from consulta.people import members
from consulta.people.schema.members import MemberIn, MemberOut, MemberPage

api = Api("members")

Kind = Annotated[Literal["staff", "patient"], Query(description="Staff, or patients' logins")]


@api.post("/v1/members")
@needs("members:write")
def create(body: MemberIn, key: IdempotencyKey = None) -> MemberOut:
    """Let somebody in."""
    member = members.create(api.caller, body, key)
    if member.expert_id:
        # The practice's account may be ready already; people know nothing of money.
        payees.update_readiness(api.caller.tenant, member.expert_id, api.caller.actor)
    return api.created(member, f"/v1/members/{member.id}")


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


lambda_handler = api.handler
