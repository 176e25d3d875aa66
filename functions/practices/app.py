"""Practices: /v1/practices."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.people import practices
from consulta.people.schema.practices import (
    PlanIn,
    PracticeCreated,
    PracticeIn,
    PracticeOut,
    PracticePage,
    PracticePatch,
)

api = Api("practices")


@api.post("/v1/practices")
@needs("practices:write")
def create(body: PracticeIn, key: IdempotencyKey = None) -> PracticeCreated:
    """A new practice with its owner: for the platform's operators."""
    practice = practices.create(api.caller, body, key)
    return api.created(practice, f"/v1/practices/{practice.id}")


@api.get("/v1/practices")
@needs("practices:read")
def listing(limit: Limit = 20, cursor: Cursor = None) -> PracticePage:
    """Every practice, the newest first: for the platform's operators."""
    return api.ok(practices.listing(api.caller, limit, cursor))


@api.get("/v1/practices/<practice_id>")
@needs("practice:read")
def get(practice_id: Id) -> PracticeOut:
    """The caller's own practice."""
    return api.ok(practices.get(api.caller, practice_id))


@api.patch("/v1/practices/<practice_id>")
@needs("practice:write")
def change(practice_id: Id, body: PracticePatch, if_match: IfMatch = None) -> PracticeOut:
    """Change the caller's own practice."""
    return api.ok(practices.change(api.caller, practice_id, body, if_match))


@api.put("/v1/practices/<practice_id>/plan")
@needs("practices:write")
def put_plan(practice_id: Id, body: PlanIn, if_match: IfMatch = None) -> PracticeOut:
    """Put a practice on a plan, or on none: for the platform's operators. It holds from now on."""
    return api.ok(practices.put_plan(api.caller, practice_id, body, if_match))


lambda_handler = api.handler
