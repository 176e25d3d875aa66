"""API keys: a member's own way in for programs, with no more than the member may do.

A key is two rows in one transaction: the tenant's item, which is shown and listed, and a lookup row
under the key's id, which the authorizer reads before it knows the practice. A third row per member
says which of their keys are still alive, so that there are never more than ``MAX_LIVE``.
"""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from consulta.core import keys, limits, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal, refuse_key
from consulta.core.keys import Key, Tenant
from consulta.core.permissions import ASSIGNABLE, FORBIDDEN_FOR_KEYS
from consulta.core.time import now, to_epoch, to_text
from consulta.people import writes
from consulta.people.credentials import NewKey, digest
from consulta.people.records import API_KEY, MEMBER, ApiKeyItem
from consulta.people.schema.api_keys import (
    ApiKeyCreated,
    ApiKeyIn,
    ApiKeyOut,
    ApiKeyPage,
    ApiKeyPatch,
    RotateIn,
)

DEFAULT_LIFETIME, LONGEST_LIFETIME = timedelta(days=90), timedelta(days=366)
MAX_LIVE = 20
DEADLINE_S = 3.0
# Two queries for each of a page's keys: more at once than a small function has connections for.
READERS = 8
_ALIVE = "ALIVE"
_NEW = "new key"


@dataclass(frozen=True, slots=True)
class _Alive:
    """A member's keys that are alive, with the epoch seconds when each ends by itself.

    ``revision`` makes every write depend on what was read, so that two at once cannot both be the
    twentieth.
    """

    row: Key
    keys: dict[str, int]
    revision: int

    @classmethod
    def of(cls, tenant: Tenant, member_id: str) -> Self:
        """As it is now."""
        row = tenant.sub(MEMBER, member_id, "API_KEYS")
        known = table.from_raw(table.get_raw(row) or {})
        instant = to_epoch(now())
        alive = {name: int(end) for name, end in known.get("keys", {}).items() if end > instant}
        return cls(row, alive, int(known.get("revision", 0)))

    def with_(self, ends: Mapping[str, int]) -> table.Action:
        """Write it with these keys' ends (label ``ALIVE``); an end that has passed removes one.

        Raises Conflict where that makes one too many.
        """
        instant = to_epoch(now())
        alive = {name: end for name, end in {**self.keys, **ends}.items() if end > instant}
        if len(alive) > max(MAX_LIVE, len(self.keys)):
            raise Conflict(f"A member has at most {MAX_LIVE} live keys: revoke one first")
        return table.update(
            self.row,
            set_={"entity": "API_KEYS", "keys": alive, "revision": self.revision + 1},
            condition="revision = :read" if self.revision else "attribute_not_exists(pk)",
            values={":read": self.revision} if self.revision else {},
            label=_ALIVE,
        )


def create(by: Principal, body: ApiKeyIn, key: str | None) -> ApiKeyCreated:
    """A new key for the caller.

    Raises Invalid for permissions that are unknown, not the caller's or never a key's, and for an
    end that has passed or is too far; Conflict for the twenty-first.
    """
    refuse_key(by)
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return _again(by, once.result)
    permissions = _checked(by, body.permissions)
    expires_at = _checked_end(body.expires_at)
    made = NewKey.make()
    item = _item(by, made, body.name, permissions, expires_at)
    return _issue(by, once, item, made)


def rotate(by: Principal, key_id: str, body: RotateIn, key: str | None) -> ApiKeyCreated:
    """A new key in the place of one's own, with the same permissions and for as long again.

    The old one goes on for the overlap, and counts as alive as long. Raises NotFound, Forbidden for
    another member's, Conflict for one that has ended or was rotated already.
    """
    refuse_key(by)
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body, key_id)
    if once.result:
        return _again(by, once.result)
    old = _own(by, key_id)
    instant = now()
    if _status(old, instant) != "active":
        raise Conflict("This key has ended: make a new one")
    if old.replaced_by:
        raise Conflict("This key was rotated already", extra={"existing_id": old.replaced_by})
    made = NewKey.make()
    expires_at = instant + timedelta(seconds=int(old.lifetime_s))
    item = _item(by, made, old.name, list(old.permissions), expires_at, replaces=key_id)
    ends = min(old.expires_at, instant + timedelta(hours=body.overlap_hours))
    changes = [
        table.change(old, by.actor, set_={"expires_at": to_text(ends), "replaced_by": made.key_id}),
        _lookup(key_id, expires_at=to_text(ends)),
    ]
    return _issue(by, once, item, made, changes, {key_id: ends})


def _issue(
    by: Principal,
    once: Idempotent,
    item: ApiKeyItem,
    made: NewKey,
    changes: Sequence[table.Action] = (),
    ends: Mapping[str, datetime] | None = None,
) -> ApiKeyCreated:
    """Write a new key with ``changes``; ``ends`` are new ends of other keys."""
    others = {key_id: to_epoch(end) for key_id, end in (ends or {}).items()}
    for _ in table.attempts(DEADLINE_S):
        alive = _Alive.of(by.tenant, by.member)
        actions = [
            table.put_new(item, _NEW),
            _new_lookup(item, made),
            alive.with_({**others, made.key_id: to_epoch(item.expires_at)}),
            *changes,
            *once.actions(made.key_id),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed as failed:
            if LABEL in failed.labels:
                return _again(by, once.again().result)
            if failed.labels != [_ALIVE]:
                raise writes.lost_race(None) from None
        else:
            return _created(item, made.text)
    raise AssertionError("attempts ends by Busy")


def revoke(by: Principal, key_id: str) -> None:
    """End a key at once: one's own, or as who manages members anybody's. Repeating it is fine.

    The authorizer may let it through for another 60 s. Raises NotFound.
    """
    refuse_key(by)
    for _ in table.attempts(DEADLINE_S):
        item = _seen(by, key_id)
        if item.revoked_at:
            return
        stamp = to_text(now())
        with contextlib.suppress(table.ConditionFailed):
            table.transact(
                [
                    table.change(item, by.actor, set_={"revoked_at": stamp}),
                    _lookup(key_id, revoked_at=stamp),
                    _Alive.of(by.tenant, item.member_id).with_({key_id: 0}),
                ]
            )
            return


def rename(by: Principal, key_id: str, body: ApiKeyPatch, if_match: str | None) -> ApiKeyOut:
    """Give one's own key another name. Raises NotFound, Forbidden, PreconditionFailed, Conflict."""
    refuse_key(by)
    item = _own(by, key_id)
    check_version(if_match, item.version)
    if item.name == body.name:
        return get(by, key_id)
    try:
        table.transact([table.change(item, by.actor, set_={"name": body.name})])
    except table.ConditionFailed:
        raise writes.lost_race(if_match) from None
    return get(by, key_id)


def get(by: Principal, key_id: str) -> ApiKeyOut:
    """One key: one's own, or as who manages members anybody's. Raises NotFound."""
    refuse_key(by)
    item = _seen(by, key_id)
    return _out(item, _last_used(by.tenant, [key_id])[0])


def listing(by: Principal, limit: int, cursor: str | None) -> ApiKeyPage:
    """One's own keys, or for who manages members all of the practice; the newest first."""
    refuse_key(by)
    tenant, all_members = by.tenant, by.may("members:write")
    scope = (tenant.practice, "/v1/api-keys", "" if all_members else by.member)
    query = (
        table.Query(tenant.listing(API_KEY), index="l1", newest_first=True)
        if all_members
        else table.Query(_of_member(tenant, by.member), index="l2", newest_first=True)
    )
    page = query.page(limit, decode(cursor, *scope))
    items = [ApiKeyItem.read(raw) for raw in page.items]
    used = _last_used(tenant, [item.item_id for item in items])
    return ApiKeyPage(
        items=[_out(item, at) for item, at in zip(items, used, strict=True)],
        next_cursor=encode(page.last_key, *scope),
    )


# ---------------------------------------------------------------- parts


def _checked(by: Principal, wanted: list[str]) -> list[str]:
    """The permissions, each once and in order. Raises Invalid, with each that cannot be given."""
    refused = tuple(
        FieldError(f"body.permissions.{number}", _refusal(by, permission), "not-grantable")
        for number, permission in enumerate(wanted)
        if _refusal(by, permission)
    )
    if refused:
        raise Invalid(refused[0].message, errors=refused)
    return sorted(set(wanted))


def _refusal(by: Principal, permission: str) -> str:
    if permission in FORBIDDEN_FOR_KEYS:
        return "An API key never has this permission"
    if permission not in ASSIGNABLE:
        return "There is no such permission to give"
    if not by.may(permission):
        return "You do not have this permission yourself"
    return ""


def _checked_end(asked: datetime | None) -> datetime:
    instant = now()
    if asked is None:
        return instant + DEFAULT_LIFETIME
    # Before it is brought to UTC: the first and last days that there are cannot be.
    if asked <= instant + timedelta(seconds=1):
        raise Invalid.of("body.expires_at", "This time has passed", "past")
    if asked > instant + LONGEST_LIFETIME:
        raise Invalid.of("body.expires_at", "A key lives for 366 days at most", "too-far")
    # Keys end on a whole second: the authorizer counts in seconds.
    return asked.astimezone(UTC).replace(microsecond=0)


def _item(
    by: Principal,
    made: NewKey,
    name: str,
    permissions: list[str],
    expires_at: datetime,
    replaces: str | None = None,
) -> ApiKeyItem:
    tenant, instant = by.tenant, now()
    order = f"{to_text(instant)}#{made.key_id}"
    return ApiKeyItem.create(
        tenant.item(API_KEY, made.key_id),
        API_KEY,
        by.actor,
        member_id=by.member,
        person_id=by.person,
        name=name,
        hint=made.hint,
        permissions=permissions,
        expires_at=expires_at,
        lifetime_s=max(1, int((expires_at - instant).total_seconds())),
        replaces=replaces,
        l1pk=tenant.listing(API_KEY),
        l1sk=order,
        l2pk=_of_member(tenant, by.member),
        l2sk=order,
        walkpk=tenant.listing(API_KEY),
        walksk=made.key_id,
    )


def _of_member(tenant: Tenant, member_id: str) -> str:
    return tenant.listing_by(API_KEY, MEMBER, member_id)


def _new_lookup(item: ApiKeyItem, made: NewKey) -> table.Action:
    """What the authorizer reads, and all of the key that is stored: its hash."""
    values = {
        "entity": "API_KEY_LOOKUP",
        "hash": digest(made.text),
        "practice": item.tenant.practice,
        "member": item.member_id,
        "person": item.person_id,
        "permissions": list(item.permissions),
        "expires_at": to_text(item.expires_at),
    }
    return table.put_values(keys.api_key(made.key_id), values, label=_NEW)


def _lookup(key_id: str, **changed: str) -> table.Action:
    return table.update(
        keys.api_key(key_id), set_=changed, condition="attribute_exists(pk)", label="lookup"
    )


def _seen(by: Principal, key_id: str) -> ApiKeyItem:
    item = table.get(ApiKeyItem, by.tenant.item(API_KEY, key_id))
    if item is None or not (item.member_id == by.member or by.may("members:write")):
        raise NotFound
    return item


def _own(by: Principal, key_id: str) -> ApiKeyItem:
    item = _seen(by, key_id)
    # A new secret, or a name to be misled by, of a key that acts as somebody else.
    if item.member_id != by.member:
        raise Forbidden("Another member's key can only be revoked")
    return item


def _status(item: ApiKeyItem, instant: datetime) -> Literal["active", "expired", "revoked"]:
    if item.revoked_at:
        return "revoked"
    return "active" if item.expires_at > instant else "expired"


def _last_used(tenant: Tenant, key_ids: Sequence[str]) -> list[datetime | None]:
    """When each was last used, by the requests that are counted anyway: at once, not in turn."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(
            pool.map(lambda key_id: limits.last_used(tenant.practice, f"key:{key_id}"), key_ids)
        )


def _out(item: ApiKeyItem, last_used_at: datetime | None) -> ApiKeyOut:
    return ApiKeyOut(
        id=item.item_id,
        name=item.name,
        prefix=item.hint,
        member_id=item.member_id,
        permissions=list(item.permissions),
        status=_status(item, now()),
        created_at=item.created_at,
        expires_at=item.expires_at,
        revoked_at=item.revoked_at,
        last_used_at=last_used_at,
        replaces=item.replaces,
        replaced_by=item.replaced_by,
        version=int(item.version),
    )


def _created(item: ApiKeyItem, text: str | None) -> ApiKeyCreated:
    used = _last_used(item.tenant, [item.item_id])[0] if text is None else None
    return ApiKeyCreated(**_out(item, used).model_dump(), key=text)


def _again(by: Principal, key_id: str) -> ApiKeyCreated:
    """The same item for the same request. Its secret is nowhere to be had again."""
    return _created(_seen(by, key_id), None)
