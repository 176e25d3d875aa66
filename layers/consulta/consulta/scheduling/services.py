"""Services of a practice: what can be booked, at which price, by which experts."""

from collections.abc import Iterable
from typing import Any

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed, Problem
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling.busy import Row
from consulta.scheduling.records import SERVICE, ServiceItem
from consulta.scheduling.schema.fields import Price
from consulta.scheduling.schema.services import (
    Service,
    ServiceKind,
    ServicePage,
    ServicePatch,
    ServiceRequest,
)
from consulta.scheduling.slots import MINUTE

# Under each expert: which active services they give, so that the last one is known to be the last.
GIVES = "GIVES"
GIVEN = "services of an expert"


def create(by: Principal, body: ServiceRequest, key: str | None) -> Service:
    """A new service. Raises Forbidden, Invalid."""
    _may_write(by, body.expert_ids)
    _only_single(body.kind)
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    service_id = ids.new_id("svc")
    item = ServiceItem.create(
        tenant.item(SERVICE, service_id),
        SERVICE,
        by.actor,
        **_stored(body.model_dump(exclude={"price"}), body.price),
        l1pk=tenant.listing(SERVICE),
        l1sk=_place(body.position, service_id),
        walkpk=tenant.listing(SERVICE),
        walksk=service_id,
    )
    given = set(body.expert_ids) if body.active else set()
    flags = _flags(by, service_id, set(), given, body.expert_ids)
    try:
        table.transact([table.put_new(item), *flags, *once.actions(service_id)])
    except table.ConditionFailed as failed:
        if REPEATED in failed.labels:
            return get(by, once.again().result)
        raise _refusal(None) from None
    return to_api(item)


def listing(
    by: Principal, limit: int, cursor: str | None, *, include_inactive: bool
) -> ServicePage:
    """By position. Inactive ones are filtered out of the ``limit`` items read (docs/lists.md)."""
    tenant = by.tenant
    if include_inactive and by.role is Role.PATIENT:
        raise Forbidden("Inactive services are for the practice's members")
    scope = (tenant.practice, "/v1/services", str(include_inactive))
    query = table.Query(
        tenant.listing(SERVICE),
        index="l1",
        where="" if include_inactive else "active = :yes",
        values={} if include_inactive else {":yes": True},
    )
    page = query.page(limit, decode(cursor, *scope))
    return ServicePage(
        items=[to_api(ServiceItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, service_id: str) -> Service:
    """One service. Raises NotFound, for patients also where it is inactive."""
    item = _load(by.tenant, service_id)
    if by.role is Role.PATIENT and not item.active:
        raise NotFound
    return to_api(item)


def change(by: Principal, service_id: str, body: ServicePatch, if_match: str | None) -> Service:
    """Change a service; what is booked keeps the price and duration that it was booked with.

    Raises NotFound, Forbidden, Invalid, PreconditionFailed, Conflict.
    """
    item = _load(by.tenant, service_id)
    _may_write(by, item.expert_ids)
    check_version(if_match, item.version)
    wanted = {name: getattr(body, name) for name in body.model_fields_set}
    for name, value in wanted.items():
        if value is None:
            raise Invalid.of(f"body.{name}", "A service needs one", "missing")
    price = wanted.pop("price", None)
    values = _stored(wanted, price)
    if "kind" in values:
        _only_single(body.kind)
    if "expert_ids" in values:
        _may_write(by, values["expert_ids"])
    if "position" in values:
        values["l1sk"] = _place(values["position"], service_id)
    values = {name: value for name, value in values.items() if value != getattr(item, name)}
    if not values:
        return to_api(item)
    experts = values.get("expert_ids", item.expert_ids)
    after = set(experts) if values.get("active", item.active) else set()
    flags = _flags(by, service_id, _given(item), after, values.get("expert_ids", ()))
    _write([table.change(item, by.actor, set_=values), *flags], if_match)
    return to_api(_load(by.tenant, service_id))


def delete(by: Principal, service_id: str, if_match: str | None) -> None:
    """Take a service out of the lists; what is booked stays. Raises as :func:`change` does."""
    item = _load(by.tenant, service_id)
    _may_write(by, item.expert_ids)
    check_version(if_match, item.version)
    gone = table.change(
        item,
        by.actor,
        set_={"deleted_at": to_text(now()), "active": False},
        remove=["l1pk", "l1sk"],
    )
    _write([gone, *_flags(by, service_id, _given(item), set(), ())], if_match)


def to_api(item: ServiceItem) -> Service:
    """A service as the API shows it."""
    return Service(
        id=item.item_id,
        name=item.name,
        description=item.description,
        kind=ServiceKind(item.kind),
        duration_minutes=int(item.duration_s) // MINUTE,
        price=Price(amount=int(item.price), currency=item.currency),
        expert_ids=list(item.expert_ids),
        active=item.active,
        position=int(item.position),
        created_at=item.created_at,
        version=int(item.version),
    )


def _load(tenant: Tenant, service_id: str) -> ServiceItem:
    item = table.get(ServiceItem, tenant.item(SERVICE, service_id))
    if item is None or item.deleted_at is not None:
        raise NotFound
    return item


def _place(position: int, service_id: str) -> str:
    return f"{position:06d}#{service_id}"


def _given(item: ServiceItem) -> set[str]:
    return set(item.expert_ids) if item.active else set()


def _stored(values: dict[str, Any], price: Price | None) -> dict[str, Any]:
    stored = dict(values)
    if "duration_minutes" in stored:
        stored["duration_s"] = stored.pop("duration_minutes") * MINUTE
    if "kind" in stored:
        stored["kind"] = str(stored["kind"])
    if price is not None:
        stored |= {"price": price.amount, "currency": price.currency}
    return stored


def _may_write(by: Principal, experts: Iterable[str]) -> None:
    if by.role is Role.EXPERT and list(experts) != [by.expert]:
        raise Forbidden("An expert writes only services that they alone give")


def _only_single(kind: ServiceKind | None) -> None:
    if kind is ServiceKind.PACKAGE:
        raise Invalid.of(
            "body.kind", "Packages cannot be sold yet: only SINGLE services", "unsupported"
        )


def _write(actions: list[table.Action], if_match: str | None) -> None:
    try:
        table.transact(actions)
    except table.ConditionFailed:
        raise _refusal(if_match) from None


def _refusal(if_match: str | None) -> Problem:
    if if_match is not None:
        return PreconditionFailed()
    return Conflict("It was changed at the same time: read it again and repeat")


def _flags(
    by: Principal, service_id: str, before: set[str], after: set[str], named: Iterable[str]
) -> list[table.Action]:
    """Keep each expert's ``has_service``. Raises Invalid where one of ``named`` is not there."""
    tenant = by.tenant
    moved = sorted(before ^ after)
    wanted = sorted({*moved, *named})
    keys = [
        key for expert in wanted for key in (tenant.item(EXPERT, expert), _gives(tenant, expert))
    ]
    found = table.batch_get_raw(keys)
    if any(tenant.item(EXPERT, expert) not in found for expert in named):
        raise Invalid.of("body.expert_ids", "One of these is no expert of the practice", "unknown")
    actions = []
    for expert_id in moved:
        row_key = _gives(tenant, expert_id)
        row = Row.read(row_key, GIVEN, found.get(row_key))
        expert = ExpertItem.read(found[tenant.item(EXPERT, expert_id)])
        if expert_id in after:
            actions.append(row.put(service_id, ""))
        else:
            actions.append(row.drop(service_id))
        has_service = expert_id in after or bool(set(row.entries) - {service_id})
        if has_service != bool(expert.has_service):
            actions.append(table.change(expert, by.actor, set_={"has_service": has_service}))
    return actions


def _gives(tenant: Tenant, expert_id: str) -> Key:
    return tenant.sub(EXPERT, expert_id, GIVES)
