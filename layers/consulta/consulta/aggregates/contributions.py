"""What each item contributes to which figure: pure, and the one place where a figure is defined.

A new figure is a line in one of the functions at the end of this module, a higher ``GENERATION``,
a row in docs/figures.md, and a rebuild (``python -m consulta_cli rebuild``).

Everything a contribution depends on is stamped on the item itself, so that the same image gives the
same figures today and in a walk two years from now.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from consulta.core.keys import ITEM, Key, parse_item, tenant_of
from consulta.money.disputes.records import DISPUTE, INQUIRIES
from consulta.money.records import PAYMENT, POSTING, REFUND, Provider, RefundState, State
from consulta.people.records import EXPERT, PATIENT, PRACTICE
from consulta.scheduling.records import APPOINTMENT, BOOKED, OPEN, SERVICE, Status

# The version of this module's meaning. It rises with every change of what an item contributes.
GENERATION = 2

TOTAL = "TOTAL"

# Figures that not every period has, so TOTAL = Σ MONTH = Σ DAY is not asked of them: distinct
# counts cannot be added up, what awaits payment has no day yet, hours are only inside days.
NOT_ADDITIVE = {"unique_patients", "unique_experts", "awaiting", "patients", "hour", "balance"}
# The ledger's balances: a row per book (``PAYEE:<id>``, ``PLAT``) of the practice.
BOOK, BALANCE = "BOOK", "balance"

Image = Mapping[str, Mapping[str, Any]]
Vector = dict[str, int]


class Malformed(ValueError):
    """An item without what its figures depend on. The text names the attribute, never its value."""


class AggregateKey(NamedTuple):
    """One row of figures: of whom, and of which period (``TOTAL``, ``M#2026-11``, ``D#…``)."""

    subject: str
    subject_id: str
    period: str


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


@dataclass(frozen=True, slots=True)
class Contribution:
    """All that one item adds: vectors by row, and pairs (1 each). Without zeros."""

    figures: dict[AggregateKey, Vector] = field(default_factory=dict)
    pairs: dict[Pair, int] = field(default_factory=dict)


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
    return ENTITIES[entity](_Reader(image, tenant_of(pk).practice))


def version_of(image: Image) -> int:
    """The item's version. Raises Malformed."""
    return _number(image, "version")


def is_additive(name: str) -> bool:
    """Whether a figure's total is the sum of its months, and of its days where it has days."""
    return name.partition(".")[0] not in NOT_ADDITIVE


# ------------------------------------------------------------------------------------- reading


def _number(image: Image, name: str) -> int:
    try:
        return int(image[name]["N"])
    except (KeyError, TypeError, ValueError):
        raise Malformed(f"attribute {name}") from None


@dataclass(frozen=True, slots=True)
class _Reader:
    """An image, read strictly: what is not there or not of its kind is Malformed."""

    image: Image
    practice: str

    def text(self, name: str) -> str:
        value = self.image.get(name, {}).get("S")
        # A separator inside an id would reach another subject's row.
        if not isinstance(value, str) or not value or "#" in value:
            raise Malformed(f"attribute {name}")
        return value

    def number(self, name: str) -> int:
        return _number(self.image, name)

    def flag(self, name: str) -> bool:
        return self.image.get(name, {}).get("BOOL") is True

    def credited(self, accounts: frozenset[str]) -> int:
        """What a posting's entries credit to ``accounts``, less what they debit."""
        try:
            return sum(
                int(entry["M"]["credit"]["N"]) - int(entry["M"]["debit"]["N"])
                for entry in self.image["entries"]["L"]
                if entry["M"]["account"]["S"] in accounts
            )
        except (KeyError, TypeError, ValueError):
            raise Malformed("attribute entries") from None

    def balances(self) -> dict[str, dict[str, int]]:
        """By a posting's books and kinds of account: debits less credits."""
        # A dashboard names figures and never reads a posting: it need not import the ledger.
        from consulta.money.books.ledger import kind_of  # noqa: PLC0415

        found: dict[str, dict[str, int]] = {}
        try:
            for entry in self.image["entries"]["L"]:
                book, account = entry["M"]["book"]["S"], kind_of(entry["M"]["account"]["S"])
                sums = found.setdefault(book, {})
                moved = int(entry["M"]["debit"]["N"]) - int(entry["M"]["credit"]["N"])
                sums[account] = sums.get(account, 0) + moved
        except (KeyError, TypeError, ValueError):
            raise Malformed("attribute entries") from None
        if any("#" in book for book in found):
            raise Malformed("attribute entries")
        return found

    def has(self, name: str) -> bool:
        """Whether it is set: PynamoDB leaves None out, an update writes it as NULL."""
        return name in self.image and "NULL" not in self.image[name]

    def day(self) -> str:
        """The stamped local day, ``yyyy-mm-dd``."""
        text = self.text("local_date")
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise Malformed("attribute local_date") from None


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


def _contribution(*parts: Rows, pairs: Iterable[Pair] = ()) -> Contribution:
    """Put parts together; several may name the same row."""
    figures: dict[AggregateKey, Vector] = {}
    for part in parts:
        for key, vector in part:
            row = figures.setdefault(key, {})
            for name, value in vector.items():
                row[name] = row.get(name, 0) + value
    kept = {key: _without_zeros(vector) for key, vector in figures.items()}
    return Contribution(
        {key: vector for key, vector in kept.items() if vector}, dict.fromkeys(pairs, 1)
    )


# ------------------------------------------------------------------------- the figures themselves


STATUSES = frozenset(Status)


def _appointment(item: _Reader) -> Contribution:
    practice, expert = item.practice, item.text("expert_id")
    patient, service = item.text("patient_id"), item.text("service_id")
    status, day = item.text("status"), item.day()
    if status not in STATUSES:
        raise Malformed("attribute status")
    booked = status in BOOKED
    vector = {f"status.{status}": 1, "open": int(status in OPEN)}
    hour = {}
    if booked:
        vector[f"value.{item.text('currency')}"] = item.number("price")
        hour[f"hour.{item.number('local_hour'):02d}"] = 1
    return _contribution(
        _daily(PRACTICE, practice, day, vector, hour),
        _daily(EXPERT, expert, day, vector, hour),
        _monthly(SERVICE, service, day, vector),
        _monthly(PATIENT, patient, day, vector),
        pairs=[
            Pair(EXPERT_PATIENT, expert, patient),
            Pair(PRACTICE_PATIENT, practice, patient),
        ]
        if booked
        else [],
    )


def _payment(item: _Reader) -> Contribution:
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
    return _contribution(
        _daily(PRACTICE, practice, day, vector),
        _daily(EXPERT, expert, day, vector),
        _monthly(SERVICE, item.text("service_id"), day, {f"collected.{currency}": captured}),
        _monthly(PATIENT, item.text("patient_id"), day, {f"spent.{currency}": captured}),
    )


def _refund(item: _Reader) -> Contribution:
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
        _monthly(SERVICE, item.text("service_id"), day, refunded),
        _monthly(PATIENT, item.text("patient_id"), day, refunded),
    )


def _dispute(item: _Reader) -> Contribution:
    """An inquiry is none: nothing is taken before it becomes one."""
    if item.text("status") in INQUIRIES:
        return NOTHING
    vector = {f"disputed.{item.text('currency')}": item.number("held"), "disputes": 1}
    return _contribution(
        _daily(PRACTICE, item.practice, item.day(), vector),
        _daily(EXPERT, item.text("expert_id"), item.day(), vector),
    )


def _posting(item: _Reader) -> Contribution:
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


def _patient(item: _Reader) -> Contribution:
    if item.has("deleted_at"):
        return NOTHING
    practice = item.practice
    return _contribution(
        _daily(PRACTICE, practice, item.day(), {"new_patients": 1}),
        _total(PRACTICE, practice, {"patients": 1}),
    )


ENTITIES: dict[str, Callable[[_Reader], Contribution]] = {
    APPOINTMENT: _appointment,
    PAYMENT: _payment,
    REFUND: _refund,
    DISPUTE: _dispute,
    POSTING: _posting,
    PATIENT: _patient,
}
