"""Rooms and equipment of a practice, and which services need them."""

from collections.abc import Iterable, Sequence

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people import writes
from consulta.scheduling.busy import Row
from consulta.scheduling.records import RESOURCE, ResourceItem
from consulta.scheduling.schema.resources import (
    Resource,
    ResourcePage,
    ResourcePatch,
    ResourceRequest,
)

# Under each resource: which active services need it, so that it cannot go while one does.
NEEDED_BY = "NEEDED_BY"
LABEL = "services of a resource"


def create(by: Principal, body: ResourceRequest, key: str | None) -> Resource:
    """A new room or piece of equipment."""
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    resource_id = ids.new_id("res")
    item = ResourceItem.create(
        tenant.item(RESOURCE, resource_id),
        RESOURCE,
        by.actor,
        **body.model_dump(),
        l1pk=tenant.listing(RESOURCE),
        l1sk=_place(body.position, resource_id),
        walkpk=tenant.listing(RESOURCE),
        walksk=resource_id,
    )
    try:
        table.transact([table.put_new(item), *once.actions(resource_id)])
    except table.ConditionFailed as failed:
        if REPEATED not in failed.labels:
            raise
        return get(by, once.again().result)
    return to_api(item)


def listing(
    by: Principal, limit: int, cursor: str | None, *, include_inactive: bool
) -> ResourcePage:
    """By position. Inactive ones are filtered out of the ``limit`` items read (docs/lists.md)."""
    if include_inactive and by.role is Role.PATIENT:
        raise Forbidden("Inactive resources are for the practice's members")
    tenant = by.tenant
    scope = (tenant.practice, "/v1/resources", str(include_inactive))
    query = table.Query(
        tenant.listing(RESOURCE),
        index="l1",
        where="" if include_inactive else "active = :yes",
        values={} if include_inactive else {":yes": True},
    )
    page = query.page(limit, decode(cursor, *scope))
    return ResourcePage(
        items=[to_api(ResourceItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, resource_id: str) -> Resource:
    """One of them. Raises NotFound, for patients also where it is inactive."""
    item = _load(by.tenant, resource_id)
    if by.role is Role.PATIENT and not item.active:
        raise NotFound
    return to_api(item)


def change(by: Principal, resource_id: str, body: ResourcePatch, if_match: str | None) -> Resource:
    """Change one; appointments that have it keep it. Raises NotFound, PreconditionFailed."""
    item = _load(by.tenant, resource_id)
    check_version(if_match, item.version)
    values = {name: getattr(body, name) for name in body.model_fields_set}
    for name, value in values.items():
        if value is None:
            raise Invalid.of(f"body.{name}", "A resource needs one", "missing")
    if "position" in values:
        values["l1sk"] = _place(values["position"], resource_id)
    values = {name: value for name, value in values.items() if value != getattr(item, name)}
    if values:
        _write([table.change(item, by.actor, set_=values)], if_match)
    return to_api(_load(by.tenant, resource_id))


def delete(by: Principal, resource_id: str, if_match: str | None) -> None:
    """Take one out of the lists; appointments that have it keep it.

    Raises NotFound, PreconditionFailed, and Conflict with ``service_ids`` while active services
    need it.
    """
    tenant = by.tenant
    item = _load(tenant, resource_id)
    check_version(if_match, item.version)
    row = _row(tenant, resource_id, table.get_raw(_needed_key(tenant, resource_id)))
    if row.entries:
        raise Conflict(
            "Active services need it: change them first",
            extra={"service_ids": sorted(row.entries)},
        )
    gone = table.change(
        item,
        by.actor,
        set_={"deleted_at": to_text(now()), "active": False},
        remove=["l1pk", "l1sk"],
    )
    # The row is written, too: a service that takes it on at this moment was there first, or fails.
    _write([gone, row.drop(resource_id)], if_match)


def needed_by(
    tenant: Tenant,
    service_id: str,
    before: set[str],
    after: set[str],
    named: Sequence[Iterable[str]],
) -> list[table.Action]:
    """Keep the rows of who needs what, in the transaction that changes a service.

    ``named`` are the groups that the caller gives. Raises Invalid, naming the group's place, where
    one of them is no resource of the practice.
    """
    moved = sorted(before ^ after)
    wanted = sorted({*moved, *(one for group in named for one in group)})
    keys = [key for one in wanted for key in (tenant.item(RESOURCE, one), _needed_key(tenant, one))]
    found = table.batch_get_raw(keys)
    for place, group in enumerate(named):
        for number, one in enumerate(group):
            raw = found.get(tenant.item(RESOURCE, one))
            if raw is None or ResourceItem.read(raw).deleted_at is not None:
                path = f"body.resources.{place}.{number}"
                message = "This is no resource of the practice"
                raise Invalid(message, errors=(FieldError(path, message, "unknown"),))
    actions = []
    for one in moved:
        row = _row(tenant, one, found.get(_needed_key(tenant, one)))
        actions.append(row.put(service_id, "") if one in after else row.drop(service_id))
    return actions


def to_api(item: ResourceItem) -> Resource:
    """A resource as the API shows it."""
    return Resource(
        id=item.item_id,
        name=item.name,
        kind=item.kind,
        active=item.active,
        position=int(item.position),
        created_at=item.created_at,
        version=int(item.version),
    )


def _load(tenant: Tenant, resource_id: str) -> ResourceItem:
    item = table.get(ResourceItem, tenant.item(RESOURCE, resource_id))
    if item is None or item.deleted_at is not None:
        raise NotFound
    return item


def _place(position: int, resource_id: str) -> str:
    return f"{position:06d}#{resource_id}"


def _needed_key(tenant: Tenant, resource_id: str) -> Key:
    return tenant.sub(RESOURCE, resource_id, NEEDED_BY)


def _row(tenant: Tenant, resource_id: str, raw: table.Raw | None) -> Row:
    return Row.read(_needed_key(tenant, resource_id), LABEL, raw)


def _write(actions: list[table.Action], if_match: str | None) -> None:
    try:
        table.transact(actions)
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
