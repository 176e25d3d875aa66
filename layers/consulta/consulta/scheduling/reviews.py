"""Reviews of completed appointments: written by patients, answered and moderated by the practice.

One per appointment, by its id: a second one finds the key taken. What is hidden or deleted leaves
the figures with the write that hides or deletes it.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden, NotFound
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.time import local_day, now, to_text
from consulta.people import members, practices, writes
from consulta.people.records import PATIENT
from consulta.scheduling import appointments, review_views
from consulta.scheduling.records import AppointmentItem, Status
from consulta.scheduling.review_records import REVIEW, ReviewItem, ReviewStatus, id_of
from consulta.scheduling.review_views import EDIT_WITHIN, is_author, load, shown
from consulta.scheduling.schema.reviews import (
    HideRequest,
    ReplyRequest,
    Review,
    ReviewPatch,
    ReviewRequest,
)

# How long after its end an appointment may be reviewed.
WRITE_WITHIN = timedelta(days=90)
MODERATE = "reviews:moderate"
_PLACES = ("l1pk", "l1sk", "l2pk", "l2sk", "l3pk", "l3sk")
_NOT_COMPLETED = "Only an appointment that was completed can be reviewed"


def create(by: Principal, body: ReviewRequest, key: str | None) -> Review:
    """A patient's review of their own appointment.

    Raises Forbidden (not a patient), NotFound (also for a patient who was deleted and is still
    signed in), Invalid (a key that was used otherwise), and Conflict: not completed, over for
    longer than ``WRITE_WITHIN``, or reviewed already, then with ``existing_id``.
    """
    if not by.patient:
        raise Forbidden("Reviews are written by patients")
    once = Idempotent.of(by.tenant, by.person, key, body)
    if once.result:
        return review_views.get(by, once.result)
    appointment = appointments.load(by, body.appointment_id)
    instant = now()
    _check(appointment, instant)
    item = _new(by, appointment, body, instant)
    actions = [
        table.put_new(item),
        _still_completed(appointment),
        members.is_patient(by.tenant, by.patient),
        *once.actions(item.item_id),
    ]
    try:
        table.transact(actions)
    except table.ConditionFailed as failed:
        if LABEL in failed.labels:
            return review_views.get(by, once.again().result)
        if PATIENT in failed.labels:
            raise NotFound from None
        if REVIEW in failed.labels:
            text = "This appointment has been reviewed"
            raise writes.duplicate("body.appointment_id", text, item.item_id) from None
        raise Conflict(_NOT_COMPLETED) from None
    return shown(by, item)


def _check(appointment: AppointmentItem, instant: datetime) -> None:
    if appointment.status != Status.COMPLETED:
        raise Conflict(_NOT_COMPLETED)
    if instant > appointment.end + WRITE_WITHIN:
        raise Conflict(f"An appointment can be reviewed for {WRITE_WITHIN.days} days after it")


def _still_completed(appointment: AppointmentItem) -> table.Action:
    return table.check(
        appointment.key,
        "#status = :completed",
        names={"#status": "status"},
        values={":completed": str(Status.COMPLETED)},
        label=appointment.entity,
    )


def _new(
    by: Principal, appointment: AppointmentItem, body: ReviewRequest, instant: datetime
) -> ReviewItem:
    tenant, zone = by.tenant, practices.of(by.tenant).zone
    review_id = id_of(appointment.item_id)
    written, place = to_text(instant), f"{to_text(instant)}#{review_id}"
    return ReviewItem.create(
        tenant.item(REVIEW, review_id),
        REVIEW,
        by.actor,
        appointment_id=appointment.item_id,
        expert_id=appointment.expert_id,
        service_id=appointment.service_id,
        patient_id=appointment.patient_id,
        rating=body.rating,
        comment=body.comment,
        zone=zone,
        local_date=local_day(instant, zone).isoformat(),
        l1pk=tenant.listing_by(REVIEW, "MONTH", written[:7]),
        l1sk=place,
        l2pk=tenant.listing_by(REVIEW, "EXPERT", appointment.expert_id),
        l2sk=place,
        l3pk=tenant.listing_by(REVIEW, "PATIENT", appointment.patient_id),
        l3sk=place,
        walkpk=tenant.listing(REVIEW),
        walksk=review_id,
    )


def change(by: Principal, review_id: str, body: ReviewPatch, if_match: str | None) -> Review:
    """Other stars or words: the author, for ``EDIT_WITHIN``. A hidden review stays hidden.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict.
    """
    item = _own(by, review_id)
    check_version(if_match, item.version)
    if now() > item.created_at + EDIT_WITHIN:
        raise Conflict(f"A review can be changed for {EDIT_WITHIN.days} days")
    values = {
        name: value
        for name, value in body.model_dump(exclude_none=True).items()
        if getattr(item, name) != value
    }
    if not values:
        return shown(by, item)
    return _write(by, item, if_match, {**values, "edited_at": to_text(now())})


def delete(by: Principal, review_id: str, if_match: str | None) -> None:
    """Take a review back, at any time: its author. The words go, and no other takes its place.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict.
    """
    item = _own(by, review_id)
    check_version(if_match, item.version)
    values = {"comment": "", "deleted_at": to_text(now())}
    _put(by, item, if_match, values, remove=("reply", "hidden_reason", *_PLACES))


def reply(by: Principal, review_id: str, body: ReplyRequest, if_match: str | None) -> Review:
    """The answer to a review, in place of an earlier one: by the expert it is about, or by who
    moderates reviews.

    Raises NotFound, Forbidden, PreconditionFailed, Conflict.
    """
    item = load(by, review_id)
    is_expert = bool(by.expert) and by.expert == item.expert_id
    if not is_expert and not by.may(MODERATE):
        raise Forbidden("A review is answered by the expert it is about")
    check_version(if_match, item.version)
    said_by = "expert" if is_expert else "practice"
    if item.reply and (item.reply["text"], item.reply["by"]) == (body.text, said_by):
        return shown(by, item)
    answer = {"text": body.text, "by": said_by, "at": to_text(now())}
    return _write(by, item, if_match, {"reply": json.dumps(answer)})


def hide(by: Principal, review_id: str, body: HideRequest, if_match: str | None) -> Review:
    """Show it to its author and to members only, and count it no more.

    Raises NotFound, PreconditionFailed, Conflict.
    """
    item = load(by, review_id)
    check_version(if_match, item.version)
    if item.status == ReviewStatus.HIDDEN and item.hidden_reason == body.reason:
        return shown(by, item)
    values = {
        "status": str(ReviewStatus.HIDDEN),
        "hidden_reason": body.reason,
        "hidden_at": to_text(now()),
    }
    return _write(by, item, if_match, values)


def publish(by: Principal, review_id: str, if_match: str | None) -> Review:
    """Show a hidden one to everybody again. Raises NotFound, PreconditionFailed, Conflict."""
    item = load(by, review_id)
    check_version(if_match, item.version)
    if item.status == ReviewStatus.PUBLISHED:
        return shown(by, item)
    values = {"status": str(ReviewStatus.PUBLISHED)}
    return _write(by, item, if_match, values, remove=("hidden_reason", "hidden_at"))


def _own(by: Principal, review_id: str) -> ReviewItem:
    item = load(by, review_id)
    if not is_author(by, item):
        raise Forbidden("Only its author changes a review")
    return item


def _write(
    by: Principal,
    item: ReviewItem,
    if_match: str | None,
    values: dict[str, Any],
    remove: tuple[str, ...] = (),
) -> Review:
    _put(by, item, if_match, values, remove)
    return review_views.get(by, item.item_id)


def _put(
    by: Principal,
    item: ReviewItem,
    if_match: str | None,
    values: dict[str, Any],
    remove: tuple[str, ...] = (),
) -> None:
    if not table.written([table.change(item, by.actor, set_=values, remove=remove)]):
        raise writes.lost_race(if_match)
