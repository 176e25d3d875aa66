"""Bringing a dispute to what its provider says: item, postings and payment in one transaction.

Source: MONEY_AND_BOOKING_RULES §1, §2 and §4. Freshness, not rank, as in
:mod:`consulta.money.paying.effects`: payment and dispute at their versions, then the provider, then
one transaction that holds for those versions only. So it does not matter in which order, or how
often, anything is heard of. The appointment is not touched: a dispute is a task for a person.

Stripe takes a destination charge's dispute from the platform and reverses nothing by itself. When
the payee has to bear it is the setting ``recover``: once it is opened, once it is lost, or never.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from consulta.core import ids, settings, table
from consulta.core.errors import NotFound, Problem, ProviderFailed
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant, parse_item, tenant_of
from consulta.core.observe import count, logger, trouble
from consulta.core.time import local_day, now, to_text
from consulta.money.books import ledger
from consulta.money.disputes.records import (
    AT_RISK,
    CLOSED,
    DISPUTE,
    PROVIDER_DISPUTE,
    Asked,
    DisputeItem,
    DisputeStatus,
    find,
)
from consulta.money.paying import effects, operations
from consulta.money.paying.changes import Change, charge_key, charge_of, stored_values
from consulta.money.paying.operations import Kind
from consulta.money.paying.orders import behind, load
from consulta.money.provider import Legs, Moved, Movement, Operation, ProviderDispute
from consulta.money.providers import disputes_for
from consulta.money.records import PaymentItem, Provider
from consulta.people import writes
from consulta.scheduling import due

DISPUTE_DUE_WORK = "dispute"
# What goes into the same transaction besides.
Closing = Callable[[], list[table.Action]]


class Recovery(settings.Settings):
    """When a destination charge's dispute is taken back from the payee."""

    dispute_recover: Literal["opened", "lost", "never"] = "lost"


def known(tenant: Tenant, provider: str, provider_id: str) -> DisputeItem | None:
    """Ours behind a provider's dispute, consistently."""
    item_id = writes.holder(tenant, PROVIDER_DISPUTE, f"{provider}:{provider_id}")
    return find(tenant, item_id) if item_id else None


# ---------------------------------------------------------------- what was heard


def refresh(
    provider: str, provider_id: str, account: str, by: Actor, closing: Closing = list
) -> str:
    """Bring a dispute to what the provider says, with ``closing`` in the same transaction.

    ``account`` is the event's connected account, or "". Answers "", or why nothing was written, not
    even ``closing``: ``not_ours``; ``unknown_payment``, ``not_paid``, ``mismatch_currency``, which
    a person has to look at. A dispute that is heard of before its payment brings that first. Raises
    NotFound, ProviderFailed, Busy.
    """
    adapter = disputes_for(provider)
    where = adapter.read(provider_id, account)
    if where is None:
        return "not_ours"
    for _ in table.attempts(effects.DEADLINE_S):
        payment = _payment_of(where, provider, account, by)
        if isinstance(payment, str):
            return payment
        item = known(payment.tenant, provider, provider_id)
        reading = adapter.read(provider_id, account)
        if reading is None:
            return "not_ours"
        step = Step(payment, by, item)
        step.read(reading)
        parts = [*step.actions(), *closing()]
        try:
            if parts:
                table.transact(parts)
        except table.ConditionFailed as failed:
            if "inbox" in failed.labels:
                return ""
            continue
        step.announce()
        if step.asks:
            try_move(step.item, by)
        return ""
    raise AssertionError("attempts ends by raising Busy")


def _payment_of(
    where: ProviderDispute, provider: str, account: str, by: Actor
) -> PaymentItem | str:
    """The payment that is disputed, once it is paid; else a code."""
    try:
        tenant = Tenant(where.practice)
    except ValueError:  # metadata comes from outside: it need not even be an id
        return "unknown_payment"
    payment = behind(tenant, provider, where.provider_payment, where.payment)
    if payment is None:
        return "unknown_payment"
    if not payment.captured or payment.provider_id != where.provider_payment:
        result = effects.refresh(
            tenant, payment.item_id, by, payment=payment, provider_id=where.provider_payment
        )
        payment = result.payment
    if not payment.captured or payment.provider_id != where.provider_payment:
        return "not_paid"
    if account != ("" if payment.destination else payment.provider_account):
        return "unknown_payment"
    return payment if payment.currency == where.currency else "mismatch_currency"


# ---------------------------------------------------------------- one transaction


@dataclass
class Step:
    """What follows for one dispute, and its payment, as they were read. Writes nothing."""

    payment: PaymentItem
    by: Actor
    known: DisputeItem | None
    values: dict[str, Any] = field(default_factory=dict)
    parts: list[table.Action] = field(default_factory=list)
    # Whether a transfer has to be made once this is written.
    asks: bool = False

    def __post_init__(self) -> None:
        self.change = Change(self.payment, self.by)
        self.charge = charge_of(self.payment)
        self.item_id = self.known.item_id if self.known else ids.new_id("dp")
        self.item = self.known or self._new()

    def _new(self) -> DisputeItem:
        payment, tenant = self.payment, self.payment.tenant
        copied = {
            name: getattr(payment, name)
            for name in (
                "appointment_id",
                "package_id",
                "patient_id",
                "expert_id",
                "service_id",
                "provider",
                "currency",
                "zone",
            )
        }
        return DisputeItem.create(
            tenant.item(DISPUTE, self.item_id),
            DISPUTE,
            self.by,
            payment_id=payment.item_id,
            walkpk=tenant.listing(DISPUTE),
            walksk=self.item_id,
            **copied,
        )

    def get(self, name: str) -> Any:
        """An attribute of the dispute as it will be."""
        return self.values[name] if name in self.values else getattr(self.item, name)

    def number(self, name: str) -> int:
        """A number as it will be."""
        return int(self.get(name) or 0)

    def set(self, name: str, value: Any) -> None:
        """Write an attribute, where it differs."""
        if self.get(name) != value:
            self.values[name] = value

    def add(self, name: str, amount: int) -> None:
        """Raise a number."""
        self.set(name, self.number(name) + amount)

    # ------------------------------------------------------------ what the provider says

    def read(self, reading: ProviderDispute) -> None:
        """All that one reading means."""
        if self.known is None:
            self._open(reading)
        status = reading.status
        self.set("status", str(status))
        self.set("amount", reading.amount)
        self.set("reason", reading.reason)
        self.set("evidence_due_by", reading.evidence_due_by)
        self.set("closed_at", (self.get("closed_at") or now()) if status in CLOSED else None)
        held = reading.amount if status in AT_RISK else 0
        self.change.set("disputed", self.change.number("disputed") + held - self.number("held"))
        self.set("held", held)
        for movement in reading.movements:
            if movement.id not in self.get("transactions"):
                self._post_movement(movement)
        self.follow()

    def _open(self, reading: ProviderDispute) -> None:
        tenant, opened = self.payment.tenant, reading.opened_at
        place = f"{to_text(opened)}#{self.item_id}"
        self.values |= {
            "provider_id": reading.id,
            "opened_at": opened,
            "local_date": local_day(opened, self.payment.zone).isoformat(),
            "l1pk": tenant.listing_by(DISPUTE, "MONTH", place[:7]),
            "l2pk": tenant.listing_by(DISPUTE, "PAYMENT", self.payment.item_id),
            "l3pk": tenant.listing_by(DISPUTE, "EXPERT", self.payment.expert_id),
            "l1sk": place,
            "l2sk": place,
            "l3sk": place,
        }
        value = f"{self.payment.provider}:{reading.id}"
        self.parts.append(writes.claim(tenant, PROVIDER_DISPUTE, value, self.item_id))

    def _post_movement(self, movement: Movement) -> None:
        taken = movement.amount < 0
        amount = abs(movement.amount)
        post = ledger.dispute_withdrawn if taken else ledger.dispute_reinstated
        legs = self._leg_of(movement)
        self.change.move(post(self.charge, self._key(movement.id), amount, movement.fee), legs)
        self.add("withdrawn" if taken else "reinstated", amount)
        self.add("fee", movement.fee)
        self.set("transactions", [*self.get("transactions"), movement.id])

    def _leg_of(self, movement: Movement) -> Legs | None:
        """What it was in the currency of the balance that it is taken from, if that is another."""
        leg = movement.leg
        if leg is None:
            return None
        fees = leg.fee + int((self.get("fx") or {}).get("fee", 0))
        self.set("fx", {"currency": leg.currency, "fee": fees})
        return Legs(platform=leg) if self.charge.destination else Legs(payee=leg)

    def _key(self, transaction: str) -> str:
        if self.payment.provider == Provider.MERCADOPAGO:
            return f"mp:{self.payment.provider_id}:{transaction}"
        return charge_key(self.payment, transaction)

    # ------------------------------------------------------------ what follows from it

    @property
    def outstanding(self) -> int:
        """What the bank has taken and not given back."""
        return self.number("withdrawn") - self.number("reinstated")

    def follow(self) -> None:
        """Ask for transfers, and post what is lost by now."""
        status = self.get("status")
        gone = self.change.number("refunded") + self.change.number("reserved")
        recoverable = min(self.outstanding, self.change.number("captured") - gone)
        if self._recovers(status) and self.get("recovery") is None and recoverable > 0:
            self.set("to_recover", recoverable)
            self._ask("recovery", Kind.RECOVER)
        if (
            status == DisputeStatus.WON
            and self.number("recovered")
            and self.get("returning") is None
        ):
            self._ask("returning", Kind.GIVE_BACK)
        self._lose(status)

    def _recovers(self, status: str) -> bool:
        if not self.payment.destination:
            return False
        match settings.load(Recovery).dispute_recover:
            case "opened":
                return status in AT_RISK
            case "lost":
                return status == DisputeStatus.LOST
            case "never":
                return False

    def _ask(self, name: str, kind: Kind) -> None:
        """The operation is there before it is sent; should we die before, the sweep sends it."""
        self.set(name, str(Asked.REQUESTED))
        operation = operations.new(
            self.payment.tenant,
            self.payment.item_id,
            operation_id(self.item_id, kind),
            kind,
            self.by,
        )
        self.parts.append(table.put_new(operation))
        self.parts.append(due.at(now(), self.item.pk, DISPUTE_DUE_WORK))
        self.asks = True

    def _lose(self, status: str) -> None:
        """Whatever of it is not posted as lost yet; the other way round where it came back.

        While a recovery is under way nobody knows yet who bears how much.
        """
        final = status == DisputeStatus.LOST and self.get("recovery") != Asked.REQUESTED
        lost = self.outstanding if final else 0
        by_payee = min(lost, self.number("recovered") - self.number("returned"))
        key = f"dispute:{self.item_id}:lost:{int(self.item.version) + bool(self.known)}"
        self.change.post(
            ledger.dispute_lost(
                self.charge,
                key,
                lost - self.number("lost"),
                by_payee - self.number("lost_by_payee"),
            )
        )
        self.set("lost", lost)
        self.set("lost_by_payee", by_payee)

    def moved(self, kind: Kind, made: Moved | None) -> None:
        """A transfer was made, or given up (None)."""
        name, total = (
            ("recovery", "recovered") if kind is Kind.RECOVER else ("returning", "returned")
        )
        self.set(name, str(Asked.DONE if made else Asked.FAILED))
        if made:
            post = ledger.dispute_recovered if kind is Kind.RECOVER else ledger.dispute_returned
            posting = post(self.charge, charge_key(self.payment, made.id), made.amount)
            self.change.move(posting, made.legs)
            self.add(total, made.amount)
        self.follow()

    # ------------------------------------------------------------ written, and told

    def actions(self) -> list[table.Action]:
        """The parts; none where nothing changes."""
        parts = [*self.change.actions(), *self.parts]
        if self.known is None:
            for name, value in self.values.items():
                setattr(self.item, name, value)
            return [*parts, table.put_new(self.item, "dispute")]
        if not self.values:
            return parts
        stored = stored_values(self.item, self.values)
        gone = [name for name, value in self.values.items() if value is None]
        return [*parts, table.change(self.item, self.by, set_=stored, remove=gone)]

    def announce(self) -> None:
        """Counted once it is written."""
        if self.known is None:
            logger.warning(
                "a dispute was opened",
                extra={"dispute": self.item_id, "payment": self.payment.item_id},
            )
            trouble("DisputesOpened")


# ---------------------------------------------------------------- transfers that it asks for


def operation_id(dispute_id: str, kind: Kind) -> str:
    """One for all time: a dispute is recovered once, and given back once."""
    return f"{dispute_id}-{'recover' if kind is Kind.RECOVER else 'return'}"


def try_move(item: DisputeItem, by: Actor) -> None:
    """Make the transfers that were just asked for; what fails is left to the sweep."""
    try:
        _move(find(item.tenant, item.item_id), by, fresh=True)
    except Problem as problem:
        logger.warning(
            "dispute's transfer not made yet",
            extra={"dispute": item.item_id, "why": problem.type},
        )
        count("DisputeTransfersPostponed")


def resume(key: Key, by: Actor) -> bool:
    """The sweep's work on a dispute: make the transfers that it asks for, or hear that they are.

    False where it has to be asked again. Raises ProviderFailed.
    """
    tenant, (_, dispute_id) = tenant_of(key.pk), parse_item(key.pk)
    item = find(tenant, dispute_id)
    if not _asked(item):
        return True
    try:
        _move(item, by, fresh=False)
    except (NotFound, ProviderFailed):
        if now() - item.updated_at < effects.GIVE_UP:
            raise
        for kind in _asked(item):
            _write(item, kind, None, by)
            logger.error("a dispute's transfer was given up", extra={"dispute": dispute_id})
            trouble("DisputeTransfersFailed")
    return not _asked(find(tenant, dispute_id))


def _asked(item: DisputeItem) -> list[Kind]:
    wanted = {Kind.RECOVER: item.recovery, Kind.GIVE_BACK: item.returning}
    return [kind for kind, state in wanted.items() if state == Asked.REQUESTED]


def _move(item: DisputeItem, by: Actor, *, fresh: bool) -> None:
    for kind in _asked(item):
        _write(item, kind, _transfer(item, kind, by, fresh=fresh), by)


def _transfer(item: DisputeItem, kind: Kind, by: Actor, *, fresh: bool) -> Moved:
    """Ask the provider, or find what the time before has made."""
    payment = load(item.tenant, item.payment_id)
    adapter = disputes_for(item.provider)
    sent = operations.find(item.tenant, item.payment_id, operation_id(item.item_id, kind))
    if sent is None:
        raise NotFound

    def send(operation: Operation) -> Moved:
        if kind is Kind.RECOVER:
            return adapter.recover(operation, payment, int(item.to_recover))
        return adapter.give_back(operation, payment, int(item.recovered))

    def lookup() -> Moved | None:
        find_made = adapter.find_recovery if kind is Kind.RECOVER else adapter.find_given_back
        return find_made(operations.first(sent), payment)

    return send(operations.first(sent)) if fresh else operations.again(sent, by, lookup, send)


def _write(item: DisputeItem, kind: Kind, made: Moved | None, by: Actor) -> None:
    """What became of a transfer, once."""
    for _ in table.attempts(effects.DEADLINE_S):
        payment = load(item.tenant, item.payment_id)
        current = find(item.tenant, item.item_id)
        if kind not in _asked(current):
            return
        step = Step(payment, by, current)
        step.moved(kind, made)
        try:
            table.transact(step.actions())
        except table.ConditionFailed:
            continue
        if step.asks:
            try_move(current, by)
        return
    raise AssertionError("attempts ends by raising Busy")
