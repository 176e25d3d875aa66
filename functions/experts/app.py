"""Experts of a practice: /v1/experts."""

from consulta.core.http import Api, Cursor, Id, IfMatch, Limit, needs
from consulta.people import experts, profile_views
from consulta.people.schema.experts import (
    ExpertOut,
    ExpertPage,
    ExpertPatch,
    ProfileView,
)
from consulta.people.schema.setup import SetupOut

api = Api("experts")


@api.get("/v1/experts")
@needs("experts:read")
def listing(limit: Limit = 20, cursor: Cursor = None) -> ExpertPage:
    """The practice's experts; patients see the published ones."""
    return api.ok(experts.listing(api.caller, limit, cursor))


@api.get("/v1/experts/<expert_id>")
@needs("experts:read")
def get(expert_id: Id) -> ExpertOut:
    """One expert."""
    return api.ok(experts.get(api.caller, expert_id))


@api.patch("/v1/experts/<expert_id>")
@needs("experts:write")
def change(expert_id: Id, body: ExpertPatch, if_match: IfMatch = None) -> ExpertOut:
    """Change a profile: one's own, or as owner or admin anybody's."""
    return api.ok(experts.change(api.caller, expert_id, body, if_match))


@api.get("/v1/experts/<expert_id>/setup")
@needs("experts:write")
def setup(expert_id: Id) -> SetupOut:
    """How far the set-up is, and where each open step is done."""
    return api.ok(experts.setup(api.caller, expert_id))


@api.post("/v1/experts/<expert_id>/publish")
@needs("experts:write")
def publish(expert_id: Id, if_match: IfMatch = None) -> ExpertOut:
    """Show the expert to patients; 409 with ``open_steps`` until the set-up is done."""
    return api.ok(experts.publish(api.caller, expert_id, if_match))


@api.post("/v1/experts/<expert_id>/unpublish")
@needs("experts:write")
def unpublish(expert_id: Id, if_match: IfMatch = None) -> ExpertOut:
    """Hide the expert from patients; what is booked stays."""
    return api.ok(experts.unpublish(api.caller, expert_id, if_match))


@api.post("/v1/experts/<expert_id>/views")
@needs("experts:read")
def view(expert_id: Id, body: ProfileView) -> None:
    """A visitor has seen the profile: counted once a day; the practice's members are not."""
    profile_views.record(api.caller, expert_id, body)
    return api.no_content()


lambda_handler = api.handler
