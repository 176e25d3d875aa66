"""Experts: their public profile, how far their set-up is, and publishing."""

from typing import Any

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, NotFound
from consulta.core.http import check_version
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.people import writes
from consulta.people.records import EXPERT, ExpertItem
from consulta.people.schema.experts import (
    ExpertOut,
    ExpertPage,
    ExpertPatch,
)
from consulta.people.schema.setup import SetupOut, SetupStepOut
from consulta.people.setup import setup_of

_MANAGERS = frozenset({Role.OWNER, Role.ADMIN})
# Whatever was read: nobody is published whose last service went at the same moment.
_READY = "has_hours = :yes AND has_service = :yes AND payments_ready = :yes"


def listing(by: Principal, limit: int, cursor: str | None) -> ExpertPage:
    """The practice's experts; patients see the published ones.

    By index, the oldest first. What is published is filtered within ``limit`` items read, so a page
    may be short while its cursor goes on.
    """
    tenant, published_only = by.tenant, by.role is Role.PATIENT
    scope = (tenant.practice, "/v1/experts", str(published_only))
    query = table.Query(
        tenant.listing(EXPERT),
        index="l1",
        where="published = :yes" if published_only else "",
        values={":yes": True} if published_only else {},
    )
    page = query.page(limit, decode(cursor, *scope))
    return ExpertPage(
        items=[to_out(ExpertItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, expert_id: str) -> ExpertOut:
    """One expert. Raises NotFound, also where a patient asks for one who is not published."""
    expert = _load(by, expert_id)
    if by.role is Role.PATIENT and not expert.published:
        raise NotFound
    return to_out(expert)


def change(by: Principal, expert_id: str, body: ExpertPatch, if_match: str | None) -> ExpertOut:
    """Change a profile: one's own, or as owner or admin anybody's.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict.
    """
    return _write(by, _managed(by, expert_id), body.model_dump(exclude_none=True), if_match)


def publish(by: Principal, expert_id: str, if_match: str | None) -> ExpertOut:
    """Show an expert to patients. Raises Conflict, with ``open_steps``, until all are done."""
    expert = _managed(by, expert_id)
    steps = setup_of(expert).open_steps
    if steps:
        raise Conflict(f"Open steps of the set-up: {', '.join(steps)}", extra={"open_steps": steps})
    return _write(by, expert, {"published": True}, if_match, condition=_READY)


def unpublish(by: Principal, expert_id: str, if_match: str | None) -> ExpertOut:
    """Hide an expert from patients; what is booked stays."""
    return _write(by, _managed(by, expert_id), {"published": False}, if_match)


def setup(by: Principal, expert_id: str) -> SetupOut:
    """How far the set-up is: for the expert, owners and admins."""
    found = setup_of(_managed(by, expert_id))
    return SetupOut(
        done=found.done,
        total=found.total,
        steps=[SetupStepOut.model_validate(step) for step in found.steps],
        can_publish=found.can_publish,
    )


def _load(by: Principal, expert_id: str) -> ExpertItem:
    expert = table.get(ExpertItem, by.tenant.item(EXPERT, expert_id))
    if expert is None:
        raise NotFound
    return expert


def _managed(by: Principal, expert_id: str) -> ExpertItem:
    expert = _load(by, expert_id)
    if by.role not in _MANAGERS and by.expert != expert_id:
        raise Forbidden("An expert changes only their own profile")
    return expert


def _write(
    by: Principal,
    expert: ExpertItem,
    values: dict[str, Any],
    if_match: str | None,
    condition: str = "",
) -> ExpertOut:
    check_version(if_match, expert.version)
    if all(getattr(expert, name) == value for name, value in values.items()):
        return to_out(expert)
    try:
        table.transact(
            [
                table.change(
                    expert,
                    by.actor,
                    set_=values,
                    condition=condition,
                    values={":yes": True} if condition else {},
                )
            ]
        )
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
    return to_out(_load(by, expert.item_id))


def to_out(expert: ExpertItem) -> ExpertOut:
    """An expert as everybody in the practice may see one."""
    return ExpertOut(
        id=expert.item_id,
        name=expert.name,
        title=expert.title,
        bio=expert.bio,
        languages=list(expert.languages),
        zone=expert.zone,
        published=expert.published,
        version=int(expert.version),
    )
