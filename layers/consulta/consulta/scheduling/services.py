"""Services of a practice: what can be booked, at which price, by which experts."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from consulta.core import ids, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Problem,
)
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.money import MAX_AMOUNT
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling import pricing, resources
from consulta.scheduling.busy import Row
from consulta.scheduling.records import SERVICE, ServiceCatalogItem, ServiceItem
from consulta.scheduling.schema.fields import Price, Tax
from consulta.scheduling.schema.services import (
    AskedDeposit,
    CatalogState,
    Deposit,
    Location,
    Service,
    ServiceDetail,
    ServiceKind,
    ServiceOrder,
    ServicePage,
    ServicePatch,
    ServiceRequest,
)
from consulta.scheduling.slots import MINUTE

# Under each expert: which active services they give, so that the last one is known to be the last.
GIVES = "GIVES"
GIVEN = "services of an expert"
# Under each service: what Stripe's catalogue has of it.
CATALOG = "CATALOG"
# What null clears; all else a service must have.
_CLEARED_BY_NULL = frozenset({"colour", "location", "tax", "deposit"})
_AS_JSON = ("location", "resources", "tax", "deposit")


def create(by: Principal, body: ServiceRequest, key: str | None) -> ServiceDetail:
    """A new service. Raises Forbidden, Invalid."""
    _may_write(by, body.expert_ids)
    _check_kind(body.kind, body.model_dump(), body.model_fields_set)
    _check_terms(body.kind, body.price, body.tax, body.deposit, body.model_fields_set)
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    service_id = ids.new_id("svc")
    item = ServiceItem.create(
        tenant.item(SERVICE, service_id),
        SERVICE,
        by.actor,
        **_values(body.model_dump(exclude={"price", "deposit"}), body.price),
        deposit=_asked(body.deposit, body.price, body.tax),
        l1pk=tenant.listing(SERVICE),
        l1sk=_place(body.position, service_id),
        walkpk=tenant.listing(SERVICE),
        walksk=service_id,
    )
    given = set(body.expert_ids) if body.active else set()
    flags = _flags(by, service_id, set(), given, body.expert_ids)
    needed = _ids(body.resources)
    rows = resources.needed_by(
        tenant, service_id, set(), needed if body.active else set(), body.resources
    )
    parts = [table.put_new(item), *flags, *rows, *once.actions(service_id)]
    _check_size(parts)
    try:
        table.transact(parts)
    except table.ConditionFailed as failed:
        if REPEATED in failed.labels:
            return get(by, once.again().result)
        raise _refusal(None) from None
    return _detail(by, item, None)


def listing(
    by: Principal,
    limit: int,
    cursor: str | None,
    *,
    include_inactive: bool = False,
    category: str | None = None,
    expert_id: str | None = None,
) -> ServicePage:
    """By position. What is not asked for is filtered out of the ``limit`` items read.

    docs/lists.md has the table.
    """
    tenant = by.tenant
    if include_inactive and by.role is Role.PATIENT:
        raise Forbidden("Inactive services are for the practice's members")
    scope = (
        tenant.practice,
        "/v1/services",
        str(include_inactive),
        *([category or "", expert_id or ""] if category or expert_id else []),
    )
    parts: dict[str, tuple[str, Any]] = {}
    if not include_inactive:
        parts["active"] = ("#active = :active", True)
    if category:
        parts["category"] = ("#category = :category", category)
    if expert_id:
        parts["expert_ids"] = ("contains(#expert_ids, :expert_ids)", expert_id)
    query = table.Query(
        tenant.listing(SERVICE),
        index="l1",
        where=" AND ".join(condition for condition, _ in parts.values()),
        names={f"#{name}": name for name in parts},
        values={f":{name}": value for name, (_, value) in parts.items()},
    )
    page = query.page(limit, decode(cursor, *scope))
    return ServicePage(
        items=[to_api(ServiceItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def get(by: Principal, service_id: str) -> ServiceDetail:
    """One service. Raises NotFound, for patients also where it is inactive."""
    tenant = by.tenant
    key, catalog = tenant.item(SERVICE, service_id), catalog_key(tenant, service_id)
    found = table.batch_get_raw([key, catalog])
    item = ServiceItem.read(found[key]) if key in found else None
    if item is None or item.deleted_at is not None:
        raise NotFound
    if by.role is Role.PATIENT and not item.active:
        raise NotFound
    known = ServiceCatalogItem.read(found[catalog]) if catalog in found else None
    return _detail(by, item, known)


def change(
    by: Principal, service_id: str, body: ServicePatch, if_match: str | None
) -> ServiceDetail:
    """Change a service; what is booked keeps the price and duration that it was booked with.

    Raises NotFound, Forbidden, Invalid, PreconditionFailed, Conflict.
    """
    item = _load(by.tenant, service_id)
    _may_write(by, item.expert_ids)
    check_version(if_match, item.version)
    wanted = {name: getattr(body, name) for name in body.model_fields_set}
    _check_patch(item, wanted)
    if wanted.get("expert_ids") is not None:
        _may_write(by, wanted["expert_ids"])
    price = wanted.pop("price", None)
    terms = _terms(item, wanted, price)
    for name in ("location", "tax"):
        if wanted.get(name):
            wanted[name] = wanted[name].model_dump()
    values = {**_values(wanted, price), **terms}
    if "position" in values:
        values["l1sk"] = _place(values["position"], service_id)
    values = {name: value for name, value in values.items() if value != getattr(item, name)}
    if not values:
        return get(by, service_id)
    active = values.get("active", item.active)
    experts = set(values.get("expert_ids", item.expert_ids))
    groups = values.get("resources", item.resources or [])
    flags = _flags(
        by,
        service_id,
        _given(item),
        experts if active else set(),
        values.get("expert_ids", ()),
    )
    # Of what becomes bookable again every resource must still be there.
    named = groups if "resources" in values or (active and not item.active) else []
    rows = resources.needed_by(
        by.tenant, service_id, _needed(item), _ids(groups) if active else set(), named
    )
    stored, gone = _stored(values)
    changed = table.change(item, by.actor, set_=stored, remove=gone)
    _write([changed, *flags, *rows], if_match)
    return get(by, service_id)


def order(by: Principal, body: ServiceOrder) -> None:
    """Give services their positions, all or none. Raises Forbidden, Conflict, Invalid."""
    tenant = by.tenant
    keys = [tenant.item(SERVICE, service_id) for service_id in body.ids]
    found = table.batch_get_raw(keys)
    actions: list[table.Action] = []
    for position, key in enumerate(keys):
        item = ServiceItem.read(found[key]) if key in found else None
        if item is None or item.deleted_at is not None:
            raise Invalid.of(f"body.ids.{position}", "There is no such service", "unknown")
        _may_write(by, item.expert_ids)
        if int(item.position) != position:
            place = {"position": position, "l1sk": _place(position, item.item_id)}
            actions.append(table.change(item, by.actor, set_=place))
    if actions:
        _write(actions, None)


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
    flags = _flags(by, service_id, _given(item), set(), ())
    rows = resources.needed_by(by.tenant, service_id, _needed(item), set(), [])
    _write([gone, *flags, *rows], if_match)


def catalog_key(tenant: Tenant, service_id: str) -> Key:
    """Where it is kept what Stripe has of a service."""
    return tenant.sub(SERVICE, service_id, CATALOG)


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
        category=item.category,
        colour=item.colour,
        location=Location.model_validate(item.location) if item.location else None,
        seats=int(item.seats),
        resources=item.resources or [],
        tax=Tax.model_validate(item.tax) if item.tax else None,
        total=Price(
            amount=pricing.total_of(int(item.price), item.tax), currency=str(item.currency)
        ),
        deposit=AskedDeposit.model_validate(item.deposit) if item.deposit else None,
        sessions=int(item.sessions) if item.sessions else None,
        validity_days=int(item.validity_days) if item.validity_days else None,
        created_at=item.created_at,
        version=int(item.version),
    )


def _detail(by: Principal, item: ServiceItem, known: ServiceCatalogItem | None) -> ServiceDetail:
    catalog = None if by.role is Role.PATIENT else _catalog(item, known)
    return ServiceDetail(**dict(to_api(item)), catalog=catalog)


def _catalog(item: ServiceItem, known: ServiceCatalogItem | None) -> CatalogState:
    if known is None:
        return CatalogState(state="pending")
    failed = known.state == "failed"
    current = int(known.service_version) == int(item.version)
    return CatalogState(
        state="failed" if failed else "synced" if current else "pending",
        product_id=known.product_id,
        price_id=known.price_id,
        error=known.error if failed else None,
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


def _ids(groups: Iterable[Iterable[str]]) -> set[str]:
    return {one for group in groups for one in group}


def _needed(item: ServiceItem) -> set[str]:
    return _ids(item.resources or []) if item.active else set()


def _values(values: dict[str, Any], price: Price | None) -> dict[str, Any]:
    """As the item's attributes have it."""
    found = dict(values)
    if "duration_minutes" in found:
        found["duration_s"] = found.pop("duration_minutes") * MINUTE
    if "kind" in found:
        found["kind"] = str(found["kind"])
    if price is not None:
        found |= {"price": price.amount, "currency": price.currency}
    return found


def _stored(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is written of them, and which attributes go."""
    as_json = {n: json.dumps(values[n]) for n in _AS_JSON if values.get(n)}
    stored = {**values, **as_json}
    gone = [name for name in (*_CLEARED_BY_NULL, "resources") if name in stored]
    gone = [name for name in gone if not stored[name]]
    return {name: value for name, value in stored.items() if name not in gone}, gone


def _may_write(by: Principal, experts: Iterable[str]) -> None:
    if by.role is Role.EXPERT and list(experts) != [by.expert]:
        raise Forbidden("An expert writes only services that they alone give")


def _check_kind(kind: ServiceKind, values: Mapping[str, Any], named: Iterable[str]) -> None:
    """What a PACKAGE must have and a SINGLE service must not. Raises Invalid, all at once."""
    own = ("sessions", "validity_days")
    if kind is ServiceKind.PACKAGE:
        found = [
            FieldError(f"body.{name}", "A PACKAGE needs it", "missing")
            for name in own
            if values[name] is None
        ]
        if values["price"]["amount"] == 0:
            found.append(FieldError("body.price.amount", "A PACKAGE has a price", "free"))
        if values["seats"] != 1:
            found.append(FieldError("body.seats", "A PACKAGE has one seat", "seats"))
    else:
        found = [
            FieldError(f"body.{name}", "Only a PACKAGE has it", "kind")
            for name in own
            if name in named and values[name] is not None
        ]
    if found:
        raise Invalid(errors=tuple(found))


def _check_terms(
    kind: ServiceKind,
    price: Price,
    tax: Tax | None,
    deposit: Deposit | None,
    named: Iterable[str],
) -> None:
    """A tax needs a price, a deposit is a part of what is owed. Raises Invalid, all at once."""
    found = list[FieldError]()

    def wrong(field: str, message: str, code: str) -> None:
        # What was not written did not change: it is the price that does not fit it any more.
        path = field if field.partition(".")[0] in named else "price.amount"
        found.append(FieldError(f"body.{path}", message, code))

    total = pricing.total_of(price.amount, tax.model_dump() if tax else None)
    if total > MAX_AMOUNT:
        wrong("price.amount", "With its tax it is too much", "range")
    if deposit is not None:
        given = [name for name in ("fixed", "percent") if getattr(deposit, name) is not None]
        if kind is ServiceKind.PACKAGE:
            wrong("deposit", "A PACKAGE is paid as a whole", "kind")
        elif len(given) != 1:
            wrong("deposit", "Either a fixed deposit or a percentage", "one_of")
        elif not 0 < pricing.deposit_of(total, price.currency, deposit.model_dump()) < total:
            wrong(f"deposit.{given[0]}", "A deposit is a part of the price", "range")
    if found:
        raise Invalid(errors=tuple(found))


def _asked(deposit: Deposit | None, price: Price, tax: Tax | None) -> dict[str, Any] | None:
    """A deposit as it is stored: with what it comes to."""
    if deposit is None:
        return None
    terms = deposit.model_dump()
    total = pricing.total_of(price.amount, tax.model_dump() if tax else None)
    return {**terms, "amount": pricing.deposit_of(total, price.currency, terms)}


def _terms(item: ServiceItem, wanted: dict[str, Any], price: Price | None) -> dict[str, Any]:
    """The deposit as it is with this change, where price, tax or the deposit itself change.

    Raises Invalid.
    """
    named = {"tax", "deposit"} & set(wanted) | ({"price"} if price else set())
    if not named:
        return {}
    given = wanted.pop("deposit", None)
    kept = item.deposit and {name: item.deposit[name] for name in ("fixed", "percent")}
    deposit = given if "deposit" in named else Deposit.model_validate(kept) if kept else None
    tax = wanted["tax"] if "tax" in wanted else Tax.model_validate(item.tax) if item.tax else None
    of = price or Price(amount=int(item.price), currency=item.currency)
    _check_terms(ServiceKind(item.kind), of, tax, deposit, named)
    return {"deposit": _asked(deposit, of, tax)}


def _check_patch(item: ServiceItem, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if value is None and name not in _CLEARED_BY_NULL:
            raise Invalid.of(f"body.{name}", "A service needs one", "missing")
    kind = ServiceKind(item.kind)
    if wanted.get("kind", kind) is not kind:
        raise Invalid.of("body.kind", "The kind of a service stays as it was made", "kind")
    price = wanted["price"].amount if "price" in wanted else int(item.price)
    values = {
        "sessions": item.sessions,
        "validity_days": item.validity_days,
        "seats": int(item.seats),
        **wanted,
        "price": {"amount": price},
    }
    _check_kind(kind, values, wanted)


def _check_size(actions: list[table.Action]) -> None:
    """Each expert and each resource that comes or goes is a part or two of the transaction."""
    if len(actions) > table.TRANSACT_MAX:
        raise Invalid.of("body", "Change fewer experts and resources at once", "too_many")


def _write(actions: list[table.Action], if_match: str | None) -> None:
    _check_size(actions)
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
