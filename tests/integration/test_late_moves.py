"""A patient moves a paid booking late, for a fee: agreed to, owed, paid, refused, given back."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.aggregates.contributions import contribution
from consulta.core import table
from consulta.core.errors import Conflict, Invalid
from consulta.core.permissions import Role
from consulta.money.appointments import closing
from consulta.money.books import verify as ledger_verify
from consulta.money.paying import effects, refunds
from consulta.money.records import PaymentItem
from consulta.money.schema.orders import OrderStatus
from consulta.money.schema.payments import Payment, RefundRequest
from consulta.scheduling import appointments, rescheduling
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.actions import MarkPaidRequest, PreviewRequest
from consulta.scheduling.schema.appointments import AppointmentDetail, CancelReason
from consulta.scheduling.schema.booking import CancelRequest, RescheduleRequest
from tests.faults import Crash, Faults
from tests.integration import test_money
from tests.integration.test_money import BY, Practice
from tests.integration.test_orders import ASKED, DEPOSIT, IVA, ON_TOP, Desk, practice_item
from tests.integration.test_receipts import pdf, text_of
from tests.unit.people.calling import call, signed_in
from tests.unit.scheduling.world import TODAY, tomorrow

practice = test_money.practice
PRICE, FEE = 10_000, 5_000
FOR_A_FEE = {"free_until_s": 86_400, "max": 3, "inside": "fee"}
START, TARGET = tomorrow(10, days=2), tomorrow(12, days=5)
LATE = START - timedelta(hours=20)


class Late(Desk):
    """A desk of a practice that lets patients move late, for a fee."""

    def move(self, appointment: str, *, key: str | None = None, **more: Any) -> AppointmentDetail:
        by = more.pop("by", self.patients_own)
        body = {"start": TARGET} | more
        request = RescheduleRequest.model_validate(body)
        return rescheduling.reschedule(by, appointment, request, key)

    def refused(self, appointment: str, **more: Any) -> dict[str, object]:
        """What a move that is a conflict says; nothing has changed."""
        before = self.practice.appointment(appointment)
        with pytest.raises(Conflict) as conflict:
            self.move(appointment, **more)
        after = self.practice.appointment(appointment)
        assert (after.version, after.price, after.start) == (
            before.version,
            before.price,
            before.start,
        )
        return conflict.value.extra

    def late(self, at: datetime = LATE) -> None:
        self.practice.clock.at = at

    def booked(self, hour: int = 10) -> str:
        """Paid through Stripe as a whole."""
        appointment = self.hold(hour)
        self.pay(appointment, "full")
        return appointment

    def moved(self) -> tuple[str, Payment]:
        """Paid, and moved for the fee, which is still owed."""
        appointment = self.hold()
        paid = self.pay(appointment, "full")
        self.late()
        self.move(appointment, fee=eur(FEE))
        return appointment, paid

    def pay_fee(self, appointment: str, how: str) -> Payment:
        if how == "stripe":
            return self.pay(appointment)
        if how == "mercadopago":
            return self.practice.start(appointment, "mercadopago", part="remainder")
        body = {"method": "cash", "received_at": TODAY}
        request = MarkPaidRequest.model_validate(body)
        return closing.mark_paid(self.practice.owner, appointment, request, None)


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def desk_of(practice: Practice, **terms: Any) -> Late:
    found = Late.of(practice, **{"deposit": None} | terms)
    assert isinstance(found, Late)
    return found


@pytest.fixture
def desk(practice: Practice, monkeypatch: pytest.MonkeyPatch) -> Late:
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)
    practice_item(practice.world, reschedule=FOR_A_FEE)
    return desk_of(practice)


# ---------------------------------------------------------------- agreed to, owed and paid


def test_the_fee_is_told_first_and_then_agreed_to(desk: Late) -> None:
    appointment = desk.booked()
    desk.late()
    for given in (None, eur(FEE - 1), eur(FEE + 1), eur(0), {"amount": FEE, "currency": "USD"}):
        told = desk.refused(appointment, fee=given)
        assert (told["code"], told["fee"]) == ("fee", eur(FEE))
    assert desk.figures(appointment) == (PRICE, 0, 0, 0)
    shown = desk.move(appointment, fee=eur(FEE))
    assert (shown.start, shown.rescheduled, shown.status) == (TARGET, 1, "confirmed")
    assert (shown.price.amount, shown.deposit) == (PRICE + FEE, None)
    assert shown.fee is not None
    assert shown.fee.amount == FEE
    assert desk.shown(appointment) == ("confirmed", "deposit_paid")
    assert desk.figures(appointment) == (PRICE, 0, FEE, FEE)
    order = desk.order(appointment)
    assert (order.status, order.deposit) == (OrderStatus.DEPOSIT_PAID, None)
    assert [(line.kind, line.amount.amount) for line in order.lines] == [
        ("appointment", PRICE),
        ("reschedule_fee", FEE),
    ]
    desk.verified()


@pytest.mark.parametrize("how", ["stripe", "mercadopago", "cash"])
@pytest.mark.parametrize(
    ("tax", "price", "within", "of_fee"),
    [(None, PRICE, 0, 0), (IVA, PRICE, 1_736, 868), (ON_TOP, 12_100, 2_100, 1_050)],
)
def test_the_fee_is_paid_as_the_remainder(
    practice: Practice,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    tax: dict[str, Any] | None,
    price: int,
    within: int,
    of_fee: int,
) -> None:
    """With exactly its own tax and commission; what was paid before stays as it was."""
    monkeypatch.setattr(ledger_verify, "PAUSE_S", 0)
    practice_item(practice.world, reschedule=FOR_A_FEE)
    desk = desk_of(practice, tax=tax)
    appointment = desk.hold()
    first = desk.pay(appointment)
    before = desk.item(first)
    desk.late()
    desk.move(appointment, fee=eur(price // 2))
    paid = desk.pay_fee(appointment, how)
    item = desk.item(paid)
    assert (item.part, item.amount, item.tax) == ("remainder", price // 2, of_fee)
    # A tenth, as of the price; nothing of cash. Mercado Pago tells what it took.
    if how != "mercadopago":
        assert int(item.commission) == (0 if how == "cash" else price // 20)
    assert desk.shown(appointment) == ("confirmed", "paid")
    assert desk.figures(appointment) == (price + price // 2, 0, 0, 0)
    order = desk.order(appointment)
    assert (order.status, order.tax.amount) == (OrderStatus.PAID, within + of_fee)
    assert [line.tax.amount for line in order.lines if line.tax] == (
        [within, of_fee] if tax else []
    )
    after = desk.item(first)
    assert (after.version, after.amount, after.tax) == (before.version, price, within)
    found = practice.appointment(appointment)
    assert (found.deposit_payment_id, found.payment_id) == (first.id, paid.id)
    desk.practice.clock.at = TARGET + timedelta(hours=2)
    closing.complete(practice.owner, appointment)
    assert [int(desk.item(one).earned) for one in (first, paid)] == [price, price // 2]
    desk.verified()


def test_only_a_rest_can_be_paid_of_it(desk: Late) -> None:
    appointment, _ = desk.moved()
    for part in ("deposit", "full"):
        with pytest.raises(Conflict):
            desk.practice.start(appointment, part=part)
    with pytest.raises(Conflict):
        desk.cash(appointment, PRICE)
    with pytest.raises(Invalid):
        desk.cash(appointment, FEE - 1)
    desk.cash(appointment, FEE)
    for part in ("deposit", "full", "remainder"):
        with pytest.raises(Conflict):
            desk.practice.start(appointment, part=part)


def test_a_fee_of_all_the_price_is_not_taken_for_it(desk: Late) -> None:
    """Both amounts are the same: by hand it has to be said which one it is."""
    everything = [{"min_notice_s": 0, "keep": {"fixed": 0, "percent": 100}}]
    practice_item(desk.practice.world, cancel=everything)
    appointment = desk.booked()
    desk.late()
    desk.move(appointment, fee=eur(PRICE))
    with pytest.raises(Invalid) as refused:
        desk.cash(appointment, PRICE)
    assert refused.value.errors[0].path == "body.part"
    assert desk.cash(appointment, PRICE, "remainder").part == "remainder"
    assert desk.figures(appointment) == (2 * PRICE, 0, 0, 0)


def test_receipts_name_the_fee(desk: Late) -> None:
    appointment, first = desk.moved()
    context = signed_in("owner", desk.practice.world.practice)

    def receipt(payment: Payment) -> dict[str, Any]:
        found = call("receipts", "GET", f"/v1/payments/{payment.id}/receipt", context=context)
        assert found.status == 200, found.body
        return dict(found.body)

    owed = receipt(first)
    assert [(one["kind"], one["description"]) for one in owed["lines"]] == [
        ("appointment", "First consultation"),
        ("reschedule_fee", "Taxa de remarcação"),
    ]
    assert (owed["total"], owed["paid"], owed["left"]) == (eur(PRICE + FEE), eur(PRICE), eur(FEE))
    fee = desk.pay(appointment)
    for one in (first, fee):
        body = receipt(one)
        assert [part["part"] for part in body["payments"]] == ["full", "reschedule_fee"]
        assert (body["net"], body["total"], body["left"]) == (
            eur(PRICE + FEE),
            eur(PRICE + FEE),
            eur(0),
        )
    text = text_of(pdf(desk.practice, fee.id)[1])
    assert text.count("Taxa de remarcação") == 2


def test_the_booked_value_has_the_fee_and_revenue_its_payment(desk: Late) -> None:
    appointment, _ = desk.moved()
    fee = desk.pay(appointment)

    def figures(entity: str, item_id: str, name: str) -> set[int]:
        raw = table.get_raw(desk.practice.world.tenant.item(entity, item_id))
        assert raw
        found = contribution(raw["pk"]["S"], raw).figures
        return {vector[name] for vector in found.values() if name in vector}

    assert figures(APPOINTMENT, appointment, "value.EUR") == {PRICE + FEE}
    assert figures("PAYMENT", fee.id, "collected.EUR") == {FEE}


def test_over_http(desk: Late) -> None:
    appointment = desk.booked()
    desk.late()
    context = signed_in("patient", desk.practice.world.practice, desk.patient)
    path, body = f"/v1/appointments/{appointment}/reschedule", {"start": TARGET.isoformat()}

    def ask(**more: Any) -> Any:
        return call("appointment_actions", "POST", path, body | more, context=context)

    told = ask()
    assert (told.status, told.body["code"], told.body["fee"]) == (409, "fee", eur(FEE))
    for fee in ({"amount": -1, "currency": "EUR"}, {"amount": FEE}, {"amount": "5000"}, 5_000):
        assert ask(fee=fee).status == 422, fee
    moved = ask(fee=told.body["fee"])
    assert (moved.status, moved.body["fee"], moved.body["deposit"]) == (200, eur(FEE), None)
    order = call("orders", "GET", f"/v1/orders/{moved.body['order_id']}", context=context)
    assert (order.body["due"], order.body["deposit"]) == (eur(FEE), None)


# ---------------------------------------------------------------- refused, or for nothing


def test_without_need_no_fee_is_taken(desk: Late) -> None:
    appointment = desk.booked()
    # Exactly a day before it is still free.
    desk.late(START - timedelta(days=1))
    for by in (desk.patients_own, desk.practice.owner):
        with pytest.raises(Invalid) as refused:
            desk.move(appointment, fee=eur(FEE), by=by)
        error = refused.value.errors[0]
        assert (error.path, error.code) == ("body.fee", "no_fee")
    assert desk.move(appointment, fee=eur(0)).fee is None
    desk.late(TARGET - timedelta(days=1) + timedelta(milliseconds=1))
    assert desk.refused(appointment, start=START + timedelta(days=9))["code"] == "fee"
    # A member moves it for nothing, also at the patient's wish.
    shown = desk.move(appointment, start=START + timedelta(days=9), by=desk.practice.owner)
    assert (shown.price.amount, shown.fee) == (PRICE, None)
    assert desk.shown(appointment) == ("confirmed", "paid")


def test_an_unpaid_booking_is_paid_first(desk: Late) -> None:
    appointment = desk.hold(confirm=True)
    desk.late()
    assert desk.refused(appointment, fee=eur(FEE))["code"] == "pay_first"
    desk.cash(appointment, PRICE)
    assert desk.refused(appointment)["code"] == "fee"
    assert desk.move(appointment, fee=eur(FEE)).fee


def test_what_was_paid_in_parts_is_not_moved_late(desk: Late) -> None:
    parted = desk_of(desk.practice, deposit={"fixed": DEPOSIT})
    appointment = parted.hold()
    parted.pay(appointment)
    parted.late()
    assert parted.refused(appointment)["code"] == "too_late"
    parted.pay(appointment)
    assert parted.shown(appointment) == ("confirmed", "paid")
    assert parted.refused(appointment, fee=eur(FEE))["code"] == "too_late"


def test_a_deposit_that_was_agreed_on_and_not_used_is_no_hindrance(desk: Late) -> None:
    parted = desk_of(desk.practice, deposit={"fixed": DEPOSIT})
    appointment = parted.booked()
    parted.late()
    parted.move(appointment, fee=eur(FEE))
    assert parted.figures(appointment) == (PRICE, 0, FEE, FEE)
    assert parted.order(appointment).deposit is None


def test_a_fee_is_taken_once(desk: Late) -> None:
    appointment, _ = desk.moved()
    again = {"start": TARGET + timedelta(days=1), "fee": eur(FEE)}
    for _ in range(2):
        # Notice counts to the earlier start from now on, however far away it is.
        assert desk.refused(appointment, **again)["code"] == "too_late"
        if desk.shown(appointment)[1] == "deposit_paid":
            desk.pay(appointment)
    assert desk.move(appointment, start=again["start"], by=desk.practice.owner).rescheduled == 2
    assert desk.figures(appointment) == (PRICE + FEE, 0, 0, 0)


def test_what_partly_went_back_is_not_moved_late(desk: Late) -> None:
    appointment = desk.hold()
    paid = desk.pay(appointment)
    refunds.create(
        desk.practice.owner, paid.id, RefundRequest.model_validate({"amount": eur(1)}), None
    )
    desk.late()
    assert desk.refused(appointment, fee=eur(FEE))["code"] == "too_late"


def test_a_session_of_a_package_is_not_moved_late(desk: Late) -> None:
    sessions = desk_of(desk.practice, kind="PACKAGE", sessions=2, validity_days=90)
    body = {"service_id": sessions.service, "patient_id": sessions.patient, "confirm": True}
    context = signed_in("owner", desk.practice.world.practice)
    assert call("packages", "POST", "/v1/packages", body, context=context).status == 201
    appointment = sessions.hold()
    sessions.late()
    assert sessions.refused(appointment)["code"] == "too_late"
    assert sessions.move(appointment, by=desk.practice.owner).start == TARGET


def test_the_price_is_not_higher_than_it_can_be(desk: Late) -> None:
    most = desk_of(desk.practice, price=99_999_999)
    appointment = most.booked()
    most.late()
    assert most.move(appointment).fee is None


def test_where_the_time_is_gone_nothing_is_owed(desk: Late) -> None:
    appointment = desk.booked()
    world = desk.practice.world
    world.book(desk.service, desk.practice.expert, world.patient(), TARGET, confirm=True)
    desk.late()
    told = desk.refused(appointment, fee=eur(FEE))
    assert told["alternatives"]
    assert desk.figures(appointment) == (PRICE, 0, 0, 0)


# ---------------------------------------------------------------- ends


def shown_preview(desk: Late, appointment: str, by: Any) -> Any:
    return closing.preview(by, appointment, PreviewRequest(reason_code=CancelReason.ILLNESS))


def test_cancelling_with_the_fee_unpaid_counts_what_was_paid(desk: Late) -> None:
    appointment, paid = desk.moved()
    found = shown_preview(desk, appointment, desk.patients_own)
    # Notice counts to the start that it had: late, though the new one is days away.
    assert (found.paid, found.kept, found.refund) == (PRICE, PRICE // 2, PRICE // 2)
    closing.cancel(desk.patients_own, appointment, ASKED)
    assert int(desk.item(paid).refunded) == PRICE // 2
    assert desk.shown(appointment) == ("cancelled", "partially_refunded")
    assert desk.figures(appointment) == (PRICE, PRICE // 2, 0, 0)
    assert desk.order(appointment).status is OrderStatus.CLOSED
    with pytest.raises(Conflict):
        desk.practice.start(appointment, part="remainder")
    desk.verified()


def test_cancelling_with_the_fee_paid_counts_all(desk: Late) -> None:
    appointment, paid = desk.moved()
    fee = desk.pay(appointment)
    found = shown_preview(desk, appointment, desk.patients_own)
    assert (found.paid, found.kept) == (PRICE + FEE, (PRICE + FEE) // 2)
    closing.cancel(desk.patients_own, appointment, ASKED)
    # The newest first: all of the fee, and the rest of what was paid before.
    assert [int(desk.item(one).refunded) for one in (fee, paid)] == [FEE, PRICE // 4]
    assert desk.shown(appointment) == ("cancelled", "partially_refunded")
    desk.verified()


@pytest.mark.parametrize("is_paid", [False, True])
def test_the_practice_cancels_and_all_goes_back(desk: Late, *, is_paid: bool) -> None:
    appointment, _ = desk.moved()
    total = PRICE + (FEE if is_paid else 0)
    if is_paid:
        desk.pay(appointment)
    ill = CancelRequest(reason_code=CancelReason.ILLNESS)
    closing.cancel(desk.practice.owner, appointment, ill)
    assert desk.shown(appointment) == ("cancelled", "refunded")
    assert desk.figures(appointment) == (total, total, 0, 0)
    desk.verified()


def test_a_fee_may_be_paid_after_it_took_place(desk: Late) -> None:
    appointment, _ = desk.moved()
    desk.practice.clock.at = TARGET + timedelta(hours=2)
    closing.complete(desk.practice.owner, appointment)
    assert desk.shown(appointment) == ("completed", "deposit_paid")
    fee = desk.pay(appointment)
    assert desk.shown(appointment) == ("completed", "paid")
    assert int(desk.item(fee).earned) == FEE
    assert desk.practice.balances()["PAYEE", "revenue", "EUR"] == -(PRICE + FEE)
    desk.verified()


def test_who_does_not_come_is_not_given_the_fee_back(desk: Late) -> None:
    appointment, paid = desk.moved()
    fee = desk.pay(appointment)
    desk.practice.clock.at = TARGET + timedelta(hours=2)
    closing.no_show(desk.practice.owner, appointment)
    assert [int(desk.item(one).earned) for one in (paid, fee)] == [PRICE, FEE]
    desk.verified()


# ---------------------------------------------------------------- at once, and twice


def stored(desk: Late, appointment: str) -> AppointmentItem:
    return desk.practice.appointment(appointment)


def test_a_refund_meanwhile_wins_over_the_move(desk: Late, tables: Any) -> None:
    """The move was asked for while all was paid: it is not written on what is not paid any more."""
    appointment = desk.hold()
    paid = desk.pay(appointment)
    desk.late()
    body = RefundRequest.model_validate({"amount": eur(1_000)})
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems",
            faults.meanwhile(lambda: refunds.create(desk.practice.owner, paid.id, body, None)),
        )
        with pytest.raises(Conflict):
            desk.move(appointment, fee=eur(FEE))
    found = stored(desk, appointment)
    assert (found.start, int(found.price), found.fee) == (START, PRICE, None)
    assert desk.shown(appointment) == ("confirmed", "partially_refunded")
    desk.verified()


@pytest.mark.parametrize(
    ("back", "shown", "due"), [(1_000, "deposit_paid", FEE), (PRICE, "refunded", 0)]
)
def test_a_refund_that_ends_after_the_move_sees_it(
    desk: Late, monkeypatch: pytest.MonkeyPatch, back: int, shown: str, due: int
) -> None:
    appointment = desk.hold()
    paid = desk.pay(appointment)
    desk.late()
    desk.practice.stripe.add_refund(str(paid.provider_id), back)
    transact = table.transact

    def after_the_move(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(table, "transact", transact)
        desk.move(appointment, fee=eur(FEE))
        return transact(*args, **options)

    monkeypatch.setattr(table, "transact", after_the_move)
    effects.refresh(desk.practice.world.tenant, paid.id, BY)
    assert int(stored(desk, appointment).fee) == FEE
    assert desk.shown(appointment) == ("confirmed", shown)
    assert desk.figures(appointment) == (PRICE, back, due, due)
    desk.verified()


@pytest.mark.parametrize("fault", ["conflict", "lost_call", "lost_answer"])
def test_a_fault_charges_once(desk: Late, tables: Any, fault: str) -> None:
    appointment = desk.booked()
    desk.late()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", *[getattr(faults, fault)] * 2)
        desk.move(appointment, fee=eur(FEE), key="k")
        assert faults.happened == 2
    again = desk.move(appointment, fee=eur(FEE), key="k")
    assert (again.rescheduled, again.price.amount) == (1, PRICE + FEE)


@pytest.mark.parametrize("crash", ["crash_before", "crash_after"])
def test_the_same_key_after_a_crash_charges_once(desk: Late, tables: Any, crash: str) -> None:
    appointment = desk.booked()
    desk.late()
    # The first try tells what it costs, and is not remembered.
    assert desk.refused(appointment, key="k")["code"] == "fee"
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", getattr(faults, crash))
        with pytest.raises(Crash):
            desk.move(appointment, fee=eur(FEE), key="k")
    shown = desk.move(appointment, fee=eur(FEE), key="k")
    assert (shown.rescheduled, shown.price.amount, shown.start) == (1, PRICE + FEE, TARGET)
    with pytest.raises(Invalid) as reused:
        desk.move(appointment, fee=eur(FEE + 1), key="k")
    assert reused.value.errors[0].code == "reused"
    desk.verified()


def test_everybody_who_sees_it_sees_the_fee(desk: Late) -> None:
    appointment, paid = desk.moved()
    world = desk.practice.world
    for by in (desk.patients_own, world.caller(Role.EXPERT, desk.practice.expert), world.owner):
        found = appointments.get(by, appointment)
        assert found.fee is not None
        assert (found.fee.amount, found.payment_status) == (FEE, "deposit_paid")
    assert isinstance(desk.item(paid), PaymentItem)
