"""Patients of a practice. Their phone and email are unique in it, by lookup rows."""

from typing import Any

from consulta.core import ids, table, trail
from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid, NotFound, Problem
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import local_day, now, to_text
from consulta.people import practices, threads, writes
from consulta.people.contact import fold_name, to_e164
from consulta.people.records import PATIENT, PatientItem, PracticeItem
from consulta.people.schema.patients import (
    PatientIn,
    PatientMatches,
    PatientOut,
    PatientPage,
    PatientPatch,
    PatientSearchIn,
)

MAX_MATCHES = 20
# A range key has at most 1024 bytes; folding can make a name longer.
_MAX_FOLDED = 100


def create(by: Principal, body: PatientIn, key: str | None) -> PatientOut:
    """A new patient. Raises Conflict (409 with ``existing_id``) for a known phone or email."""
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return get(by, once.result)
    patient, actions = making(practices.of(tenant), by.actor, body)
    try:
        table.transact([*actions, *once.actions(patient.item_id)])
    except table.ConditionFailed as failed:
        if LABEL in failed.labels:
            return get(by, once.again().result)
        raise _refusal(failed, None) from None
    return to_out(by, patient)


def making(
    practice: PracticeItem, by: Actor, body: PatientIn
) -> tuple[PatientItem, list[table.Action]]:
    """A new patient and everything that must be written for them, in one transaction.

    Raises Invalid for a phone that is none.
    """
    tenant, patient_id, instant = practice.tenant, ids.new_id("pat"), now()
    patient = PatientItem.create(
        tenant.item(PATIENT, patient_id),
        PATIENT,
        by,
        name=body.name,
        phone=_e164(body.phone, practice.country),
        email=body.email,
        notes=body.notes or None,
        local_date=local_day(instant, practice.zone).isoformat(),
        l1pk=tenant.listing(PATIENT),
        l1sk=f"{to_text(instant)}#{patient_id}",
        l2pk=tenant.listing(PATIENT),
        l2sk=_by_name(body.name, patient_id),
        walkpk=tenant.listing(PATIENT),
        walksk=patient_id,
    )
    actions = [
        table.put_new(patient),
        writes.claim(tenant, writes.PATIENT_PHONE, patient.phone, patient_id),
    ]
    if patient.email:
        actions.append(writes.claim(tenant, writes.PATIENT_EMAIL, patient.email, patient_id))
    return patient, actions


def listing(by: Principal, limit: int, cursor: str | None) -> PatientPage:
    """The practice's patients, the newest first."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/patients")
    query = table.Query(tenant.listing(PATIENT), index="l1", newest_first=True)
    page = query.page(limit, decode(cursor, *scope))
    return PatientPage(
        items=_told(by, [PatientItem.read(raw) for raw in page.items]),
        next_cursor=encode(page.last_key, *scope),
    )


def search(by: Principal, body: PatientSearchIn) -> PatientMatches:
    """By the beginning of a name (case and accents do not matter), or a whole phone or email."""
    tenant = by.tenant
    if body.name is not None:
        return PatientMatches(items=_told(by, named(tenant, body.name)))
    if body.phone is not None:
        phone = _e164(body.phone, practices.of(tenant).country)
        found = writes.holder(tenant, writes.PATIENT_PHONE, phone)
    else:
        found = writes.holder(tenant, writes.PATIENT_EMAIL, str(body.email))
    return PatientMatches(items=_told(by, [_load(tenant, found)] if found else []))


def named(tenant: Tenant, name: str, limit: int = MAX_MATCHES) -> list[PatientItem]:
    """At most ``limit`` patients whose name begins so, in order of their names."""
    beginning = fold_name(name)[:_MAX_FOLDED]
    if not beginning:
        return []
    query = table.Query(tenant.listing(PATIENT), index="l2", begins=beginning)
    return [PatientItem.read(raw) for raw in query.page(limit).items]


def get(by: Principal, patient_id: str) -> PatientOut:
    """One patient. Raises NotFound, Busy where a reading of notes cannot be recorded."""
    return _told(by, [_load(by.tenant, patient_id)])[0]


def change(by: Principal, patient_id: str, body: PatientPatch, if_match: str | None) -> PatientOut:
    """Change a patient; a new phone or email moves its lookup row in the same transaction.

    Raises NotFound, PreconditionFailed, Conflict, Invalid.
    """
    tenant = by.tenant
    patient = _load(tenant, patient_id)
    check_version(if_match, patient.version)
    wanted = {name: getattr(body, name) or None for name in body.model_fields_set}
    for name in ("name", "phone"):
        if name in wanted and wanted[name] is None:
            raise Invalid.of(f"body.{name}", "A patient needs one", "missing")
    if "phone" in wanted:
        wanted["phone"] = _e164(str(wanted["phone"]), practices.of(tenant).country)
    changed = {name: new for name, new in wanted.items() if new != getattr(patient, name)}
    if not changed:
        return _told(by, [patient])[0]
    values: dict[str, Any] = {name: new for name, new in changed.items() if new is not None}
    if "name" in values:
        values["l2sk"] = _by_name(values["name"], patient_id)
    actions = [
        table.change(
            patient,
            by.actor,
            set_=values,
            remove=[name for name, new in changed.items() if new is None],
        ),
        *_moves(tenant, patient, changed),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        raise _refusal(failed, if_match) from None
    return _told(by, [_load(tenant, patient_id)])[0]


def _moves(
    tenant: Tenant, patient: PatientItem, changed: dict[str, str | None]
) -> list[table.Action]:
    actions = []
    for name, what in (("phone", writes.PATIENT_PHONE), ("email", writes.PATIENT_EMAIL)):
        if name not in changed:
            continue
        old, new = getattr(patient, name), changed[name]
        if old:
            actions.append(writes.release(tenant, what, old))
        if new:
            actions.append(writes.claim(tenant, what, new, patient.item_id))
    return actions


def delete(by: Principal, patient_id: str, if_match: str | None) -> None:
    """Take a patient out of lists and searches; phone and email are free for another.

    The item stays, since figures and appointments rest on it. Appointments that are still to come
    stay booked: cancelling them is a decision of its own, with a refund. Messages are found no
    more. Raises NotFound, PreconditionFailed, Conflict.
    """
    tenant = by.tenant
    patient = _load(tenant, patient_id)
    check_version(if_match, patient.version)
    actions = [
        table.change(
            patient,
            by.actor,
            set_={
                "deleted_at": to_text(now()),
                "l1pk": tenant.listing_by(PATIENT, "STATE", "deleted"),
            },
            remove=["l2pk", "l2sk"],
        ),
        *_moves(tenant, patient, {"phone": None, "email": None}),
        *threads.endings(tenant, patient_id, by.actor),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        raise _refusal(failed, if_match) from None


def _load(tenant: Tenant, patient_id: str) -> PatientItem:
    patient = table.get(PatientItem, tenant.item(PATIENT, patient_id))
    if patient is None or patient.deleted_at is not None:
        raise NotFound
    return patient


def _e164(phone: str, country: str) -> str:
    try:
        return to_e164(phone, country)
    except ValueError:
        raise Invalid.of(
            "body.phone", "Give a phone number with its country code, like +34600123456", "phone"
        ) from None


def _by_name(name: str, patient_id: str) -> str:
    return f"{fold_name(name)[:_MAX_FOLDED]}#{patient_id}"


def _refusal(failed: table.ConditionFailed, if_match: str | None) -> Problem:
    match failed.label:
        case writes.PATIENT_PHONE:
            return writes.taken("body.phone", "A patient with this phone exists", failed)
        case writes.PATIENT_EMAIL:
            return writes.taken("body.email", "A patient with this email exists", failed)
        case _:
            return writes.lost_race(if_match)


def _told(by: Principal, patients: list[PatientItem]) -> list[PatientOut]:
    """Patients as they were read: that somebody sees their notes is recorded, or they do not."""
    seen = [patient.item_id for patient in patients if patient.notes and by.may("notes:read")]
    if seen:
        facts = {"patients": " ".join(seen)}
        trail.insist("The reading of notes", "notes_read", by.practice, by.actor, **facts)
    return [to_out(by, patient) for patient in patients]


def to_out(by: Principal, patient: PatientItem) -> PatientOut:
    """A patient as the API shows one; notes only to who may read them."""
    return PatientOut(
        id=patient.item_id,
        name=patient.name,
        phone=patient.phone,
        email=patient.email,
        notes=patient.notes if by.may("notes:read") else None,
        trust=patient.trust,
        created_at=patient.created_at,
        version=int(patient.version),
    )
