"""Runs and differences as they are stored: the same difference of the next day is the same item."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from itertools import batched
from typing import Any

from consulta.core import table
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text
from consulta.money.accounts.payout_effects import PLATFORM_TENANT
from consulta.money.reconciliation.matching import IN_FLIGHT, Difference, Kind
from consulta.money.reconciliation.records import (
    DIFFERENCE,
    RECONCILIATION,
    DifferenceItem,
    RunItem,
    difference_id,
    run_key,
)

OPEN, RESOLVED = "open", "resolved"
AT_ONCE = 25
_JSON = frozenset({"counts", "balances", "failures", "after"})


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """A run's attributes as an update writes them."""
    return {name: as_json(value) if name in _JSON else value for name, value in values.items()}


def as_json(value: Any) -> str:
    """As a JSON attribute is stored."""
    return json.dumps(value)


def new_run(tenant: Tenant, day: str, by: Actor, state: str) -> RunItem:
    """A run, or a practice's part of it, in memory."""
    return RunItem.create(
        run_key(tenant, day),
        RECONCILIATION,
        by,
        state=state,
        l1pk=tenant.listing(RECONCILIATION),
        l1sk=day,
    )


# ---------------------------------------------------------------- differences


def open_of(scope: str) -> list[DifferenceItem]:
    """The open differences that one look finds, read consistently."""
    rows = table.Query(_open_list(scope), index="l3").all()
    found = table.batch_get_raw([_key(raw) for raw in rows])
    items = [DifferenceItem.read(raw) for raw in found.values()]
    return [item for item in items if item.state == OPEN]


def _key(raw: table.Raw) -> Any:
    return DifferenceItem.read(raw).key


def _open_list(scope: str) -> str:
    return PLATFORM_TENANT.listing_by(DIFFERENCE, "OPEN", scope)


def store(
    scope: str,
    found: Iterable[Difference],
    open_ones: Sequence[DifferenceItem],
    day: date,
    by: Actor,
    *,
    gone: Callable[[DifferenceItem], bool],
) -> list[Difference]:
    """Write what a look has found, and close what it no longer finds where ``gone`` says so.

    Answers what is open now, with its class as it was stored.
    """
    wanted = {_place(scope, difference): difference for difference in found}
    raws = table.batch_get_raw(list(wanted))
    actions, left = list[table.Action](), list[Difference]()
    for key, difference in wanted.items():
        known = DifferenceItem.read(raws[key]) if key in raws else None
        aged = _aged(difference, known)
        actions.append(_written(scope, key, aged, known, day, by))
        if not aged.done:
            left.append(aged)
    for item in open_ones:
        if item.key in wanted:
            continue
        if gone(item):
            values = {"state": RESOLVED, "resolved_at": to_text(now())}
            actions.append(table.change(item, by, set_=values, remove=["l3pk", "l3sk"]))
    for some in batched(actions, AT_ONCE):
        table.transact(list(some))
    return left


def _aged(difference: Difference, known: DifferenceItem | None) -> Difference:
    """What has no time of its own is in flight until it has been seen for long enough."""
    if difference.later is None or known is None or known.state != OPEN:
        return difference
    is_old = now() - known.first_seen >= IN_FLIGHT
    return replace(difference, kind=difference.later) if is_old else difference


def _tenant(difference: Difference) -> Tenant:
    return Tenant(difference.practice) if difference.practice else PLATFORM_TENANT


def _place(scope: str, difference: Difference) -> Any:
    made = difference_id(scope, difference.account, difference.key, difference.currency)
    return _tenant(difference).item(DIFFERENCE, made)


def _written(
    scope: str,
    key: Any,
    difference: Difference,
    known: DifferenceItem | None,
    day: date,
    by: Actor,
) -> table.Action:
    instant = now()
    seen = not difference.done
    values: dict[str, Any] = {
        "kind": str(difference.kind),
        "cause": str(difference.cause),
        "state": OPEN if seen else RESOLVED,
        "expected": difference.expected,
        "found": difference.found,
        "net": difference.net,
        "last_seen": instant,
        "last_day": max(day.isoformat(), known.last_day if known else ""),
        "provider_id": difference.about or (known.provider_id if known else None) or None,
        "payment_id": difference.payment or (known.payment_id if known else None) or None,
    }
    if seen:
        values |= {"l3pk": _open_list(scope), "l3sk": key.pk}
    else:
        resolved = known.resolved_at if known and known.state == RESOLVED else None
        values["resolved_at"] = resolved or instant
    if known is None:
        return table.put_new(_new(scope, key, difference, values, day, by))
    # One that is back begins anew: what was resolved is no longer.
    if seen and known.state == RESOLVED:
        place = f"{to_text(instant)}#{known.item_id}"
        values |= {"first_seen": instant, "l1sk": place, "l2sk": place}
        values |= {"first_day": day.isoformat()}
    values["first_day"] = min(day.isoformat(), values.get("first_day", known.first_day))
    gone = ["resolved_at"] if seen else ["l3pk", "l3sk"]
    gone += [name for name, value in values.items() if value is None]
    stored = {
        name: to_text(value) if hasattr(value, "tzinfo") else value
        for name, value in values.items()
        if value is not None
    }
    return table.change(known, by, set_=stored, remove=gone)


def _new(
    scope: str, key: Any, difference: Difference, values: dict[str, Any], day: date, by: Actor
) -> DifferenceItem:
    tenant, instant = _tenant(difference), values["last_seen"]
    made = difference_id(scope, difference.account, difference.key, difference.currency)
    place = f"{to_text(instant)}#{made}"
    provider = "stripe" if scope.startswith("stripe:") else "mercadopago"
    return DifferenceItem.create(
        key,
        DIFFERENCE,
        by,
        provider=provider,
        scope=scope,
        account=difference.account,
        posting_key=difference.key,
        currency=difference.currency,
        at=difference.at,
        first_seen=instant,
        first_day=day.isoformat(),
        l1pk=tenant.listing(DIFFERENCE),
        l1sk=place,
        l2pk=PLATFORM_TENANT.listing_by(DIFFERENCE, "ALL", "all"),
        l2sk=place,
        **values,
    )


def all_differences() -> str:
    """The partition of everybody's differences."""
    return PLATFORM_TENANT.listing_by(DIFFERENCE, "ALL", "all")


def is_pressing(kind: str) -> bool:
    """Whether it is for a person: all but what may still be told."""
    return kind != Kind.IN_FLIGHT
