"""Packages: bought, paid for, used session by session, given back; never more used than sold."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from consulta.aggregates.contributions import contribution
from consulta.core import table
from consulta.core.errors import Conflict, Forbidden, Invalid, NoPackage, NotFound
from consulta.core.ids import new_id
from consulta.core.permissions import Role
from consulta.core.time import to_text
from consulta.money import providers
from consulta.money.appointments import approving, closing, package_payments
from consulta.money.appointments import packages as sold
from consulta.money.paying import (
    changes,
    effects,
    operations,
    orders,
    paid_for,
    payment_lists,
    payments,
    placing,
    refunds,
)
from consulta.money.records import PAYMENT, PaymentItem, Provider
from consulta.money.schema.payments import (
    ManualPaymentRequest,
    PaymentFilter,
    PaymentRequest,
    RefundRequest,
)
from consulta.people.policy import PolicySettings, to_stored
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import booking, package_sessions, packages, services, transitions
from consulta.scheduling.records import PACKAGE, PackageItem, PaymentStatus, Status
from consulta.scheduling.schema.booking import CancelRequest, DeclineRequest
from consulta.scheduling.schema.packages import PackageDetail, PackageFilter, PackageRequest
from consulta.scheduling.schema.services import ServicePatch
from tests.faults import Faults
from tests.integration.scripted_provider import install
from tests.integration.test_money import BY, Practice
from tests.integration.test_services import ask, paths
from tests.unit.scheduling.world import Clock, World, tomorrow

PRICE, SESSIONS, DAYS = 10_000, 3, 90
FIRST, SECOND, THIRD = 3_333, 3_333, 3_334
PATH = "/v1/packages"


class Clinic(Practice):
    """A practice with a service of three sessions, and a patient who buys it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patient = self.world.patient()
        self.sessions_of = self.world.service(
            self.expert, price=PRICE, kind="PACKAGE", sessions=SESSIONS, validity_days=DAYS
        )

    def buy(self, **more: Any) -> PackageDetail:
        body = {"service_id": self.sessions_of, "patient_id": self.patient} | more
        return packages.create(self.owner, PackageRequest.model_validate(body), None)

    def item(self, package: str) -> PackageItem:
        found = table.get(PackageItem, self.world.tenant.item(PACKAGE, package))
        assert found
        return found

    def show(self, package: str) -> PackageDetail:
        return packages.get(self.owner, package)

    def cash(self, package: str, amount: int = PRICE) -> str:
        body = {
            "package_id": package,
            "method": "cash",
            "amount": {"amount": amount, "currency": "EUR"},
            "received_at": self.clock.at.date().isoformat(),
        }
        return payments.record(self.owner, ManualPaymentRequest.model_validate(body), None).id

    def bought(self) -> str:
        """Paid in cash: it can be used."""
        package = self.buy().id
        self.cash(package)
        return package

    def book(self, hour: int = 10, days: int = 5, **more: Any) -> str:
        start = tomorrow(hour, days=days)
        return self.world.book(
            self.sessions_of, self.expert, more.pop("patient", self.patient), start, **more
        ).id

    def policy(self, **changed: Any) -> None:
        key = self.world.tenant.item(PRACTICE, self.world.practice)
        practice = table.get(PracticeItem, key)
        assert practice
        policy = to_stored(PolicySettings.model_validate(changed), "EUR", 2)
        values = {"policy": PracticeItem.policy.serialize(policy)}
        table.transact([table.change(practice, BY, set_=values)])

    def cancel(
        self, appointment: str, reason: str = "patient_request", agreed: str | None = None
    ) -> None:
        closing.cancel(
            self.owner,
            appointment,
            CancelRequest.model_validate({"reason_code": reason, "preview_hash": agreed}),
        )

    def over(self, appointment: str) -> None:
        """Its time has come, and it took place."""
        self.clock.at = max(self.clock.at, self.appointment(appointment).start)
        closing.complete(self.owner, appointment)

    def revenue(self) -> int:
        return -self.balances().get(("PAYEE", "revenue", "EUR"), 0)

    def advance(self) -> int:
        return -self.balances().get(("PAYEE", "patient", "EUR"), 0)


@pytest.fixture
def clinic(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    stripe, mercadopago = install(monkeypatch)
    clock = Clock(monkeypatch)
    for module in (
        changes,
        closing,
        effects,
        operations,
        orders,
        package_payments,
        packages,
        paid_for,
        payment_lists,
        payments,
        placing,
        sold,
        transitions,
    ):
        if hasattr(module, "now"):
            monkeypatch.setattr(module, "now", lambda: clock.at)
    yield Clinic(World(), stripe, mercadopago, clock)
    providers.provider_for.cache_clear()


# ---------------------------------------------------------------- buying


def test_a_package_waits_to_be_paid(clinic: Clinic) -> None:
    package = clinic.buy()
    assert (package.status, package.payment_status) == ("pending", "unpaid")
    assert (package.sessions, package.used, package.remaining) == (SESSIONS, 0, 0)
    assert (package.price.amount, package.expert_id) == (PRICE, clinic.expert)
    assert (package.valid_until, package.appointment_ids) == (None, [])
    with pytest.raises(NoPackage) as refused:
        clinic.book(package_id=package.id)
    assert refused.value.errors[0].code == "pending"


def test_a_price_that_changes_afterwards_is_not_this_ones(clinic: Clinic) -> None:
    package = clinic.buy()
    change = {"price": {"amount": 1, "currency": "EUR"}, "sessions": 50, "validity_days": 1}
    assert ask(clinic.world, "PATCH", f"/v1/services/{clinic.sessions_of}", change).status == 200
    clinic.cash(package.id)
    found = clinic.show(package.id)
    assert (found.price.amount, found.sessions) == (PRICE, SESSIONS)
    assert found.valid_until == clinic.clock.at + timedelta(days=DAYS)


def test_what_cannot_be_bought_is_told(clinic: Clinic) -> None:
    world, stranger = clinic.world, World()
    other = world.expert()
    shared = world.service(
        clinic.expert, other, kind="PACKAGE", sessions=2, validity_days=5, price=10
    )
    idle = world.service(clinic.expert, kind="PACKAGE", sessions=2, validity_days=5, active=False)
    foreign = stranger.service(stranger.expert(), kind="PACKAGE", sessions=2, validity_days=5)
    body = {"service_id": clinic.sessions_of, "patient_id": clinic.patient}
    for change, status, found in (
        ({"service_id": clinic.service}, 422, ["body.service_id"]),
        ({"service_id": idle}, 422, ["body.service_id"]),
        ({"service_id": foreign}, 404, []),
        ({"service_id": "svc"}, 422, ["body.service_id"]),
        ({"service_id": shared}, 422, ["body.expert_id"]),
        ({"expert_id": other}, 422, ["body.expert_id"]),
        ({"expert_id": stranger.expert()}, 404, []),
        ({"patient_id": stranger.patient()}, 404, []),
        ({"patient_id": None}, 422, ["body.patient_id"]),
        ({"price": 1}, 422, ["body.price"]),
    ):
        answer = ask(world, "POST", PATH, body | change)
        assert (answer.status, paths(answer)) == (status, found), change
    made = ask(world, "POST", PATH, body | {"service_id": shared, "expert_id": other})
    assert (made.status, made.body["expert_id"]) == (201, other)
    assert made.headers["Location"] == f"{PATH}/{made.body['id']}"


def test_a_patient_buys_for_themselves(clinic: Clinic) -> None:
    world, me = clinic.world, {"role": "patient", "subject": clinic.patient}
    body = {"service_id": clinic.sessions_of}
    made = ask(world, "POST", PATH, body, **me)
    assert (made.status, made.body["patient_id"]) == (201, clinic.patient)
    assert ask(world, "POST", PATH, body | {"patient_id": world.patient()}, **me).status == 404
    assert ask(world, "POST", PATH, body | {"confirm": True}, **me).status == 403
    path = f"{PATH}/{made.body['id']}"
    assert ask(world, "GET", path, role="patient", subject=world.patient()).status == 404
    assert ask(world, "POST", f"{path}/cancel", **me).body["cancelled_by"] == "patient"
    paid = clinic.bought()
    assert ask(world, "POST", f"{PATH}/{paid}/cancel", **me).status == 403


def test_an_expert_sells_their_own(clinic: Clinic) -> None:
    world, other = clinic.world, clinic.world.expert()
    body = {"service_id": clinic.sessions_of, "patient_id": clinic.patient}
    assert ask(world, "POST", PATH, body, role="expert", subject=other).status == 403
    made = ask(world, "POST", PATH, body, role="expert", subject=clinic.expert)
    assert made.status == 201
    path = f"{PATH}/{made.body['id']}"
    assert ask(world, "GET", path, role="expert", subject=other).status == 404
    assert ask(world, "POST", f"{path}/cancel", role="expert", subject=other).status == 404
    assert ask(world, "POST", PATH, body, role="viewer").status == 403
    assert ask(World(), "GET", path).status == 404


def test_a_package_is_bought_once_per_key(clinic: Clinic) -> None:
    body = {"service_id": clinic.sessions_of, "patient_id": clinic.patient}
    key = {"headers": {"Idempotency-Key": "k"}}
    first = ask(clinic.world, "POST", PATH, body, **key)
    assert ask(clinic.world, "POST", PATH, body, **key).body["id"] == first.body["id"]
    other = ask(clinic.world, "POST", PATH, body | {"confirm": True}, **key)
    assert paths(other) == ["header.Idempotency-Key"]
    assert len(ask(clinic.world, "GET", PATH).body["items"]) == 1


def test_a_policys_last_day_ends_every_package(clinic: Clinic) -> None:
    last = tomorrow(0, days=7).date()
    clinic.policy(package={"valid_until": last.isoformat()})
    until = clinic.show(clinic.bought()).valid_until
    assert until
    # The whole day in Lisbon, which is up to an hour ahead of UTC.
    assert timedelta(0) <= tomorrow(0, days=8) - until <= timedelta(hours=1)


# ---------------------------------------------------------------- paying


def test_a_package_is_paid_through_a_provider(clinic: Clinic) -> None:
    package = clinic.buy()
    body = PaymentRequest(package_id=package.id, provider="stripe")
    started = payments.create(clinic.owner, body, None)
    assert (started.package_id, started.appointment_id) == (package.id, None)
    assert started.amount.amount == PRICE
    assert clinic.show(package.id).status == "pending"
    clinic.stripe.pay(str(started.provider_id))
    clinic.event(started, "payment_intent.succeeded")
    found = clinic.show(package.id)
    assert (found.status, found.payment_status, found.payment_id) == ("active", "paid", started.id)
    assert found.valid_until == clinic.clock.at + timedelta(days=DAYS)
    assert found.remaining == SESSIONS
    clinic.stripe.settle(str(started.provider_id))
    clinic.event(started, "charge.updated")
    assert (clinic.advance(), clinic.revenue()) == (PRICE, 0)
    with pytest.raises(Conflict, match="paid already"):
        payments.create(clinic.owner, body, None)
    mine = clinic.world.caller(Role.PATIENT, clinic.patient)
    (listed,) = payment_lists.page(mine, PaymentFilter(), 20, None).items
    assert (listed.id, listed.package_id) == (started.id, package.id)
    raw = table.get_raw(clinic.world.tenant.item(PAYMENT, started.id))
    assert raw
    figures = contribution(raw["pk"]["S"], raw).figures
    assert any(vector.get("collected.EUR") == PRICE for vector in figures.values())


def test_an_open_payment_is_gone_on_with(clinic: Clinic) -> None:
    package = clinic.buy()
    body = PaymentRequest(package_id=package.id, provider="stripe")
    first = payments.create(clinic.owner, body, None)
    assert payments.create(clinic.owner, body, None).id == first.id


def test_a_payment_is_for_one_thing(clinic: Clinic) -> None:
    package, appointment = clinic.buy().id, clinic.hold()
    world = clinic.world
    both = {"package_id": package, "appointment_id": appointment}
    cash = {
        "method": "cash",
        "amount": {"amount": PRICE, "currency": "EUR"},
        "received_at": clinic.clock.at.date().isoformat(),
    }
    for path, body in (("/v1/payments", {"provider": "stripe"}), ("/v1/payments/manual", cash)):
        answer = ask(world, "POST", path, body | both)
        assert (answer.status, paths(answer)) == (422, ["body.package_id"])
        answer = ask(world, "POST", path, body)
        assert (answer.status, paths(answer)) == (422, ["body.appointment_id"])
        foreign = {"package_id": "pkg_01JC0DEM00000000000000000K"}
        assert ask(world, "POST", path, body | foreign).status == 404
    wrong = cash | {"package_id": package, "amount": {"amount": PRICE - 1, "currency": "EUR"}}
    assert paths(ask(world, "POST", "/v1/payments/manual", wrong)) == ["body.amount.amount"]
    wrong = cash | {"package_id": package, "amount": {"amount": PRICE, "currency": "USD"}}
    assert paths(ask(world, "POST", "/v1/payments/manual", wrong)) == ["body.amount.currency"]
    other = {"role": "patient", "subject": world.patient()}
    stolen = {"provider": "stripe", "package_id": package}
    assert ask(world, "POST", "/v1/payments", stolen, **other).status == 404


def test_a_second_payment_goes_back(clinic: Clinic) -> None:
    package = clinic.buy().id
    body = PaymentRequest(package_id=package, provider="stripe")
    started = payments.create(clinic.owner, body, None)
    clinic.stripe.pay(str(started.provider_id))
    other = clinic.payment(started.id)
    # Cash came first after all; the card's payment is only heard of afterwards.
    item = orders.make_payment(
        clinic.world.tenant,
        BY,
        **paid_for.attributes(clinic.item(package)),
        payee_id=other.payee_id,
        provider=str(Provider.MANUAL),
        amount=PRICE,
    )
    change = changes.Change(item, BY, is_new=True)
    change.take_by_hand(clinic.clock.at.date())
    placed = placing.pay_for(change, clinic.item(package))
    order = orders.Order.read(clinic.world.tenant, other.order_id)
    table.transact([*change.actions(), *placed, *order.add(item.item_id)])
    clinic.event(started, "payment_intent.succeeded")
    assert clinic.refund_states(started.id) == [(PRICE, "succeeded", "duplicate")]
    assert clinic.show(package).payment_id == item.item_id


def test_a_payment_for_a_cancelled_package_goes_back(clinic: Clinic) -> None:
    package = clinic.buy().id
    body = PaymentRequest.model_validate(
        {
            "package_id": package,
            "provider": "mercadopago",
            "token": "tok_in_process",
            "payment_method_id": "visa",
            "payer_email": "payer@example.com",
        }
    )
    started = payments.create(clinic.owner, body, None)
    assert clinic.show(package).payment_status == "processing"
    assert sold.cancel(clinic.owner, package).status == "cancelled"
    clinic.mercadopago.pay(str(started.provider_id))
    clinic.event(started, "payment", "mercadopago")
    assert clinic.refund_states(started.id) == [(PRICE, "succeeded", "package_cancelled")]
    assert clinic.show(package).status == "cancelled"
    with pytest.raises(Conflict):
        clinic.cash(package)


def test_a_refund_by_hand_is_shown(clinic: Clinic) -> None:
    package = clinic.bought()
    payment = clinic.show(package).payment_id
    assert payment
    refunds.create(clinic.owner, payment, RefundRequest.model_validate({}), None)
    found = clinic.show(package)
    assert (found.status, found.payment_status) == ("active", PaymentStatus.REFUNDED)


# ---------------------------------------------------------------- using


def test_sessions_are_used_until_there_are_none(clinic: Clinic) -> None:
    package = clinic.bought()
    booked = [clinic.book(hour, package_id=package) for hour in (9, 11, 13)]
    first = clinic.appointment(booked[0])
    assert (first.status, first.payment_status) == (Status.CONFIRMED, PaymentStatus.PACKAGE)
    assert (first.price, first.package_id) == (0, package)
    found = clinic.show(package)
    assert (found.status, found.used, found.remaining) == ("exhausted", SESSIONS, 0)
    assert sorted(found.appointment_ids) == sorted(booked)
    with pytest.raises(NoPackage) as refused:
        clinic.book(15, package_id=package)
    assert refused.value.errors[0].code == "exhausted"
    with pytest.raises(NoPackage, match="Buy a package"):
        clinic.book(15)
    assert clinic.item(package).used == SESSIONS


def test_without_an_id_the_only_one_is_used(clinic: Clinic) -> None:
    with pytest.raises(NoPackage):
        clinic.book()
    package = clinic.bought()
    assert clinic.appointment(clinic.book()).package_id == package
    other = clinic.bought()
    with pytest.raises(Invalid) as several:
        clinic.book(12)
    assert several.value.errors[0].path == "body.package_id"
    assert clinic.appointment(clinic.book(12, package_id=other)).package_id == other


def test_a_package_is_its_patients_and_its_services(clinic: Clinic) -> None:
    package = clinic.bought()
    someone = clinic.world.patient()
    with pytest.raises(Invalid) as foreign:
        clinic.book(package_id=package, patient=someone)
    assert (foreign.value.errors[0].path, foreign.value.errors[0].code) == (
        "body.package_id",
        "unknown",
    )
    with pytest.raises(NoPackage):
        clinic.book(patient=someone)
    other = clinic.world.service(
        clinic.expert, price=5, kind="PACKAGE", sessions=2, validity_days=9
    )
    with pytest.raises(Invalid) as service:
        clinic.world.book(
            other, clinic.expert, clinic.patient, tomorrow(days=3), package_id=package
        )
    assert service.value.errors[0].code == "service"
    assert clinic.item(package).used == 0


def test_a_session_begins_while_the_package_is_valid(clinic: Clinic) -> None:
    package = clinic.bought()
    until = clinic.show(package).valid_until
    assert until
    with pytest.raises(NoPackage) as late:
        clinic.book(0, days=DAYS + 2, package_id=package)
    assert late.value.errors[0].code == "expired"
    clinic.clock.at = until
    found = clinic.show(package)
    assert (found.status, found.remaining) == ("expired", 0)
    item = clinic.item(package)
    with pytest.raises(NoPackage):
        package_sessions.use(item.tenant, item, "appt_x", until, clinic.clock.at)
    last = until - timedelta(milliseconds=1)
    table.transact(package_sessions.use(item.tenant, item, "appt_x", last, clinic.clock.at, BY))
    assert clinic.item(package).used == 1


def test_the_last_session_is_used_once(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    clinic.book(9, package_id=package)
    clinic.book(11, package_id=package)
    with Faults(tables) as faults:
        taken: list[str] = []
        meanwhile = lambda: taken.append(clinic.book(13, package_id=package))  # noqa: E731
        faults.next("TransactWriteItems", faults.meanwhile(meanwhile))
        with pytest.raises(NoPackage):
            clinic.book(15, package_id=package)
    assert clinic.item(package).used == SESSIONS
    assert taken[0] in clinic.show(package).appointment_ids
    assert len(clinic.show(package).appointment_ids) == SESSIONS


def test_two_bookings_at_once_both_get_theirs(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    with Faults(tables) as faults:
        meanwhile = lambda: clinic.book(13, days=8, package_id=package)  # noqa: E731
        faults.next("TransactWriteItems", faults.meanwhile(meanwhile))
        clinic.book(15, package_id=package)
    assert clinic.item(package).used == 2


def test_a_package_that_is_cancelled_while_it_is_used(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: sold.cancel(clinic.owner, package))
        )
        with pytest.raises(NoPackage):
            clinic.book(package_id=package)
    found = clinic.show(package)
    assert (found.status, found.used, found.appointment_ids) == ("cancelled", 0, [])


def test_use_while_it_is_cancelled_is_counted(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: clinic.book(package_id=package)))
        sold.cancel(clinic.owner, package)
    found = clinic.show(package)
    assert (found.status, found.used) == ("cancelled", 1)
    assert clinic.advance() == FIRST


def test_a_lost_answer_uses_one_session(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.lost_answer)
        clinic.book(package_id=package)
    assert clinic.item(package).used == 1


# ---------------------------------------------------------------- sessions end


@pytest.mark.parametrize(
    ("reason", "hours", "late", "back"),
    [
        ("patient_request", 48, "forfeits", True),
        ("patient_request", 24, "forfeits", True),
        ("patient_request", 23, "forfeits", False),
        ("patient_request", 23, "returns", True),
        ("expert_request", 1, "forfeits", True),
    ],
)
def test_a_cancelled_session_is_given_back_or_forfeited(
    clinic: Clinic, reason: str, hours: int, late: str, back: bool
) -> None:
    clinic.policy(package={"late": late})
    package = clinic.bought()
    appointment = clinic.book(package_id=package)
    clinic.clock.at = clinic.appointment(appointment).start - timedelta(hours=hours)
    clinic.cancel(appointment, reason)
    item = clinic.item(package)
    assert (item.used, item.settled) == ((0, 0) if back else (1, 1))
    assert clinic.show(package).appointment_ids == ([] if back else [appointment])
    assert (clinic.revenue(), clinic.advance()) == ((0, PRICE) if back else (FIRST, PRICE - FIRST))
    with pytest.raises(Conflict):
        clinic.cancel(appointment, reason)
    assert clinic.item(package).used == item.used


def test_session_by_session_the_price_is_earned(clinic: Clinic) -> None:
    package = clinic.bought()
    booked = [clinic.book(hour, package_id=package) for hour in (9, 11, 13)]
    earned = []
    clinic.over(booked[0])
    earned.append(clinic.revenue())
    clinic.clock.at = clinic.appointment(booked[1]).start
    closing.no_show(clinic.owner, booked[1])
    earned.append(clinic.revenue())
    clinic.over(booked[2])
    earned.append(clinic.revenue())
    assert earned == [FIRST, FIRST + SECOND, PRICE]
    assert clinic.advance() == 0
    assert clinic.item(package).settled == SESSIONS
    with pytest.raises(Conflict):
        clinic.over(booked[2])
    assert clinic.revenue() == PRICE


def test_two_sessions_that_end_at_once_earn_two(clinic: Clinic, tables: Any) -> None:
    package = clinic.bought()
    first, second = (clinic.book(hour, package_id=package) for hour in (9, 11))
    clinic.clock.at = clinic.appointment(second).start
    with Faults(tables) as faults:
        faults.next("TransactWriteItems", faults.meanwhile(lambda: clinic.over(first)))
        clinic.over(second)
    assert (clinic.item(package).settled, clinic.revenue()) == (2, FIRST + SECOND)


def test_a_confirmed_package_is_used_first_and_paid_later(clinic: Clinic) -> None:
    package = clinic.buy(confirm=True)
    assert (package.status, package.payment_status, package.remaining) == ("active", "unpaid", 3)
    appointment = clinic.book(package_id=package.id)
    clinic.over(appointment)
    assert (clinic.revenue(), clinic.item(package.id).settled) == (0, 1)
    clinic.cash(package.id)
    found = clinic.show(package.id)
    assert (found.payment_status, found.valid_until) == ("paid", package.valid_until)
    assert (clinic.revenue(), clinic.advance()) == (FIRST, PRICE - FIRST)


# ---------------------------------------------------------------- cancelling


@pytest.mark.parametrize("used", [0, 1, 2, 3])
def test_what_was_never_used_goes_back(clinic: Clinic, used: int) -> None:
    package = clinic.bought()
    for hour in range(9, 9 + 2 * used, 2):
        clinic.over(clinic.book(hour, package_id=package))
    cancelled = sold.cancel(clinic.owner, package)
    assert (cancelled.status, cancelled.cancelled_by) == ("cancelled", "practice")
    kept = PRICE * used // SESSIONS
    payment = clinic.payment(str(cancelled.payment_id))
    assert (payment.refunded, payment.captured) == (PRICE - kept, PRICE)
    assert (clinic.revenue(), clinic.advance()) == (kept, 0)
    shown = {0: "refunded", 3: "paid"}.get(used, "partially_refunded")
    assert cancelled.payment_status == shown
    with pytest.raises(Conflict, match="already"):
        sold.cancel(clinic.owner, package)


def test_a_refund_through_a_provider(clinic: Clinic) -> None:
    package = clinic.buy().id
    started = payments.create(
        clinic.owner, PaymentRequest(package_id=package, provider="stripe"), None
    )
    clinic.stripe.pay(str(started.provider_id))
    clinic.event(started, "payment_intent.succeeded")
    clinic.book(package_id=package)
    sold.cancel(clinic.owner, package)
    assert clinic.refund_states(started.id) == [(PRICE - FIRST, "succeeded", "package_cancelled")]
    assert clinic.show(package).payment_status == "partially_refunded"


def test_an_open_payment_is_called_off(clinic: Clinic) -> None:
    package = clinic.buy().id
    started = payments.create(
        clinic.owner, PaymentRequest(package_id=package, provider="stripe"), None
    )
    sold.cancel(clinic.owner, package)
    assert clinic.payment(started.id).state == "cancelled"


def test_a_booked_session_outlives_its_package(clinic: Clinic) -> None:
    package = clinic.bought()
    kept, given_up = clinic.book(9, package_id=package), clinic.book(11, package_id=package)
    sold.cancel(clinic.owner, package)
    assert clinic.advance() == FIRST + SECOND
    clinic.cancel(given_up)
    assert clinic.advance() == FIRST
    clinic.over(kept)
    assert (clinic.revenue(), clinic.advance()) == (FIRST, 0)


def test_a_session_that_is_declined_goes_back_with_its_price(clinic: Clinic) -> None:
    other = clinic.world.expert(auto_confirm=False)
    package = clinic.bought()
    experts = ServicePatch(expert_ids=[clinic.expert, other])
    services.change(clinic.owner, clinic.sessions_of, experts, None)
    booked = clinic.world.book(
        clinic.sessions_of, other, clinic.patient, tomorrow(), package_id=package
    )
    assert booked.status is Status.AWAITING_APPROVAL
    sold.cancel(clinic.owner, package)
    assert clinic.advance() == FIRST
    approving.decline(clinic.owner, booked.id, DeclineRequest())
    assert (clinic.advance(), clinic.item(package).used) == (0, 0)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_session_that_was_offered_in_vain_goes_back(clinic: Clinic, cancelled: bool) -> None:
    package = clinic.bought()
    wanted = booking.Wanted(
        service_id=clinic.sessions_of,
        expert_id=clinic.expert,
        patient_id=clinic.patient,
        start=tomorrow(),
        waitlist_id=new_id("wait"),
        hold_until=clinic.clock.at + timedelta(hours=2),
    )
    offer = booking.place(clinic.owner, wanted)
    assert (offer.status, clinic.item(package).used) == (Status.HELD, 1)
    if cancelled:
        sold.cancel(clinic.owner, package)
    clinic.clock.forward(hours=2)
    assert closing.expire(offer, BY)
    assert clinic.appointment(offer.item_id).status == Status.EXPIRED
    assert clinic.item(package).used == 0
    assert clinic.advance() == (0 if cancelled else PRICE)


def test_a_policy_may_give_nothing_back(clinic: Clinic) -> None:
    clinic.policy(package={"unused": "none"})
    package = clinic.bought()
    payment = sold.cancel(clinic.owner, package).payment_id
    assert clinic.payment(str(payment)).refunded == 0


def test_only_members_who_confirm_cancel_what_is_paid(clinic: Clinic) -> None:
    package = clinic.bought()
    billing = clinic.world.caller(Role.BILLING)
    with pytest.raises(Forbidden):
        sold.cancel(billing, package)
    with pytest.raises(NotFound):
        sold.cancel(World().owner, package)


# ---------------------------------------------------------------- lists


def test_packages_by_state(clinic: Clinic) -> None:
    pending, active, cancelled = clinic.buy().id, clinic.bought(), clinic.buy().id
    sold.cancel(clinic.owner, cancelled)
    exhausted = clinic.bought()
    for hour in (9, 11, 13):
        clinic.book(hour, package_id=exhausted)

    def found(**wanted: Any) -> list[str]:
        ids, cursor, asked = [], None, PackageFilter.model_validate(wanted)
        while True:
            page = packages.listing(clinic.owner, asked, 20, cursor)
            ids += [one.id for one in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return ids

    for scope in ({}, {"patient_id": clinic.patient}, {"expert_id": clinic.expert}):
        assert sorted(found(**scope)) == sorted([pending, active, cancelled, exhausted])
        assert found(status="pending", **scope) == [pending]
        assert found(status="active", **scope) == [active]
        assert found(status="cancelled", **scope) == [cancelled]
        assert found(status="exhausted", **scope) == [exhausted]
        assert found(status="expired", **scope) == []
    assert found(service_id=clinic.service) == []
    assert len(found(service_id=clinic.sessions_of)) == 4
    clinic.clock.forward(days=DAYS)
    assert found(status="expired") == [active]
    assert found(status="active") == []
    assert found(status="exhausted") == [exhausted]


def test_everybody_lists_their_own(clinic: Clinic) -> None:
    world, mine = clinic.world, clinic.buy().id
    other, stranger = world.patient(), world.expert()
    theirs = clinic.buy(patient_id=other).id

    def found(query: str = "", **caller: str) -> Any:
        answer = ask(world, "GET", PATH, query=query, **caller)
        return [one["id"] for one in answer.body["items"]] if answer.status == 200 else answer

    assert found(role="patient", subject=clinic.patient) == [mine]
    assert found(role="expert", subject=stranger) == []
    assert sorted(found(role="expert", subject=clinic.expert)) == sorted([mine, theirs])
    patient = {"role": "patient", "subject": clinic.patient}
    assert found(f"patient_id={other}", **patient).status == 403
    assert paths(found("status=lost")) == ["query.status"]
    assert paths(found("from=2026-01-01T00:00:00Z&to=2028-01-01T00:00:00Z")) == ["query.to"]
    first = ask(world, "GET", PATH, query="limit=1").body
    rest = ask(world, "GET", PATH, query=f"limit=1&cursor={first['next_cursor']}").body
    assert sorted(one["id"] for one in [*first["items"], *rest["items"]]) == sorted([mine, theirs])
    far = to_text(clinic.clock.at + timedelta(days=2))
    assert found(f"from={far}") == []


def test_the_changes_are_signed(clinic: Clinic) -> None:
    package = clinic.bought()
    clinic.book(package_id=package)
    item = clinic.item(package)
    assert item.updated_by == clinic.owner.actor.id
    assert isinstance(item, PackageItem)
    assert item.version == 3
    assert table.get(PaymentItem, clinic.world.tenant.item(PAYMENT, str(item.payment_id)))


def test_a_session_given_back_while_its_package_is_cancelled(clinic: Clinic, tables: Any) -> None:
    """Whoever is first, its price goes back with one of the two."""
    package = clinic.bought()
    appointment = clinic.book(package_id=package)
    with Faults(tables) as faults:
        faults.next(
            "TransactWriteItems", faults.meanwhile(lambda: sold.cancel(clinic.owner, package))
        )
        clinic.cancel(appointment)
    assert clinic.item(package).used == 0
    assert (clinic.revenue(), clinic.advance()) == (0, 0)


def test_what_cancelling_a_session_means_is_in_its_preview(clinic: Clinic) -> None:
    package = clinic.bought()
    appointments = [clinic.book(hour, package_id=package) for hour in (9, 11)]
    asked = CancelRequest.model_validate({"reason_code": "patient_request"})
    early = closing.preview(clinic.owner, appointments[0], asked)
    assert (early.session, early.refund) == ("returned", 0)
    # Its package is over: its part of the price goes back, as the preview says.
    sold.cancel(clinic.owner, package)
    shown = closing.preview_to_api(closing.preview(clinic.owner, appointments[0], asked))
    assert (shown.session, shown.refund.amount) == ("returned", SECOND)
    assert shown.hash != early.hash
    with pytest.raises(Conflict):
        clinic.cancel(appointments[0], agreed=early.hash)
    before = clinic.advance()
    clinic.cancel(appointments[0], agreed=shown.hash)
    assert before - clinic.advance() == SECOND
    # Too late, it is used up.
    clinic.clock.at = clinic.appointment(appointments[1]).start - timedelta(hours=1)
    late = closing.preview(clinic.owner, appointments[1], asked)
    assert (late.session, late.paid, late.kept, late.refund) == ("forfeited", FIRST, FIRST, 0)
    ours = closing.preview(
        clinic.owner, appointments[1], CancelRequest.model_validate({"reason_code": "illness"})
    )
    assert (ours.session, ours.refund) == ("returned", FIRST)


@pytest.mark.parametrize("end", ["from", "to"])
@pytest.mark.parametrize("year", ["0001", "9999"])
def test_packages_of_a_year_that_is_none(clinic: Clinic, end: str, year: str) -> None:
    wanted = PackageFilter.model_validate({end: f"{year}-12-31T00:00:00Z"})
    with pytest.raises(Invalid) as refused:
        packages.listing(clinic.owner, wanted, 20, None)
    assert refused.value.errors[0].path == f"query.{end}"
