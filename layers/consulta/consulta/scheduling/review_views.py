"""Reviews as each caller may see them: GET /v1/reviews, and one of them.

That somebody is a patient is itself a matter of their health. So nobody is told who wrote a review
but the author, and members who see this patient and this appointment anyway; to all others every
author is a patient who was there, without a name, initials or the time of the visit.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from consulta.core import table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.listing import Plan, equal
from consulta.core.permissions import Role
from consulta.core.time import from_text, local_day, now, to_text, utc_months
from consulta.people import experts
from consulta.people.records import EXPERT, PATIENT
from consulta.scheduling.names import Names, named
from consulta.scheduling.records import SERVICE
from consulta.scheduling.review_records import REVIEW, ReviewItem, ReviewStatus
from consulta.scheduling.schema.reviews import Reply, Review, ReviewFilter, ReviewPage

# How long after it was written an author may change a review.
EDIT_WITHIN = timedelta(days=30)
MAX_RANGE = timedelta(days=366)
# Of any review; a range's other end, a year away, is still a date.
YEARS = range(1971, 2200)
# Items that one request may read, whether or not the filters let them through.
READ_BUDGET = 300


def load(by: Principal, review_id: str) -> ReviewItem:
    """One that the caller may see: hidden ones the author and members. Raises NotFound."""
    item = table.get(ReviewItem, by.tenant.item(REVIEW, review_id))
    if item is None or item.deleted_at is not None or not _visible(by, item):
        raise NotFound
    return item


def get(by: Principal, review_id: str) -> Review:
    """One review. Raises NotFound."""
    return shown(by, load(by, review_id))


def page(by: Principal, wanted: ReviewFilter, limit: int, cursor: str | None) -> ReviewPage:
    """One page, the newest first.

    Raises Forbidden, Invalid, BadRequest (a foreign cursor), and NotFound where a patient asks for
    the reviews of an expert who is not published.
    """
    wanted = _with_range(_allowed(by, wanted))
    scope = (by.practice, "/v1/reviews", by.role, by.patient, wanted.model_dump_json())
    raws, last_key = plan_of(by, wanted, now()).read(limit, decode(cursor, *scope))
    items = [ReviewItem.read(raw) for raw in raws]
    return ReviewPage(items=_to_api(by, items), next_cursor=encode(last_key, *scope))


def plan_of(by: Principal, wanted: ReviewFilter, instant: datetime) -> Plan:
    """By the author's own, else by expert, else month by month; the rest is filtered."""
    tenant = by.tenant
    asked: dict[str, Any] = {
        name: value
        for name in ("expert_id", "service_id", "rating", "status")
        if (value := getattr(wanted, name)) is not None
    }
    partitions: tuple[str, ...]
    low, high = wanted.low, wanted.high
    if wanted.mine:
        index, partitions = "l3", (tenant.listing_by(REVIEW, "PATIENT", by.patient),)
    elif expert := asked.pop("expert_id", None):
        index, partitions = "l2", (tenant.listing_by(REVIEW, "EXPERT", expert),)
    else:
        low, high = low or instant - MAX_RANGE, high or instant + timedelta(days=1)
        months = reversed(list(utc_months(low, high)))
        index = "l1"
        partitions = tuple(tenant.listing_by(REVIEW, "MONTH", month) for month in months)
    return Plan(
        index,
        partitions,
        to_text(low) if low else None,
        to_text(high) if high else None,
        newest_first=True,
        **_filtered(asked),
        budget=READ_BUDGET,
    )


def _filtered(asked: dict[str, Any]) -> dict[str, Any]:
    found = equal({name: str(value) for name, value in asked.items()})
    if "rating" in asked:
        found["values"][":rating"] = asked["rating"]
    return found


def _allowed(by: Principal, wanted: ReviewFilter) -> ReviewFilter:
    """Patients' lists have what is published, but for their own."""
    if wanted.mine and not by.patient:
        raise Forbidden("Only patients have reviews of their own")
    if wanted.mine or by.role is not Role.PATIENT:
        return wanted
    if wanted.status is ReviewStatus.HIDDEN:
        raise Forbidden("You see published reviews, and with mine=true all of your own")
    if wanted.expert_id:
        experts.get(by, wanted.expert_id)
    return wanted.model_copy(update={"status": ReviewStatus.PUBLISHED})


def _with_range(wanted: ReviewFilter) -> ReviewFilter:
    """Both ends where there is one."""
    low, high = wanted.low, wanted.high
    for name, end in (("from", low), ("to", high)):
        if end is not None and end.year not in YEARS:
            raise Invalid.of(f"query.{name}", "Not a year of any review", "range")
    if low is not None and high is None:
        high = low + MAX_RANGE
    if high is not None and low is None:
        low = high - MAX_RANGE
    if low is not None and high is not None and not timedelta() < high - low <= MAX_RANGE:
        raise Invalid.of("query.to", f"Give a range of at most {MAX_RANGE.days} days", "range")
    return wanted.model_copy(update={"low": low, "high": high})


# ---------------------------------------------------------------- what is told to whom


def is_author(by: Principal, item: ReviewItem) -> bool:
    """Whether the caller wrote it."""
    return bool(by.patient) and by.patient == item.patient_id


def _visible(by: Principal, item: ReviewItem) -> bool:
    published = item.status == ReviewStatus.PUBLISHED
    return published or by.role is not Role.PATIENT or is_author(by, item)


def _knows_author(by: Principal, item: ReviewItem) -> bool:
    if by.role is Role.PATIENT:
        return is_author(by, item)
    return by.sees_patients and by.sees("appointments", item.patient_id, item.expert_id)


def shown(by: Principal, item: ReviewItem) -> Review:
    """One review as this caller sees it."""
    return _to_api(by, [item])[0]


def _to_api(by: Principal, items: Sequence[ReviewItem]) -> list[Review]:
    """A page of them, with the names from one batch of reads."""
    keys = {key for item in items for key in _names_on(by, item)}
    ordered = sorted(keys, key=lambda key: key.pk)
    found = table.batch_get_raw(ordered, consistent=False) if ordered else {}
    names = named(by.tenant, found)
    public = names
    if by.role is Role.PATIENT:
        # Whoever is not published is nobody to patients, but to those who were with them.
        public = named(by.tenant, {key: raw for key, raw in found.items() if not _withdrawn(raw)})
    return [_one(by, item, names if is_author(by, item) else public) for item in items]


def _withdrawn(raw: table.Raw) -> bool:
    return raw["entity"]["S"] == EXPERT and not raw.get("published", {}).get("BOOL")


def _names_on(by: Principal, item: ReviewItem) -> Iterable[Key]:
    tenant: Tenant = by.tenant
    yield tenant.item(EXPERT, item.expert_id)
    yield tenant.item(SERVICE, item.service_id)
    if _knows_author(by, item):
        yield tenant.item(PATIENT, item.patient_id)


def _one(by: Principal, item: ReviewItem, names: Names) -> Review:
    knows, mine = _knows_author(by, item), is_author(by, item)
    is_told_why = mine or by.role is not Role.PATIENT
    return Review(
        id=item.item_id,
        expert=names.ref(EXPERT, item.expert_id),
        service=names.ref(SERVICE, item.service_id),
        rating=int(item.rating),
        comment=item.comment,
        status=ReviewStatus(item.status),
        written_on=date.fromisoformat(item.local_date),
        edited_on=local_day(item.edited_at, item.zone) if item.edited_at else None,
        reply=_reply(item),
        author=names.ref(PATIENT, item.patient_id) if knows else None,
        appointment_id=item.appointment_id if knows else None,
        mine=mine,
        hidden_reason=item.hidden_reason if is_told_why else None,
        editable_until=item.created_at + EDIT_WITHIN if mine else None,
        version=int(item.version),
    )


def _reply(item: ReviewItem) -> Reply | None:
    if not item.reply:
        return None
    at = from_text(item.reply["at"])
    return Reply(text=item.reply["text"], by=item.reply["by"], written_on=local_day(at, item.zone))
