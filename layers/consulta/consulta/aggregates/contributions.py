"""What each item contributes to which figure: pure, and the one place where a figure is defined.

A new figure is a line in one of the functions at the end of this module, a higher ``GENERATION``
and a line in ``SINCE`` (``catalog``), a row in docs/figures.md, and a walk of what is older
(``consulta backfill``).

Everything a contribution depends on is stamped on the item itself, so that the same image gives the
same figures today and in a walk two years from now.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from consulta.aggregates.catalog import (
    BALANCE,
    BOOK,
    COHORT,
    EXPERTS,
    PATIENTS,
    SERVICES,
    TOTAL,
    VISITED,
    AggregateKey,
)
from consulta.aggregates.images import Image, Malformed, Reader, number_in
from consulta.core.keys import ITEM, Key, parse_item, tenant_of
from consulta.money.disputes.records import DISPUTE, INQUIRIES
from consulta.money.records import PAYMENT, POSTING, REFUND, Provider, RefundState, State
from consulta.people.records import EXPERT, PATIENT, PRACTICE, PROFILE_VIEWS
from consulta.people.thread_records import THREAD
from consulta.scheduling.records import (
    APPOINTMENT,
    BOOKED,
    OPEN,
    SERVICE,
    PaymentStatus,
    Status,
)
from consulta.scheduling.review_records import REVIEW, ReviewStatus

Vector = dict[str, int]


class Pair(NamedTuple):
    """Two that are joined by at least one live item, for distinct counts."""

    name: str
    left: str
    right: str

    def counted_in(self) -> tuple[tuple[AggregateKey, str], ...]:
        """The figures that go up with the first item of this pair, and down with the last."""
        sides = {"left": self.left, "right": self.right}
        return tuple(
            (AggregateKey(subject, sides[side], TOTAL), figure)
            for subject, side, figure in DISTINCT[self.name]
        )


EXPERT_PATIENT, PRACTICE_PATIENT = "EXPERT-PATIENT", "PRACTICE-PATIENT"
DISTINCT = {
    EXPERT_PATIENT: ((EXPERT, "left", "unique_patients"), (PATIENT, "right", "unique_experts")),
    PRACTICE_PATIENT: ((PRACTICE, "left", "unique_patients"),),
}


class Visit(NamedTuple):
    """A month in which a patient came; of all of a patient's months the first says which cohort."""

    patient: str
    month: str


def cohort_of(practice: str, months: Iterable[str]) -> dict[AggregateKey, Vector]:
    """What a patient who came in these months counts for: one in each, months after the first."""
    numbers = sorted(int(month[:4]) * 12 + int(month[5:]) for month in months)
    if not numbers:
        return {}
    year, month = divmod(numbers[0] - 1, 12)
    key = AggregateKey(COHORT, practice, f"M#{year:04}-{month + 1:02}")
    return {key: {f"{VISITED}.{number - numbers[0]}": 1 for number in numbers}}


@dataclass(frozen=True, slots=True)
class Contribution:
    """All that one item adds: vectors by row, pairs and visits (1 each). Without zeros."""

    figures: dict[AggregateKey, Vector] = field(default_factory=dict)
    pairs: dict[Pair, int] = field(default_factory=dict)
    visits: dict[Visit, int] = field(default_factory=dict)


NOTHING = Contribution()


def contributes(key: Key) -> bool:
    """Whether the item under ``key`` has figures: its entity has, and it is no sub-item."""
    if key.sk != ITEM or not key.pk.startswith("P#") or key.pk.count("#") < 3:
        return False
    return parse_item(key.pk)[0] in ENTITIES


def contribution(pk: str, image: Image | None) -> Contribution:
    """What the item ``pk`` contributes as ``image`` (DynamoDB's attribute map); None if it is gone.

    Raises Malformed for an image without what its figures depend on.
    """
    if image is None:
        return NOTHING
    entity, _ = parse_item(pk)
    return ENTITIES[entity](Reader(image, tenant_of(pk).practice))


def version_of(image: Image) -> int:
    """The item's version. Raises Malformed."""
    return number_in(image, "version")


def _without_zeros(vector: Vector) -> Vector:
    return {name: value for name, value in vector.items() if value}


Rows = Iterable[tuple[AggregateKey, Vector]]


def _total(subject: str, subject_id: str, vector: Vector) -> Rows:
    return [(AggregateKey(subject, subject_id, TOTAL), vector)]


def _monthly(subject: str, subject_id: str, day: str, vector: Vector) -> Rows:
    yield AggregateKey(subject, subject_id, f"M#{day[:7]}"), vector
    yield AggregateKey(subject, subject_id, TOTAL), vector


def _daily(
    subject: str, subject_id: str, day: str, vector: Vector, inside_day: Vector | None = None
) -> Rows:
    yield AggregateKey(subject, subject_id, f"D#{day}"), {**vector, **(inside_day or {})}
    yield from _monthly(subject, subject_id, day, vector)


def _members(subject: str, practice: str, item_id: str, day: str, vector: Vector) -> Rows:
    """One of many of the practice, beside the others of the same day and month."""
    yield AggregateKey(subject, practice, f"D#{day}#{item_id}"), vector
    yield AggregateKey(subject, practice, f"M#{day[:7]}#{item_id}"), vector


def _everybody(item: Reader, day: str, vector: Vector) -> list[Rows]:
    """Beside the others: its service, its expert and its patient."""
    who = {SERVICES: "service_id", EXPERTS: "expert_id", PATIENTS: "patient_id"}
    return [
        _members(subject, item.practice, item.text(name), day, vector)
        for subject, name in who.items()
    ]


def _contribution(
    *parts: Rows, pairs: Iterable[Pair] = (), visits: Iterable[Visit] = ()
) -> Contribution:
    """Put parts together; several may name the same row."""
    figures: dict[AggregateKey, Vector] = {}
    for part in parts:
        for key, vector in part:
            row = figures.setdefault(key, {})
            for name, value in vector.items():
                row[name] = row.get(name, 0) + value
    kept = {key: _without_zeros(vector) for key, vector in figures.items()}
    return Contribution(
        {key: vector for key, vector in kept.items() if vector},
        dict.fromkeys(pairs, 1),
        dict.fromkeys(visits, 1),
    )


# ------------------------------------------------------------------------- the figures themselves


STATUSES, PAYMENT_STATUSES = frozenset(Status), frozenset(PaymentStatus)
ATTENDED = frozenset({Status.COMPLETED, Status.NO_SHOW})
_PAID = frozenset({PaymentStatus.PAID, PaymentStatus.PARTIALLY_REFUNDED})


def _appointment(item: Reader) -> Contribution:
    practice, expert = item.practice, item.text("expert_id")
    patient, service = item.text("patient_id"), item.text("service_id")
    status, payment_status = item.text("status"), item.text("payment_status")
    day, price = item.day(), item.number("price")
    if status not in STATUSES:
        raise Malformed("attribute status")
    if payment_status not in PAYMENT_STATUSES:
        raise Malformed("attribute payment_status")
    booked = status in BOOKED
    # What became an appointment, whatever came of it. A hold never did, given up or run out.
    given_up = item.has("cancelled_from") and item.text("cancelled_from") == Status.HELD
    scheduled = booked or (status == Status.CANCELLED and not given_up)
    vector = {f"status.{status}": 1, "open": int(status in OPEN)}
    hour, made = Vector(), Vector()
    if booked:
        vector[f"value.{item.text('currency')}"] = price
        hour[f"hour.{item.number('local_hour'):02d}"] = 1
    funnel = dict(vector)
    if scheduled:
        paid = not price or payment_status in _PAID
        funnel |= {
            f"payment_status.{payment_status}": 1,
            "scheduled": 1,
            "paid": int(paid),
            "paid_completed": int(paid and status == Status.COMPLETED),
        }
        made = {"made": 1}
    attended = {f"status.{status}": int(status in ATTENDED)}
    came = [Visit(patient, day[:7])] if status == Status.COMPLETED else []
    made_on = item.made_on()
    return _contribution(
        _daily(PRACTICE, practice, day, funnel, hour),
        _daily(EXPERT, expert, day, funnel, hour),
        _daily(SERVICE, service, day, funnel),
        _monthly(PATIENT, patient, day, vector),
        _daily(PRACTICE, practice, made_on, made),
        _daily(EXPERT, expert, made_on, made),
        _members(SERVICES, practice, service, day, {**vector, "scheduled": int(scheduled)}),
        _members(EXPERTS, practice, expert, day, attended),
        _members(PATIENTS, practice, patient, day, attended),
        pairs=[
            Pair(EXPERT_PATIENT, expert, patient),
            Pair(PRACTICE_PATIENT, practice, patient),
        ]
        if booked
        else [],
        visits=came,
    )


def _payment(item: Reader) -> Contribution:
    practice, expert = item.practice, item.text("expert_id")
    currency = item.text("currency")
    captured, state = item.number("captured"), item.text("state")
    if not captured:
        if state not in (State.OPEN, State.PROCESSING):
            return NOTHING
        awaiting = {f"awaiting.{currency}": item.number("amount")}
        return _contribution(_total(PRACTICE, practice, awaiting), _total(EXPERT, expert, awaiting))
    day, commission = item.day(), item.number("commission")
    settled = item.flag("settled") or item.text("provider") == Provider.MANUAL
    vector = {
        f"collected.{currency}": captured,
        f"commission.{currency}": commission,
        f"pending_commission.{currency}": 0 if settled else commission,
        f"fee.{currency}": item.number("fee"),
        f"platform_fee.{currency}": item.number("fee") if item.flag("platform_pays_fees") else 0,
        f"tax_withheld.{currency}": item.number("tax_withheld"),
        "payments": 1,
        f"payments.{currency}": 1,
    }
    collected = {f"collected.{currency}": captured, "payments": 1, f"payments.{currency}": 1}
    return _contribution(
        _daily(PRACTICE, practice, day, vector),
        _daily(EXPERT, expert, day, vector),
        _daily(SERVICE, item.text("service_id"), day, collected),
        _monthly(PATIENT, item.text("patient_id"), day, {f"spent.{currency}": captured}),
        *_everybody(item, day, collected),
    )


def _refund(item: Reader) -> Contribution:
    failed, commission = item.text("state") == RefundState.FAILED, item.number("commission")
    if failed and commission:
        # Its money came back, our commission that went with it did not.
        vector = {f"commission_returned.{item.text('currency')}": commission}
        return _contribution(
            _daily(PRACTICE, item.practice, item.day(), vector),
            _daily(EXPERT, item.text("expert_id"), item.day(), vector),
        )
    if item.text("state") != RefundState.SUCCEEDED:
        return NOTHING
    currency, day = item.text("currency"), item.day()
    refunded = {f"refunded.{currency}": item.number("amount")}
    vector = {
        **refunded,
        f"commission_returned.{currency}": commission,
        "refunds": 1,
    }
    return _contribution(
        _daily(PRACTICE, item.practice, day, vector),
        _daily(EXPERT, item.text("expert_id"), day, vector),
        _daily(SERVICE, item.text("service_id"), day, refunded),
        _monthly(PATIENT, item.text("patient_id"), day, refunded),
        *_everybody(item, day, refunded),
    )


def _dispute(item: Reader) -> Contribution:
    """An inquiry is none: nothing is taken before it becomes one."""
    if item.text("status") in INQUIRIES:
        return NOTHING
    vector = {f"disputed.{item.text('currency')}": item.number("held"), "disputes": 1}
    return _contribution(
        _daily(PRACTICE, item.practice, item.day(), vector),
        _daily(EXPERT, item.text("expert_id"), item.day(), vector),
    )


def _posting(item: Reader) -> Contribution:
    """Every account's balance; and by day what became revenue, less what of it was taken back."""
    from consulta.money.books.ledger import REVENUE, TAX_OUT  # noqa: PLC0415  # as for the balances

    currency = item.text("currency")
    balances = [
        _total(BOOK, book, {f"{BALANCE}.{kind}.{currency}": n for kind, n in sums.items()})
        for book, sums in item.balances().items()
    ]
    if not item.has("local_date"):
        return _contribution(*balances)
    earned = {f"earned.{item.text('currency')}": item.credited(frozenset({REVENUE, TAX_OUT}))}
    return _contribution(
        *balances,
        _daily(PRACTICE, item.practice, item.day(), earned),
        _daily(EXPERT, item.text("expert_id"), item.day(), earned),
    )


def _patient(item: Reader) -> Contribution:
    if item.has("deleted_at"):
        return NOTHING
    practice = item.practice
    return _contribution(
        _daily(PRACTICE, practice, item.day(), {"new_patients": 1}),
        _total(PRACTICE, practice, {"patients": 1}),
    )


def _service(item: Reader) -> Contribution:
    if item.has("deleted_at") or not item.flag("active"):
        return NOTHING
    one = {"services": 1}
    experts = [_total(EXPERT, expert, one) for expert in dict.fromkeys(item.texts("expert_ids"))]
    return _contribution(_total(PRACTICE, item.practice, one), *experts)


def _review(item: Reader) -> Contribution:
    if item.text("status") != ReviewStatus.PUBLISHED or item.has("deleted_at"):
        return NOTHING
    rating, day = item.number("rating"), item.day()
    vector = {"reviews": 1, "rating": rating, f"rated.{rating}": 1}
    return _contribution(
        _daily(PRACTICE, item.practice, day, vector),
        _daily(EXPERT, item.text("expert_id"), day, vector),
        _daily(SERVICE, item.text("service_id"), day, vector),
    )


def _thread(item: Reader) -> Contribution:
    """What is not read yet, on either side; a thread without an expert is the whole practice's.

    That of a deleted patient nobody finds any more.
    """
    if item.has("ended_at"):
        return NOTHING
    theirs = {"unread": item.number("unread_practice")}
    rows = [_total(PRACTICE, item.practice, theirs)]
    if item.has("expert_id"):
        rows.append(_total(EXPERT, item.text("expert_id"), theirs))
    own = {"unread": item.number("unread_patient")}
    return _contribution(*rows, _total(PATIENT, item.text("patient_id"), own))


def _profile_views(item: Reader) -> Contribution:
    vector, day = {"views": item.number("views")}, item.day()
    return _contribution(
        _daily(PRACTICE, item.practice, day, vector),
        _daily(EXPERT, item.text("expert_id"), day, vector),
    )


ENTITIES: dict[str, Callable[[Reader], Contribution]] = {
    APPOINTMENT: _appointment,
    PAYMENT: _payment,
    REFUND: _refund,
    DISPUTE: _dispute,
    POSTING: _posting,
    PATIENT: _patient,
    SERVICE: _service,
    REVIEW: _review,
    THREAD: _thread,
    PROFILE_VIEWS: _profile_views,
}
