"""GET /v1/audit and /v1/activity: one dimension and time by index, the rest within a read budget.

by index: one item (``entity`` and ``item_id``), else one actor (``by``) by month, else month by
month. Within the budget: everything else; pages may then be short, and the cursor goes on.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from consulta.audit import fields, persons, rows
from consulta.audit.encryption import DataKey
from consulta.audit.schema import Activity, ActivityPage, AuditEntry, AuditFilter, AuditPage
from consulta.audit.writing import audit_table
from consulta.core import keys, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid
from consulta.core.identity import Principal
from consulta.core.keys import ITEM, Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import from_text, now, to_text, utc_months
from consulta.people.records import MEMBER

MAX_RANGE = timedelta(days=366)
LOOK_BACK = timedelta(days=31)
# Rows that one request may read, whether or not the filters let them through.
READ_BUDGET = 500
MASKED, SECRET = "•••", "secret"
# Bookkeeping under other changes, and what is the audit's alone: sign-ins, denials, readings.
NOT_ACTIVITY = (
    "OPERATION",
    "POSTING",
    "MERCADOPAGO_TOKENS",
    "RECONCILIATION",
    "RECONCILIATION_DIFFERENCE",
    "PROFILE_VIEWS",
    rows.EVENT,
)
# Rows under an item of another entity: their partition is that item's.
SUB_ITEMS = frozenset({"AVAILABILITY", "OPERATION", "MERCADOPAGO_TOKENS"})

Row = Mapping[str, Any]


def audit(by: Principal, wanted: AuditFilter, limit: int, cursor: str | None) -> AuditPage:
    """One page of the audit. Raises Invalid, BadRequest (a cursor of another list)."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/audit", wanted.model_dump_json())
    plan = plan_of(tenant, wanted, now())
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    found = [table.from_raw(raw) for raw in raws]
    return AuditPage(items=_shown(by, found), next_cursor=encode(last_key, *scope))


def plan_of(tenant: Tenant, wanted: AuditFilter, instant: datetime) -> Plan:
    """By item, else by actor, else month by month. Raises Invalid for a range that is none."""
    if wanted.item_id and not wanted.entity:
        raise Invalid.of("query.entity", "item_id needs its entity, like PATIENT", "missing")
    high = wanted.high or instant
    low = wanted.low or high - LOOK_BACK
    if low >= high:
        raise Invalid.of("query.from", "from comes before to", "range")
    if high - low > MAX_RANGE:
        raise Invalid.of("query.to", "At most 366 days at once", "range")
    asked = {
        name: str(value)
        for name in ("entity", "item_id", "by", "action")
        if (value := getattr(wanted, name)) is not None
    }
    months = tuple(reversed(tuple(utc_months(low, high))))
    first, last = to_text(low), to_text(high)
    if wanted.item_id and wanted.entity and wanted.entity not in SUB_ITEMS:
        # An item's own partition has its whole history; times are a filter only where asked for.
        del asked["entity"], asked["item_id"]
        partition = tenant.audit_of(tenant.item(wanted.entity, wanted.item_id))
        bounds = {
            name: value
            for name, value, bound in (
                (">=", first, wanted.low),
                ("<", last, wanted.high),
            )
            if bound
        }
        return _filtered("", (partition,), None, None, asked, bounds)
    if wanted.by:
        del asked["by"]
        partitions = tuple(tenant.audit_actor(wanted.by, month) for month in months)
        return _filtered("l2", partitions, first, last, asked, {})
    partitions = tuple(tenant.audit_month(month) for month in months)
    return _filtered("l1", partitions, first, last, asked, {})


def _filtered(
    index: str,
    partitions: tuple[str, ...],
    low: str | None,
    high: str | None,
    asked: Mapping[str, str],
    recorded: Mapping[str, str],
) -> Plan:
    found = equal(asked)
    terms = [found["where"]] if asked else []
    for number, (sign, value) in enumerate(recorded.items()):
        terms.append(f"#recorded_at {sign} :recorded{number}")
        found["names"]["#recorded_at"] = "recorded_at"
        found["values"][f":recorded{number}"] = value
    return Plan(
        index,
        partitions,
        low,
        high,
        newest_first=True,
        **{**found, "where": " AND ".join(terms)},
        table_name=audit_table(),
        budget=READ_BUDGET,
    )


# ---------------------------------------------------------------- what a caller may see


def _shown(by: Principal, found: list[dict[str, Any]]) -> list[AuditEntry]:
    subjects = {str(row["person"]) for row in found if "person" in row}
    actors = {str(row["by"]) for row in found if "origin" in row}
    known = persons.find(by.tenant, subjects | actors) if subjects | actors else {}
    return [_entry(by, row, known) for row in found]


def _entry(by: Principal, row: Row, known: Mapping[str, DataKey | None]) -> AuditEntry:
    address, agent = _origin(by, row, known)
    key = known.get(str(row.get("person", "")))
    part = str(row.get("item_sk", ITEM))
    return AuditEntry(
        entity=row["entity"],
        item_id=row["item_id"],
        part=None if part == ITEM else part,
        version=int(row["version"]),
        action=row["action"],
        at=from_text(row["at"]),
        recorded_at=from_text(row["recorded_at"]),
        by=row["by"],
        request_id=row["request_id"] or None,
        address=address,
        user_agent=agent,
        changed=list(row["changed"]),
        before=_side(by, row, "before", key),
        after=_side(by, row, "after", key),
    )


def _origin(
    by: Principal, row: Row, known: Mapping[str, DataKey | None]
) -> tuple[str | None, str | None]:
    if "origin" not in row:
        return None, None
    if not by.may(fields.ORIGIN):
        return MASKED, MASKED
    key = known.get(str(row["by"]))
    if key is None:
        return rows.ERASED, rows.ERASED
    address, agent = rows.opened_origin(row, key)
    return address or None, agent or None


def _side(by: Principal, row: Row, side: str, key: DataKey | None) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = json.loads(row.get(side) or "{}")
    return {name: _value(by, row, side, name, entry, key) for name, entry in entries.items()}


def _value(
    by: Principal, row: Row, side: str, name: str, entry: Mapping[str, Any], key: DataKey | None
) -> Any:
    if "secret" in entry:
        return SECRET
    if "bytes" in entry:
        return f"{entry['bytes']} bytes"
    needed = fields.permission_for(str(row["entity"]), name)
    if needed is not None and not by.may(needed):
        return MASKED
    if "sealed" not in entry:
        return rows.ERASED if rows.ERASED in entry else entry["value"]
    return rows.ERASED if key is None else rows.opened(row, side, name, key)


# ---------------------------------------------------------------- the feed


def activity(by: Principal, limit: int, cursor: str | None) -> ActivityPage:
    """What was done in the practice in the last 31 days, the latest first."""
    tenant, instant = by.tenant, now()
    scope = (tenant.practice, "/v1/activity")
    low = to_text(instant - LOOK_BACK)
    months = reversed(tuple(utc_months(instant - LOOK_BACK, instant)))
    plan = Plan(
        "l1",
        tuple(tenant.audit_month(month) for month in months),
        low,
        None,
        newest_first=True,
        where=f"NOT (#entity IN ({', '.join(f':e{n}' for n in range(len(NOT_ACTIVITY)))}))",
        names={"#entity": "entity"},
        values={f":e{n}": entity for n, entity in enumerate(NOT_ACTIVITY)},
        table_name=audit_table(),
        budget=READ_BUDGET,
    )
    raws, last_key = plan.read(limit, decode(cursor, *scope))
    found = [table.from_raw(raw) for raw in raws]
    names = _names(by, {str(row["by"]) for row in found})
    return ActivityPage(
        items=[
            Activity(
                at=from_text(row["at"]),
                by=row["by"],
                name=names.get(str(row["by"])),
                action=row["action"],
                entity=row["entity"],
                item_id=row["item_id"],
            )
            for row in found
        ],
        next_cursor=encode(last_key, *scope),
    )


def _names(by: Principal, people: Iterable[str]) -> dict[str, str]:
    """What members are called: patients' logins only to who may see patients."""
    tenant = by.tenant
    wanted = {keys.membership(p, tenant.practice): p for p in people if ":" not in p}
    placed = table.batch_get_raw(list(wanted), consistent=False)
    members = {tenant.item(MEMBER, raw["member"]["S"]): wanted[k] for k, raw in placed.items()}
    found = table.batch_get_raw(list(members), consistent=False)
    return {
        members[key]: raw["name"]["S"]
        for key, raw in found.items()
        if by.sees_patients or raw["role"]["S"] != Role.PATIENT
    }
