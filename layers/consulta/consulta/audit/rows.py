"""One audit row: what changed, who did it, and the hashes that bind it to its neighbours.

A row is made from nothing but the change and the persons' keys, so that the same change delivered
again makes the same key and the same hashes; only ``recorded_at`` and the ciphertexts differ, and
the first one written stays.

pk   P#<practice>#AUDIT#<ENTITY>#<id>[#<sub-item>]
sk   <created_at of the item>#<version>[#removed][#<hash>]; an item that is made again under its
     old key begins a life of its own; a hash marks a second history of one version
l1   the practice's month, l2 the actor's month, both by <recorded_at>#<pk>#<sk>
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consulta.audit import fields
from consulta.audit.encryption import DataKey
from consulta.audit.macs import MacKeys
from consulta.core.keys import Key, Tenant, tenant_of

CREATED, CHANGED, REMOVED = "created", "changed", "removed"
EVENT = "EVENT"
# An audit row is one item of at most 400 KB, and holds what was before and what came after.
MAX_VALUE, MAX_SIDE = 16_000, 120_000
ERASED = "erased"
UNKNOWN_ACTOR, EXPIRY = "unknown", "expiry"
PLATFORM = "platform"

Keys = Mapping[str, DataKey | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the stream. ``at`` is when it happened; ``stamp`` holds at least the stamps.

    ``incomplete``: the images were too large for a message; ``new`` is the item as it was read
    afterwards, where that was still the same version, and nothing is known of the one before.
    """

    key: Key
    old: fields.Raw | None
    new: fields.Raw | None
    at: str
    version: int
    created_at: str
    action: str
    entity: str
    stamp: fields.Raw
    expired: bool = False
    incomplete: bool = False

    @property
    def tenant(self) -> Tenant:
        """Whose item it is."""
        return tenant_of(self.key.pk)

    @property
    def item_id(self) -> str:
        """The item's id, or what stands in its place."""
        return self.key.pk.split("#", 3)[-1]

    @property
    def subject(self) -> str:
        """Whose personal fields it holds."""
        known = fields.content(self.new or self.old or self.stamp)
        return fields.subject_of(self.entity, self.item_id, self.tenant.practice, known)

    @property
    def actor(self) -> str:
        """Who changed it. A removal has no stamp of its own."""
        if self.action == REMOVED:
            return EXPIRY if self.expired else UNKNOWN_ACTOR
        return _text(self.stamp, "updated_by") or UNKNOWN_ACTOR

    @property
    def origin(self) -> str:
        """Where from: address and user agent."""
        return "" if self.action == REMOVED else _text(self.stamp, "origin")

    @property
    def persons(self) -> set[str]:
        """Whose keys a row of this needs; most changes need none."""
        needed = {self.actor} if self.origin else set()
        names = {**fields.content(self.old), **fields.content(self.new)}
        if any(_is_covered(self.entity, name, value) for name, value in names.items()):
            needed.add(self.subject)
        return needed


@dataclass(frozen=True, slots=True)
class Happening:
    """What no item's change shows: a sign-in, a denial, an export. ``facts`` are ids."""

    id: str
    kind: str
    practice: str
    by: str
    at: str
    request_id: str
    origin: str
    facts: Mapping[str, str]

    @property
    def tenant(self) -> Tenant:
        """The practice that it is told to; the platform's own where there is none."""
        return Tenant(self.practice or PLATFORM)

    @property
    def persons(self) -> set[str]:
        """Whose keys a row of this needs."""
        covered = any(_is_covered(EVENT, name, value) for name, value in self.facts.items())
        return {self.by} if self.origin or covered else set()


def of_change(change: Change, keys: Keys, macs: MacKeys, recorded_at: str) -> dict[str, Any]:
    """The row of an item's change."""
    tenant, subject = change.tenant, change.subject
    person = _Person(change.entity, subject, keys.get(subject))
    old, new = fields.content(change.old), fields.content(change.new)
    before_hash = "" if change.incomplete else person.hash(change.old)
    after_hash = person.hash(change.new)
    pk = tenant.audit_of(change.key)
    sk = f"{change.created_at}#{change.version:010d}"
    if change.action == REMOVED:
        sk += "#removed"
    values: dict[str, Any] = {
        "action": change.action,
        "at": change.at,
        "entity": change.entity,
        "item_id": change.item_id,
        "item_pk": change.key.pk,
        "item_sk": change.key.sk,
        "created_at": change.created_at,
        "version": change.version,
        "request_id": "" if change.action == REMOVED else _text(change.stamp, "request_id"),
        "before_hash": before_hash,
        "after_hash": after_hash,
    }
    if change.incomplete:
        values["incomplete"] = True
    elif change.action == CHANGED and _version(change.old) >= change.version:
        # Written past the code that counts versions: it stands beside the version's true row.
        sk, values["anomaly"] = f"{sk}#{after_hash[:16]}", True
    if person.erased and person.used:
        values[ERASED] = True
    changed = [] if change.incomplete else _names_of_changed(old, new)
    values["changed"] = changed
    for side, image in (("before", old), ("after", new)):
        kept = person.kept({name: image[name] for name in changed if name in image}, f"{pk}|{sk}")
        if kept:
            values[side] = kept
    if person.used:
        values["person"] = subject
    values |= _origin(change.actor, change.origin, keys, f"{pk}|{sk}")
    return _signed(tenant, Key(pk, sk), change.actor, recorded_at, values, macs)


def of_happening(event: Happening, keys: Keys, macs: MacKeys, recorded_at: str) -> dict[str, Any]:
    """The row of something that happened."""
    tenant, version = event.tenant, 1
    person = _Person(EVENT, event.by, keys.get(event.by))
    key = Key(tenant.audit_of(tenant.item(EVENT, event.id)), f"{event.at}#{version:010d}")
    facts = {name: str(value) for name, value in event.facts.items()}
    values: dict[str, Any] = {
        "action": event.kind,
        "at": event.at,
        "entity": EVENT,
        "item_id": event.id,
        "created_at": event.at,
        "version": version,
        "request_id": event.request_id,
        "before_hash": "",
        "after_hash": hashlib.sha256(
            fields.canonical([event.kind, event.by, event.at, person.tokens(facts)])
        ).hexdigest(),
        "changed": sorted(facts),
        **_origin(event.by, event.origin, keys, f"{key.pk}|{key.sk}"),
    }
    kept = person.kept(facts, f"{key.pk}|{key.sk}")
    if kept:
        values["after"] = kept
    if person.used:
        values["person"] = event.by
    if person.erased and person.used:
        values[ERASED] = True
    return _signed(tenant, key, event.by, recorded_at, values, macs)


def beside(row: Mapping[str, Any], macs: MacKeys) -> dict[str, Any]:
    """The same row as a second history of its version: another key, and marked."""
    values = {name: value for name, value in row.items() if name not in {"mac", "mac_key"}}
    values |= {"sk": f"{row['sk']}#{row['after_hash'][:16]}", "anomaly": True}
    # What is encrypted is bound to the key that the row was made for.
    values["bound_to"] = f"{row['pk']}|{row['sk']}"
    values["l1sk"] = values["l2sk"] = f"{row['recorded_at']}#{values['pk']}#{values['sk']}"
    return values | {"mac_key": macs.id, "mac": macs.sign(values | {"mac_key": macs.id})}


def same(stored: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether both tell the same. What has lost a person's key, or its images, cannot be told."""
    vague = {ERASED, "incomplete"}
    if vague & stored.keys() or vague & row.keys():
        return True
    return all(stored.get(name) == row.get(name) for name in ("before_hash", "after_hash"))


def is_authentic(row: Mapping[str, Any], macs: MacKeys) -> bool:
    """Whether every attribute is as it was signed."""
    values = {name: value for name, value in row.items() if name != "mac"}
    return macs.holds(str(row.get("mac_key", "")), values, str(row.get("mac", "")))


def opened(row: Mapping[str, Any], side: str, name: str, key: DataKey) -> Any:
    """A personal field in clear. Raises InvalidTag where it was made for another row."""
    sealed = base64.b64decode(json.loads(row[side])[name]["sealed"])
    bound_to = row.get("bound_to") or f"{row['pk']}|{row['sk']}"
    return json.loads(key.decrypt(sealed, f"{bound_to}|{name}".encode()))


def opened_origin(row: Mapping[str, Any], key: DataKey) -> tuple[str, str]:
    """Address and user agent in clear."""
    bound_to = row.get("bound_to") or f"{row['pk']}|{row['sk']}"
    clear = key.decrypt(base64.b64decode(row["origin"]), f"{bound_to}|origin".encode())
    address, _, agent = clear.decode().partition("|")
    return address, agent


# ---------------------------------------------------------------- parts of a row


class _Person:
    """How one image's personal fields are kept and hashed."""

    def __init__(self, entity: str, subject: str, key: DataKey | None) -> None:
        self.entity, self.subject, self._key = entity, subject, key
        self.used = False
        self.erased = key is None

    def tokens(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields with a keyed hash in place of what nobody may guess."""
        return {
            name: {"token": self._token(name, value)}
            if _is_covered(self.entity, name, value)
            else value
            for name, value in values.items()
        }

    def hash(self, image: fields.Raw | None) -> str:
        """SHA-256 of a whole image; an item that is not there has none."""
        if image is None:
            return ""
        whole = {**fields.stamps(image), **self.tokens(fields.content(image))}
        return hashlib.sha256(fields.canonical(whole)).hexdigest()

    def kept(self, values: Mapping[str, Any], bound_to: str) -> str:
        """The fields as the row keeps them, as JSON text."""
        entries = {name: self._entry(name, value, bound_to) for name, value in values.items()}
        text = json.dumps(entries, sort_keys=True, ensure_ascii=False)
        if len(text.encode()) > MAX_SIDE:
            sizes = {
                name: {"bytes": len(fields.canonical(value))} for name, value in values.items()
            }
            text = json.dumps(sizes, sort_keys=True)
        return text if entries else ""

    def _entry(self, name: str, value: Any, bound_to: str) -> dict[str, Any]:
        text = fields.canonical(value)
        if fields.is_secret(name, value):
            return {"secret": True}
        if len(text) > MAX_VALUE:
            return {"bytes": len(text)}
        if not _is_covered(self.entity, name, value):
            return {"value": value}
        if self._key is None:
            return {ERASED: True}
        sealed = self._key.encrypt(text, f"{bound_to}|{name}".encode())
        return {"sealed": base64.b64encode(sealed).decode()}

    def _token(self, name: str, value: Any) -> str:
        self.used = True
        return ERASED if self._key is None else self._key.token(name, value)


def _is_covered(entity: str, name: str, value: Any) -> bool:
    # Nothing is nobody's: an absent or empty field needs no key.
    if value in (None, "", []):
        return False
    return fields.is_secret(name, value) or fields.permission_for(entity, name) is not None


def _names_of_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    missing = object()
    return sorted(n for n in old.keys() | new.keys() if old.get(n, missing) != new.get(n, missing))


def _origin(actor: str, origin: str, keys: Keys, bound_to: str) -> dict[str, Any]:
    key = keys.get(actor)
    if not origin or key is None:
        return {}
    sealed = key.encrypt(origin.encode(), f"{bound_to}|origin".encode())
    return {"origin": base64.b64encode(sealed).decode()}


def _signed(
    tenant: Tenant,
    key: Key,
    actor: str,
    recorded_at: str,
    values: Mapping[str, Any],
    macs: MacKeys,
) -> dict[str, Any]:
    month, place = recorded_at[:7], f"{recorded_at}#{key.pk}#{key.sk}"
    row = {
        **values,
        "pk": key.pk,
        "sk": key.sk,
        "by": actor,
        "recorded_at": recorded_at,
        "l1pk": tenant.audit_month(month),
        "l1sk": place,
        "l2pk": tenant.audit_actor(actor, month),
        "l2sk": place,
        "mac_key": macs.id,
    }
    return row | {"mac": macs.sign(row)}


def _text(image: fields.Raw | None, name: str) -> str:
    return str((image or {}).get(name, {}).get("S", ""))


def _version(image: fields.Raw | None) -> int:
    return int((image or {}).get("version", {}).get("N", "0"))


def change_of(
    key: Key,
    old: fields.Raw | None,
    new: fields.Raw | None,
    *,
    seen_at: str,
    expired: bool = False,
) -> Change:
    """The change that two images make; one of them may be absent. Raises KeyError, ValueError."""
    image = new or old
    if image is None:
        raise ValueError("a change without an image")
    return Change(
        key,
        old,
        new,
        at=_text(new, "updated_at") if new else seen_at,
        version=int(image["version"]["N"]),
        created_at=_text(image, "created_at") or "0",
        action=CREATED if old is None else REMOVED if new is None else CHANGED,
        entity=image["entity"]["S"],
        stamp=image,
        expired=expired,
    )
