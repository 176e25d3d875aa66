"""Dashboards: each kind's figures, what is upcoming, and sections that stand alone."""

import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from consulta.aggregates import walk
from consulta.core import ids, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import to_text
from consulta.dashboards import dashboard, freshness, lists, reads
from consulta.dashboards.lists import Lists
from consulta.dashboards.reads import Reads
from consulta.money.records import PAYMENT, PAYOUT, POSTING, REFUND, PayoutItem
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.booking import CancelRequest
from tests import permissions
from tests.conftest import AGGREGATES, CORE
from tests.faults import Faults, Outage
from tests.unit.aggregates.images import image
from tests.unit.people.calling import MEMBER, Answer, call, signed_in
from tests.unit.scheduling.world import BY, Clock, World

NOON = datetime(2027, 3, 10, 12, tzinfo=UTC)
PRICE = 5000
ALL = "sections=all"
NO_STATS = {
    "upcoming_appointments": 0,
    "appointments_this_month": 0,
    "appointments_last_month": 0,
    "appointments_trend_percent": None,
    "appointments_total": 0,
    "unique_patients": 0,
    "reviews": 0,
    "average_rating": None,
    "profile_views": 0,
    "profile_views_this_month": 0,
}


class Desk:
    """A practice on a day in March, seen by several."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self.clock.at = NOON
        monkeypatch.setattr(dashboard, "now", lambda: clock.at)
        self.world = World()
        self.expert, self.other_expert = self.world.expert("Helena"), self.world.expert("Rui")
        self.patient, self.other_patient = self.world.patient("Inês"), self.world.patient("Ana")
        self.service = self.world.service(self.expert, self.other_expert, price=PRICE)

    @property
    def tenant(self) -> Tenant:
        return self.world.tenant

    def book(self, at: str, *, expert: str = "", patient: str = "", sure: bool = True) -> str:
        """An appointment on ``at``, in UTC; only held where it is not ``sure``."""
        return self.world.book(
            self.service,
            expert or self.expert,
            patient or self.patient,
            datetime.fromisoformat(at).replace(tzinfo=UTC),
            confirm=sure,
        ).id

    def move(self, zone: str) -> None:
        context = signed_in("owner", self.world.practice)
        path = f"/v1/practices/{self.world.practice}"
        assert call("practices", "PATCH", path, {"zone": zone}, context=context).status == 200

    def cancel(self, appointment_id: str) -> None:
        item = table.get(AppointmentItem, self.tenant.item(APPOINTMENT, appointment_id))
        assert item
        request = CancelRequest.model_validate({"reason_code": "illness"})
        table.transact(transitions.cancel_actions(item, BY, request, "patient"))

    def money(self, entity: str, item_id: str, **changes: Any) -> None:
        who = {"expert_id": self.expert, "patient_id": self.patient, "service_id": self.service}
        raw = image(entity, item_id, tenant=self.tenant, **(who | changes))
        table.transact([table.put_raw(raw)])

    def other(self, entity: str, item_id: str, **values: Any) -> None:
        """An item of whose entity only what figures and lists take is of interest."""
        key = self.tenant.item(entity, item_id)
        walked = {"walkpk": self.tenant.listing(entity), "walksk": item_id}
        stamps = {"entity": entity, "version": 1, "created_at": to_text(self.clock.at)}
        table.transact([table.put_values(key, stamps | walked | values)])

    def review(self, rating: int, **values: Any) -> str:
        """A review of the first expert by the first patient, as of now."""
        review_id = ids.new_id("rev")
        who = {"expert_id": self.expert, "patient_id": self.patient, "service_id": self.service}
        of = who | values
        at = f"{to_text(self.clock.at)}#{review_id}"
        lists = {
            "l1pk": self.tenant.listing_by("REVIEW", "MONTH", at[:7]),
            "l1sk": at,
            "l2pk": self.tenant.listing_by("REVIEW", "EXPERT", of["expert_id"]),
            "l2sk": at,
        }
        shown = {"rating": rating, "status": "published", "local_date": "2027-03-10"}
        self.other("REVIEW", review_id, **(lists | shown | of))
        return review_id

    def count(self) -> None:
        """The figures of all that is in the table now."""
        walk.walk(self.tenant)

    def see(
        self,
        role: str = "owner",
        subject: str = "",
        *,
        granted: set[str] | None = None,
        **request: Any,
    ) -> Answer:
        """What a member sees; with ``granted``, of a custom role or by an API key."""
        context = self.context(role, subject, granted)
        return call("dashboard", "GET", "/v1/dashboard", context=context, **request)

    def context(self, role: str, subject: str, granted: set[str] | None) -> Any:
        if granted is None:
            return signed_in(role, self.world.practice, subject)
        of = Membership(self.world.practice, Role(role), MEMBER, subject, frozenset(granted))
        return authorizer_context("person-1", [of], operator=False)

    def data(self, section: str, role: str = "owner", subject: str = "") -> dict[str, Any]:
        shown = self.see(role, subject, query=f"sections={section}").body["sections"][section]
        assert shown["status"] == "ok"
        return dict(shown["data"])

    def upcoming(self, role: str = "owner", subject: str = "") -> int:
        return int(self.data("stats", role, subject)["upcoming_appointments"])

    def ids(self, section: str, role: str = "owner", subject: str = "") -> list[str]:
        return [one["id"] for one in self.data(section, role, subject)["items"]]


@pytest.fixture
def desk(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(Clock(monkeypatch), monkeypatch)


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def present(body: dict[str, Any]) -> list[str]:
    """The sections that are there, in their order."""
    return [name for name, section in body["sections"].items() if section]


# ---------------------------------------------------------------- who sees what


def test_a_practice_without_anything(desk: Desk) -> None:
    desk.count()
    seen = desk.see().body
    assert (seen["kind"], seen["practice"]["name"]) == ("practice", "Aurora")
    assert present(seen) == ["stats", "today", "upcoming", "recent", "earnings"]
    assert seen["sections"]["stats"]["data"] == NO_STATS
    [earnings] = seen["sections"]["earnings"]["data"]["items"]
    assert (earnings["gross"], earnings["trend_percent"]) == (eur(0), None)


def filled(desk: Desk) -> dict[str, str]:
    """Two past, one under way, four to come, one cancelled, one held; of two experts."""
    desk.clock.at = datetime(2027, 2, 1, tzinfo=UTC)
    past = {
        "february": desk.book("2027-02-10T10:00"),
        "march": desk.book("2027-03-09T10:00", patient=desk.other_patient),
    }
    desk.clock.at = NOON
    made = past | {
        "today": desk.book("2027-03-10T15:00"),
        "other": desk.book("2027-03-11T10:00", expert=desk.other_expert),
        "april": desk.book("2027-04-02T10:00"),
        "december": desk.book("2027-12-24T10:00"),
        "cancelled": desk.book("2027-03-12T10:00"),
        "held": desk.book("2027-03-13T10:00", sure=False),
    }
    desk.cancel(made["cancelled"])
    desk.count()
    return made


def test_a_practice_sees_all_of_it(desk: Desk) -> None:
    made = filled(desk)
    assert desk.data("stats") == NO_STATS | {
        "upcoming_appointments": 4,
        "appointments_this_month": 3,
        "appointments_last_month": 1,
        "appointments_trend_percent": 200.0,
        "appointments_total": 6,
        "unique_patients": 2,
    }
    assert desk.ids("upcoming") == [made[n] for n in ("today", "other", "april", "december")]
    assert desk.ids("recent") == [made["march"], made["february"]]


def test_an_expert_sees_their_own(desk: Desk) -> None:
    made = filled(desk)
    me = ("expert", desk.expert)
    assert desk.see(*me).body["kind"] == "expert"
    assert desk.data("stats", *me) == NO_STATS | {
        "upcoming_appointments": 3,
        "appointments_this_month": 2,
        "appointments_last_month": 1,
        "appointments_trend_percent": 100.0,
        "appointments_total": 5,
        "unique_patients": 2,
    }
    assert desk.ids("upcoming", *me) == [made[n] for n in ("today", "april", "december")]
    assert desk.ids("recent", *me) == [made["march"], made["february"]]
    assert desk.ids("upcoming", "expert", desk.other_expert) == [made["other"]]
    assert desk.upcoming("expert", desk.other_expert) == 1


def test_a_patient_sees_their_own(desk: Desk) -> None:
    made = filled(desk)
    desk.money(PAYMENT, "pay_1")
    desk.money(PAYMENT, "pay_2", patient_id=desk.other_patient)
    desk.money(PAYMENT, "pay_3", currency="USD", captured=700)
    desk.money(REFUND, "ref_1")
    desk.count()
    me = ("patient", desk.patient)
    seen = desk.see(*me).body
    assert (seen["kind"], list(seen["sections"])) == (
        "patient",
        ["stats", "upcoming", "recent", "spending"],
    )
    stats = desk.data("stats", *me)
    following = stats.pop("next_appointment")
    assert stats == {
        "upcoming_appointments": 4,
        "total_bookings": 5,
        "unique_experts": 2,
        "unread_messages": 0,
    }
    assert following["id"] == made["today"]
    assert (following["expert"]["name"], following["service"]["id"]) == ("Helena", desk.service)
    assert following["start"] == "2027-03-10T15:00:00Z"
    names = ("today", "other", "april", "december")
    assert desk.ids("upcoming", *me) == [made[name] for name in names]
    assert desk.ids("recent", *me) == [made["february"]]
    dollars = {"amount": 700, "currency": "USD"}
    nothing = {"amount": 0, "currency": "USD"}
    assert desk.data("spending", *me)["items"] == [
        {"paid": eur(5000), "refunded": eur(2000), "spent": eur(3000)},
        {"paid": dollars, "refunded": nothing, "spent": dollars},
    ]


def test_an_expert_who_is_not_published_sees_what_is_left_to_do(desk: Desk) -> None:
    new = desk.world.expert("Nova", published=False)
    seen = desk.see("expert", new).body
    assert (seen["kind"], present(seen)) == ("new_expert", ["setup", "stats", "upcoming"])
    before = desk.data("setup", "expert", new)
    desk.world.service(new)
    setup = desk.data("setup", "expert", new)
    assert setup["done"] == before["done"] + 1
    assert {step["name"]: step["done"] for step in setup["steps"]}["services"]
    assert (setup["can_publish"], setup["publish_href"]) == (False, None)


def test_earnings_are_by_month_and_net_of_what_went_back(desk: Desk) -> None:
    desk.money(PAYMENT, "pay_1", local_date="2027-02-10", settled=True)
    desk.money(PAYMENT, "pay_2", local_date="2027-03-09")
    desk.money(PAYMENT, "pay_3", local_date="2027-03-10", expert_id=desk.other_expert)
    desk.money(PAYMENT, "pay_4", local_date="2026-03-31")
    desk.money(REFUND, "ref_1", local_date="2027-03-10")
    desk.count()
    data = desk.data("earnings")
    [found] = data["items"]
    assert data["commission_percent"] == 10
    names = ("gross", "refunded", "commission", "fees", "net", "pending_commission")
    # Four payments of 5000 with 500 commission and 95 fee, 2000 back with 200 of the commission.
    amounts = (20_000, 2_000, 1_800, 380, 15_820, 1_500)
    assert {name: found[name]["amount"] for name in names} == dict(zip(names, amounts, strict=True))
    months = found["by_month"]
    assert (len(months), months[0]["month"], months[-1]["month"]) == (12, "2026-04", "2027-03")
    assert (months[-2], months[-1]) == (found["last_month"], found["this_month"])
    assert found["last_month"]["net"] == eur(4405)
    assert found["this_month"]["net"] == eur(2 * 4405 - 1800)
    assert found["trend_percent"] == 59.1
    assert sum(month["gross"]["amount"] for month in months) == 15_000
    [own] = desk.data("earnings", "expert", desk.other_expert)["items"]
    assert (own["gross"], own["net"], own["trend_percent"]) == (eur(5000), eur(4405), None)


def test_the_commission_is_the_one_that_holds_today(desk: Desk) -> None:
    operator = signed_in("operator")

    def put(path: str, *rows: tuple[str, int], query: str = "", **values: Any) -> None:
        body = [
            {"from": day, "fixed": 0, "percent_bps": bps, "currency": "EUR"} | values
            for day, bps in rows
        ]
        answer = call("commissions", "PUT", path, {"rates": body}, context=operator, query=query)
        assert answer.status == 200, answer.body

    def shown(*who: str) -> float:
        return float(desk.data("earnings", *who)["commission_percent"])

    plan, mine = ids.new_id("plan"), f"practice_id={desk.world.practice}"
    put(f"/v1/commissions/plans/{plan}/rates", ("2026-01-01", 700))
    assert shown() == 10
    practice = table.get(PracticeItem, desk.tenant.item(PRACTICE, desk.world.practice))
    assert practice
    table.transact([table.change(practice, BY, set_={"plan_id": plan})])
    assert (shown(), shown("expert", desk.expert)) == (7, 7)
    put("/v1/commissions/rates", ("2027-03-11", 300), ("2026-01-01", 250), query=mine)
    assert (shown(), shown("expert", desk.expert)) == (2.5, 2.5)
    desk.clock.forward(hours=24)
    assert shown() == 3
    # One service's is not everybody's.
    put("/v1/commissions/rates", ("2026-01-01", 900), query=mine, service_id=desk.service)
    assert shown() == 7


def test_another_practices_figures_never_show(desk: Desk) -> None:
    filled(desk)
    stranger = World()
    seen = call(
        "dashboard", "GET", "/v1/dashboard", context=signed_in("owner", stranger.practice)
    ).body["sections"]
    assert seen["stats"]["data"]["appointments_total"] == 0
    assert (seen["upcoming"]["data"], seen["recent"]["data"]) == ({"items": []}, {"items": []})
    # Neither does an expert's or a patient's id from there reach it.
    for role, subject in (("expert", desk.expert), ("patient", desk.patient)):
        context = signed_in(role, stranger.practice, subject)
        seen = call("dashboard", "GET", "/v1/dashboard", context=context).body["sections"]
        assert seen["stats"]["data"]["upcoming_appointments"] == 0
        assert seen["upcoming"]["data"] == {"items": []}


# ---------------------------------------------------------------- upcoming


EVERY = (
    *("2027-03-10T11:00", "2027-03-10T12:00", "2027-03-10T23:00", "2027-03-11T00:00"),
    *("2027-03-27T23:00", "2027-03-28T23:00", "2027-03-30T23:00", "2027-03-31T22:00"),
    *("2027-03-31T23:00", "2027-04-01T00:00", "2027-05-31T22:00", "2027-06-01T00:00"),
    *("2027-06-01T22:00", "2027-06-01T23:00", "2027-06-30T22:00", "2027-06-30T23:00"),
    *("2027-10-31T00:00", "2027-10-31T23:00", "2027-11-01T00:00", "2027-12-31T23:00"),
    *("2028-01-01T00:00", "2028-02-29T10:00"),
)
MOMENTS = (
    *("2027-03-10T12:00", "2027-03-10T23:59"),
    # The first and the last day of a month, and of the year.
    *("2027-03-31T12:00", "2027-04-01T00:00", "2027-12-31T23:00"),
    # Lisbon's clocks are an hour ahead in summer: there it is June already.
    "2027-05-31T23:30",
    # The day on which they go forward, and the one on which they go back.
    *("2027-03-28T00:30", "2027-10-31T00:30"),
)


def test_what_is_upcoming_is_counted_once_wherever_now_is(desk: Desk) -> None:
    desk.clock.at = datetime(2027, 2, 1, tzinfo=UTC)
    made = {start: desk.book(start) for start in EVERY}
    desk.count()
    for at in MOMENTS:
        desk.clock.at = datetime.fromisoformat(at).replace(tzinfo=UTC)
        left = [start for start in EVERY if start >= at]
        shown = [made[start] for start in left[:5]]
        for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
            assert (desk.upcoming(*who), desk.ids("upcoming", *who)) == (len(left), shown), (
                at,
                who,
            )


def test_around_midnight_a_practice_sees_the_months_on_both_sides(desk: Desk) -> None:
    desk.clock.at = datetime(2027, 5, 1, tzinfo=UTC)
    soon = desk.book("2027-06-01T10:00")
    desk.count()
    # June in Lisbon, May in UTC, by which the list is kept.
    desk.clock.at = datetime(2027, 5, 31, 23, 30, tzinfo=UTC)
    assert (desk.ids("upcoming"), desk.upcoming()) == ([soon], 1)


def test_around_midnight_a_practice_sees_what_was_yesterday(desk: Desk) -> None:
    desk.move("America/Sao_Paulo")
    desk.clock.at = datetime(2027, 5, 1, tzinfo=UTC)
    earlier = desk.book("2027-05-31T20:00")
    # Still May in São Paulo, June in UTC.
    desk.clock.at = datetime(2027, 6, 1, 1, tzinfo=UTC)
    assert desk.ids("recent") == [earlier]


@pytest.mark.parametrize(
    ("start", "zone", "moments"),
    [
        # Stamped with the eleventh in Lisbon, and seen on the tenth from São Paulo.
        ("2027-03-11T02:00", "America/Sao_Paulo", ("2027-03-10T05:00", "2027-03-11T01:00")),
        # Stamped with the tenth, and seen on the eleventh from Tokyo.
        ("2027-03-10T23:00", "Asia/Tokyo", ("2027-03-10T05:00", "2027-03-10T16:00")),
        # At the turn of a month, by which patients are counted.
        ("2027-04-01T02:00", "America/Sao_Paulo", ("2027-03-31T12:00", "2027-04-01T01:00")),
        ("2027-03-31T20:00", "Asia/Tokyo", ("2027-03-31T12:00", "2027-03-31T16:00")),
    ],
)
def test_a_practice_that_has_moved_counts_what_is_upcoming_once(
    desk: Desk, start: str, zone: str, moments: tuple[str, ...]
) -> None:
    desk.clock.at = datetime(2027, 3, 1, tzinfo=UTC)
    made = desk.book(start)
    desk.count()
    desk.move(zone)
    for at in moments:
        desk.clock.at = datetime.fromisoformat(at).replace(tzinfo=UTC)
        for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
            assert (desk.upcoming(*who), desk.ids("upcoming", *who)) == (1, [made]), (at, who)


def test_a_practice_that_has_moved_reads_on_to_what_the_old_clocks_had_stamped(desk: Desk) -> None:
    """In Los Angeles two in the morning of Lisbon is the evening before, by which it is counted."""
    desk.clock.at = datetime(2027, 3, 1, tzinfo=UTC)
    desk.move("America/Los_Angeles")
    stamped_before = desk.book("2027-04-01T02:00")
    desk.move("Europe/Lisbon")
    today = [desk.book(f"2027-03-31T1{hour}:00") for hour in range(4)]
    tomorrow = desk.book("2027-04-01T01:00")
    desk.count()
    desk.clock.at = datetime(2027, 3, 31, 8, tzinfo=UTC)
    for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
        assert desk.ids("upcoming", *who) == [*today, tomorrow]
        assert desk.upcoming(*who) == len([*today, tomorrow, stamped_before])


@pytest.mark.parametrize(
    ("zone", "start"),
    # The last evening of September is October in UTC, by which lists are kept; the first morning of
    # December is November.
    [("America/Los_Angeles", "2027-10-01T02:00"), ("Asia/Tokyo", "2027-11-30T17:00")],
)
def test_a_practice_that_has_moved_looks_into_the_months_of_the_old_clocks(
    desk: Desk, zone: str, start: str
) -> None:
    desk.clock.at = datetime(2027, 1, 1, tzinfo=UTC)
    desk.move(zone)
    far = desk.book(start)
    desk.move("Europe/Lisbon")
    desk.count()
    desk.clock.at = NOON
    assert desk.ids("upcoming") == [far]


def test_a_practices_lists_go_on_into_the_months_that_have_any(desk: Desk, tables: Any) -> None:
    desk.clock.at = datetime(2026, 6, 1, tzinfo=UTC)
    long_ago = desk.book("2026-07-05T10:00")
    desk.clock.at = datetime(2027, 1, 1, tzinfo=UTC)
    # The last evening of the month in Los Angeles is the next month in UTC.
    desk.move("America/Los_Angeles")
    early = desk.book("2027-01-05T18:00")
    far, later = desk.book("2027-09-01T01:00"), desk.book("2027-12-24T20:00")
    desk.count()
    desk.clock.at = NOON
    assert desk.ids("upcoming") == [far, later]
    assert desk.ids("recent") == [early, long_ago]
    # Where there is nothing more, no further month is looked into.
    empty = World()
    with Faults(tables) as faults:
        context = signed_in("owner", empty.practice)
        call("dashboard", "GET", "/v1/dashboard", context=context, query="sections=upcoming,recent")
        assert faults.calls["Query"] == 5


def test_what_came_to_nothing_does_not_hide_the_last_visits(desk: Desk) -> None:
    desk.clock.at = datetime(2027, 3, 1, tzinfo=UTC)
    visit = desk.book("2027-03-09T10:00")
    for hour in range(12, 18):
        patient = desk.world.patient(f"P{hour}")
        desk.book(f"2027-03-09T{hour}:00", sure=False, patient=patient)
        desk.cancel(desk.book(f"2027-03-08T{hour}:00"))
    desk.clock.at = NOON
    for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
        assert desk.ids("recent", *who) == [visit]


def test_a_full_day_does_not_cut_the_count(desk: Desk) -> None:
    starts = [f"2027-03-10T{hour}:00" for hour in range(13, 24)]
    for start in starts:
        desk.book(start)
    desk.count()
    for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
        assert (len(desk.ids("upcoming", *who)), desk.upcoming(*who)) == (5, 11)


def test_a_day_too_full_to_be_read_is_counted_by_its_figures(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(13, 24):
        desk.book(f"2027-03-10T{hour}:00")
    desk.book("2027-04-10T10:00")
    desk.count()
    monkeypatch.setattr(lists, "DAY_BUDGET", 6)
    monkeypatch.setattr(lists, "FULL_DAY_PAGE", 2)
    for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
        assert (len(desk.ids("upcoming", *who)), desk.upcoming(*who)) == (5, 12)


# ---------------------------------------------------------------- sections


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("Inês Carvalho")


def statuses(answer: Answer) -> dict[str, str]:
    assert answer.status == 200
    sections = answer.body["sections"]
    return {name: section["status"] for name, section in sections.items() if section}


def lost(answer: Answer) -> set[str]:
    return {name for name, status in statuses(answer).items() if status == "unavailable"}


def without_further_months(upcoming: dict[str, Any]) -> dict[str, Any]:
    """A practice's list as it is where no figures say that there is more: filled() has one more."""
    return {"items": upcoming["items"][:-1]}


FIGURES = {"stats", "today", "weeks", "earnings", "payouts"}


@pytest.mark.parametrize(
    ("reader", "what", "gone"),
    [
        # A practice's walk is read with its figures, and the book alone by itself.
        (Reads, "_walk", {"payouts"}),
        (Reads, "_figures", FIGURES),
        (Reads, "_days", {"stats", "today", "weeks"}),
        (Lists, "upcoming", {"stats", "today", "upcoming"}),
        (Lists, "recent", {"recent"}),
        (Lists, "schedule", {"schedule"}),
        (Lists, "payments", {"activity"}),
        (Lists, "reviews", {"activity"}),
        (Lists, "payouts", {"payouts"}),
        (Reads, "_names", {"upcoming", "recent", "schedule", "activity"}),
    ],
)
def test_a_read_that_fails_costs_only_the_sections_that_need_it(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reader: type,
    what: str,
    gone: set[str],
) -> None:
    filled(desk)
    desk.review(5)
    good = desk.see(query=ALL)
    assert (good.headers["Cache-Control"], set(statuses(good).values())) == (
        "private, max-age=30",
        {"ok"},
    )
    monkeypatch.setattr(reader, what, broken)
    poor = desk.see(query=ALL)
    assert "unavailable" in caplog.text
    assert "Inês" not in caplog.text
    assert lost(poor) == gone
    assert poor.headers["Cache-Control"] == "no-store"
    assert poor.headers["ETag"] != good.headers["ETag"]
    for name, section in poor.body["sections"].items():
        expected = None if name in gone else good.body["sections"][name]["data"]
        if (what, name) == ("_figures", "upcoming"):
            expected = without_further_months(expected)
        assert section["data"] == expected
        assert name not in gone or (section["complete"], section["changed_at"]) == (False, None)


LISTS = {"upcoming", "schedule", "recent", "activity"}
OUTAGES = [
    # Whose, table, index, which calls to the table are let through, what is lost.
    ("owner", AGGREGATES, "", 0, FIGURES),
    ("owner", CORE, "l1-index", 0, LISTS | {"stats", "today"}),
    ("owner", CORE, "l2-index", 0, {"payouts"}),
    ("owner", CORE, "l3-index", 0, set()),
    # The practice's item is read first; then the names.
    ("owner", CORE, "", 1, LISTS),
    ("expert", AGGREGATES, "", 0, FIGURES),
    ("expert", CORE, "l1-index", 0, set()),
    ("expert", CORE, "l2-index", 0, LISTS | {"stats", "today", "payouts"}),
    ("expert", CORE, "", 1, LISTS),
    ("patient", AGGREGATES, "", 0, {"stats", "spending"}),
    ("patient", CORE, "l3-index", 0, {"stats", "upcoming", "recent"}),
    ("patient", CORE, "l2-index", 0, set()),
    ("patient", CORE, "", 1, {"stats", "upcoming", "recent"}),
]


# A call that hangs takes a test as long as the deadline is: one of each kind.
HANGING = [OUTAGES[n] for n in (0, 1, 4, 7, 10)]


@pytest.mark.parametrize(
    ("role", "where", "index", "after", "gone", "hangs"),
    [*((*one, False) for one in OUTAGES), *((*one, True) for one in HANGING)],
)
def test_whatever_is_down_or_slow_the_others_are_served(
    tables: Any,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    where: str,
    index: str,
    after: int,
    gone: set[str],
    hangs: bool,
) -> None:
    filled(desk)
    desk.review(4)
    desk.money(PAYMENT, "pay_1", **activity_lists(desk, "pay_1"))
    desk.count()
    who = {"owner": "", "expert": desk.expert, "patient": desk.patient}[role]
    good = desk.see(role, who, query=ALL)
    assert lost(good) == set()
    monkeypatch.setattr(dashboard, "READ_S", 2.0)
    monkeypatch.setattr(reads, "NAMES_S", 1.0)
    with Outage(tables, where, index, hangs=hangs, after=after) as outage:
        poor = desk.see(role, who, query=ALL)
        # Answered while the calls still hang: nobody waits for them.
        assert outage.hanging is hangs
        assert bool(outage.happened) is bool(gone)
    assert lost(poor) == gone
    for name, status in statuses(poor).items():
        if status == "ok":
            known = good.body["sections"][name]["data"]
            if where == AGGREGATES and (role, name) == ("owner", "upcoming"):
                known = without_further_months(known)
            assert poor.body["sections"][name]["data"] == known
    assert lost(desk.see(role, who, query=ALL)) == set()


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_without_the_practice_itself_there_is_no_dashboard(
    tables: Any,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,
) -> None:
    monkeypatch.setattr(dashboard, "READ_S", 0.3)
    with Outage(tables, CORE, hangs=hangs) as outage:
        refused = desk.see()
        assert outage.hanging is hangs
    assert (refused.status, refused.body["type"]) == (503, "urn:consulta:problem:unavailable")
    assert "Retry-After" in refused.headers


def test_a_table_that_does_not_answer_costs_one_section(tables: Any, desk: Desk) -> None:
    with Faults(tables) as faults:
        faults.next("Query", Faults.lost_call)
        seen = desk.see(query="sections=earnings")
        assert (statuses(seen), seen.headers["Cache-Control"]) == (
            {"earnings": "unavailable"},
            "no-store",
        )
    assert statuses(desk.see(query="sections=earnings")) == {"earnings": "ok"}


def test_only_the_sections_that_are_asked_for(desk: Desk) -> None:
    seen = desk.see(query="sections=earnings,stats")
    assert list(statuses(seen)) == ["stats", "earnings"]
    assert seen.headers["Cache-Control"] == "private, max-age=60"
    for name, seconds in (("payouts", 120), ("weeks", 60), ("activity", 30), ("schedule", 30)):
        alone = desk.see(query=f"sections={name}")
        assert (present(alone.body), alone.headers["Cache-Control"]) == (
            [name],
            f"private, max-age={seconds}",
        )
    # Another kind's section is known, and absent here.
    assert statuses(desk.see(query="sections=spending")) == {}
    assert list(statuses(desk.see("patient", desk.patient, query="sections=spending"))) == [
        "spending"
    ]


@pytest.mark.parametrize("wanted", ["stats,weather", "", "Stats", "stats,", "all,stats", "a" * 121])
def test_an_unknown_section_is_refused(desk: Desk, wanted: str) -> None:
    refused = desk.see(query=f"sections={wanted}")
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "query.sections")


def test_a_section_says_when_its_figures_changed_and_whether_they_are_whole(desk: Desk) -> None:
    desk.book("2027-03-20T10:00")
    # Nobody has walked this practice since there are figures of a third generation.
    before = desk.see(query=ALL).body["sections"]
    whole = {name: section["complete"] for name, section in before.items()}
    assert whole == {
        **dict.fromkeys(("stats", "today", "weeks", "payouts"), False),
        **dict.fromkeys(("upcoming", "schedule", "recent", "activity", "earnings"), True),
    }
    assert {section["changed_at"] for section in before.values()} == {None}
    desk.count()
    after = desk.see(query=ALL).body["sections"]
    assert all(section["complete"] for section in after.values())
    changed = {name for name, section in after.items() if section["changed_at"]}
    # Nothing of this week and last.
    assert changed == {"stats", "today", "earnings"}
    assert {section["as_of"] for section in after.values()} == {"2027-03-10T12:00:00Z"}


# ---------------------------------------------------------------- again


def test_what_has_not_changed_is_not_sent_again(desk: Desk) -> None:
    filled(desk)
    first = desk.see()
    tag = first.headers["ETag"]
    desk.clock.forward(seconds=40)
    assert desk.see().headers["ETag"] == tag
    same = desk.see(headers={"If-None-Match": tag})
    assert (same.status, same.body, same.headers["ETag"]) == (304, None, tag)
    # Another caller, fewer sections and a new booking are other answers.
    assert desk.see("expert", desk.expert, headers={"If-None-Match": tag}).status == 200
    assert desk.see(query="sections=stats", headers={"If-None-Match": tag}).status == 200
    desk.book("2027-03-20T10:00")
    desk.count()
    changed = desk.see(headers={"If-None-Match": tag})
    assert (changed.status, changed.headers["ETag"] != tag) == (200, True)
    assert changed.body["sections"]["stats"]["data"]["upcoming_appointments"] == 5


def test_whoever_may_not_read_patients_sees_no_names_of_theirs(desk: Desk) -> None:
    desk.book("2027-03-11T10:00")
    desk.count()
    [shown] = desk.data("upcoming", "viewer")["items"]
    assert shown["patient"] == {"id": desk.patient, "name": "Inês"}
    [shown] = desk.data("upcoming", "billing")["items"]
    assert shown["patient"] == {"id": desk.patient, "name": None}


# ---------------------------------------------------------------- by role


PANEL = ["stats", "today", "weeks", "upcoming", "schedule", "recent", "activity", "earnings"]
PANEL += ["payouts"]
BY_ITSELF = ["stats", "today", "upcoming", "recent", "earnings"]


@pytest.mark.parametrize(
    ("role", "by_itself", "all_of_them"),
    [
        ("owner", BY_ITSELF, PANEL),
        ("admin", BY_ITSELF, PANEL),
        ("viewer", BY_ITSELF, PANEL),
        ("billing", ["stats", "today", "weeks", "earnings", "payouts"], PANEL),
        ("expert", BY_ITSELF, PANEL),
        ("patient", ["stats", "upcoming", "recent", "spending"], None),
    ],
)
def test_each_role_has_its_sections(
    desk: Desk, role: str, by_itself: list[str], all_of_them: list[str] | None
) -> None:
    subject = {"expert": desk.expert, "patient": desk.patient}.get(role, "")
    assert present(desk.see(role, subject).body) == by_itself
    assert present(desk.see(role, subject, query=ALL).body) == (all_of_them or by_itself)


APPOINTMENTS = ["stats", "today", "weeks", "upcoming", "schedule", "recent"]
SEES_APPOINTMENTS = {"dashboard:read", "appointments:read", "appointments:all"}
SEES_MONEY = {"dashboard:read", "payments:read", "payments:all"}


@pytest.mark.parametrize(
    ("role", "is_expert", "granted", "kind", "sections"),
    [
        ("custom", False, SEES_APPOINTMENTS, "practice", APPOINTMENTS),
        ("custom", False, SEES_MONEY, "practice", ["earnings", "payouts"]),
        ("custom", False, SEES_MONEY | {"activity:read"}, "practice", PANEL[6:]),
        ("custom", False, SEES_APPOINTMENTS | SEES_MONEY, "practice", APPOINTMENTS + PANEL[7:]),
        # What is nobody's own, and not all of it, is nothing.
        ("custom", False, {"dashboard:read", "appointments:read"}, "practice", []),
        ("custom", False, {"dashboard:read"}, "practice", []),
        # Whoever sees patients too, and may see only what is their own, sees that.
        ("custom", True, {"dashboard:read"}, "expert", ["activity"]),
        (
            *("custom", True, {"dashboard:read", "appointments:read"}, "expert"),
            [*APPOINTMENTS, "activity"],
        ),
        # An API key has what it was given, whoever made it.
        ("owner", False, {"dashboard:read"}, "practice", []),
        ("owner", False, SEES_MONEY, "practice", ["earnings", "payouts"]),
        ("expert", True, {"dashboard:read", "payments:read"}, "expert", PANEL[6:]),
    ],
)
def test_a_custom_role_and_a_key_see_what_their_permissions_allow(
    desk: Desk,
    role: str,
    is_expert: bool,
    granted: set[str],
    kind: str,
    sections: list[str],
) -> None:
    filled(desk)
    seen = desk.see(role, desk.expert if is_expert else "", granted=granted, query=ALL)
    assert (seen.status, seen.body["kind"], present(seen.body)) == (200, kind, sections)
    assert lost(seen) == set()


def test_money_is_in_no_section_of_whoever_may_not_see_it(desk: Desk) -> None:
    desk.money(PAYMENT, "pay_1", local_date="2027-03-10", **activity_lists(desk, "pay_1"))
    review = desk.review(5)
    desk.count()
    blind = desk.see(
        "custom", granted=SEES_APPOINTMENTS | {"activity:read", "reviews:read"}, query=ALL
    )
    sections = blind.body["sections"]
    assert sections["today"]["data"]["revenue"] is None
    assert sections["weeks"]["data"]["revenue"] is None
    [shown] = sections["activity"]["data"]["items"]
    assert (shown["id"], shown["patient"]) == (review, None)
    assert ": 5000" not in str(blind.body)
    # Unread messages are for who may read messages.
    assert sections["today"]["data"]["unread_messages"] is None
    assert desk.data("today")["unread_messages"] == 0
    assert desk.data("today", "billing")["unread_messages"] is None


def actions(answer: Answer) -> list[str]:
    return [action["name"] for action in answer.body["quick_actions"]]


def test_quick_actions_are_by_role_permission_and_what_is_still_to_be_set_up(desk: Desk) -> None:
    usual = ["Appointments", "Patients", "Messages", "Payments", "Reports", "Invite somebody"]
    empty = World()
    context = signed_in("owner", empty.practice)
    # Of figures that are not counted yet nothing is missing.
    assert actions(call("dashboard", "GET", "/v1/dashboard", context=context)) == [
        *("Add a patient", *usual),
    ]
    walk.walk(empty.tenant)
    bare = call("dashboard", "GET", "/v1/dashboard", context=context)
    assert actions(bare) == ["Add a service", "Add a patient", *usual]
    desk.count()
    assert actions(desk.see()) == usual
    assert actions(desk.see("viewer")) == ["Appointments", "Patients", "Payments", "Reports"]
    money = ["Payments", "Earnings", "Payouts", "Ledger", "Reports"]
    assert actions(desk.see("billing")) == money
    # Of appointments that are nobody's of theirs there is nothing to see.
    few = desk.see("custom", granted={"dashboard:read", "appointments:read"})
    assert actions(few) == []
    mine = actions(desk.see("patient", desk.patient))
    assert mine == ["Find an expert", "My appointments", "Messages", "Account"]
    expert = actions(desk.see("expert", desk.expert))
    assert expert[:4] == ["Appointments", "Payments", "Schedule", "Messages"]
    # What is left of the set-up is at the end for one who is published, ahead for one who is not.
    assert "Connect a calendar" in expert[4:]
    new = desk.world.expert("Nova", published=False)
    assert actions(desk.see("expert", new)) == [
        *("Complete your profile", "Add a service", "Verify your identity"),
        *("Connect payments", "Connect a calendar", "View schedule"),
    ]


@pytest.mark.parametrize("query", ["sections=upcoming", "sections=weeks", "sections=spending"])
def test_first_steps_do_not_depend_on_what_is_asked_for(desk: Desk, query: str) -> None:
    empty = World()
    walk.walk(empty.tenant)
    context = signed_in("owner", empty.practice)
    few = call("dashboard", "GET", "/v1/dashboard", context=context, query=query)
    assert actions(few)[:2] == ["Add a service", "Add a patient"]


LED_TO = {
    *("appointments", "availability", "earnings", "experts", "invitations", "ledger", "patients"),
    *("payments", "payouts", "reports", "threads"),
}


@pytest.mark.parametrize(
    ("role", "subject", "granted", "names"),
    [
        ("owner", "", None, {"Appointments", "Patients", "Messages", "Payments", "Reports"}),
        ("billing", "", None, {"Payments", "Earnings", "Payouts", "Ledger", "Reports"}),
        ("viewer", "", None, {"Appointments", "Patients", "Payments", "Reports"}),
        ("patient", "patient", None, {"Find an expert", "My appointments", "Messages", "Account"}),
        ("expert", "expert", None, {"Appointments", "Payments", "Schedule", "Messages"}),
        ("custom", "expert", {"payments:read", "messages:read"}, {"Payments", "Messages"}),
        ("custom", "", {"appointments:read", "messages:read"}, set()),
        ("custom", "", SEES_APPOINTMENTS | {"payments:read"}, {"Appointments"}),
        ("custom", "", SEES_MONEY | {"appointments:read", "messages:read"}, {"Payments"}),
        ("custom", "", SEES_APPOINTMENTS | {"messages:read"}, {"Appointments", "Messages"}),
    ],
)
def test_every_action_is_answered_to_its_caller(
    desk: Desk, role: str, subject: str, granted: set[str] | None, names: set[str]
) -> None:
    who = {"expert": desk.expert, "patient": desk.patient, "": ""}[subject]
    if granted is not None:
        granted = granted | {"dashboard:read"}
    shown = desk.see(role, who, granted=granted).body["quick_actions"]
    assert names <= {one["name"] for one in shown}
    assert names or not shown
    context = desk.context(role, who, granted)
    for one in shown:
        path, _, query = one["href"].partition("?")
        function = path.removeprefix("/v1/")
        # One's own account is always there, and steps of the set-up are taken, not looked at.
        if function in LED_TO:
            seen = call(function, "GET", path, context=context, query=query)
            assert seen.status == 200, (one, seen.body)
        else:
            assert function == "me" or one["name"] not in names


def test_an_expert_whose_set_up_is_done_is_led_to_publish(desk: Desk) -> None:
    new = desk.world.expert("Nova", published=False)
    key = desk.tenant.item("EXPERT", new)
    done = {"title": "Psychologist", "bio": "…", "languages": ["pt"], "payments_ready": True}
    table.transact([table.update(key, set_={**done, "has_service": True})])
    seen = desk.see("expert", new)
    href = f"/v1/experts/{new}/publish"
    assert seen.body["sections"]["setup"]["data"]["publish_href"] == href
    assert seen.body["quick_actions"][0] == {"name": "Publish your profile", "href": href}


# ---------------------------------------------------------------- the panel


def activity_lists(desk: Desk, item_id: str, at: datetime | None = None) -> dict[str, Any]:
    """Where a payment of now is listed."""
    made = at or desk.clock.at
    place = f"{to_text(made)}#{item_id}"
    return {
        "created_at": made,
        "l1pk": desk.tenant.listing_by(PAYMENT, "MONTH", place[:7]),
        "l1sk": place,
        "l2pk": desk.tenant.listing_by(PAYMENT, "EXPERT", desk.expert),
        "l2sk": place,
    }


def test_todays_schedule_is_in_order_and_no_longer_than_fifty(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.clock.at = datetime(2027, 3, 1, tzinfo=UTC)
    # Lisbon is on UTC in winter: the day before and the day after begin right beside.
    for at in ("2027-03-09T23:00", "2027-03-11T00:00"):
        desk.book(at)
    late = desk.book("2027-03-10T23:00")
    early = desk.book("2027-03-10T00:00")
    noon = desk.book("2027-03-10T12:00", expert=desk.other_expert)
    desk.cancel(desk.book("2027-03-10T15:00"))
    desk.book("2027-03-10T16:00", sure=False)
    desk.clock.at = NOON
    assert desk.ids("schedule") == [early, noon, late]
    assert desk.ids("schedule", "expert", desk.expert) == [early, late]
    assert desk.data("schedule")["more"] is False
    monkeypatch.setattr(lists, "SCHEDULE_SIZE", 2)
    assert (desk.ids("schedule"), desk.data("schedule")["more"]) == ([early, noon], True)
    assert desk.data("schedule", "expert", desk.expert)["more"] is False


def test_a_schedule_at_the_turn_of_a_month_is_of_the_practices_day(desk: Desk) -> None:
    desk.clock.at = datetime(2027, 5, 1, tzinfo=UTC)
    # The first of June in Lisbon begins an hour before it does in UTC, by which lists are kept.
    first = desk.book("2027-05-31T23:00")
    last = desk.book("2027-06-01T22:00")
    for at in ("2027-05-31T22:00", "2027-06-01T23:00"):
        desk.book(at)
    desk.clock.at = datetime(2027, 6, 1, 12, tzinfo=UTC)
    for who in (("owner", ""), ("expert", desk.expert)):
        assert desk.ids("schedule", *who) == [first, last]


def test_activity_is_the_newest_payments_and_reviews(desk: Desk) -> None:
    made = []
    # Seven payments and seven reviews in turns, through the end of a month.
    for n in range(7):
        desk.clock.at = datetime(2027, 2, 26 + n % 3, n, tzinfo=UTC) if n < 3 else NOON
        desk.clock.forward(minutes=10 * n)
        payment = ids.new_id("pay")
        desk.money(PAYMENT, payment, **activity_lists(desk, payment))
        desk.clock.forward(minutes=1)
        made += [payment, desk.review(n % 5 + 1)]
    desk.clock.forward(minutes=1)
    for who in (("owner", ""), ("expert", desk.expert)):
        items = desk.data("activity", *who)["items"]
        assert [one["id"] for one in items] == made[:3:-1]
        assert {one["patient"]["name"] for one in items} == {"Inês"}
        assert items[1]["amount"] == eur(5000)
        assert (items[0]["kind"], items[0]["rating"], items[0]["state"]) == (
            "review",
            2,
            "published",
        )
    assert desk.data("activity", "expert", desk.other_expert)["items"] == []
    assert {one["patient"]["name"] for one in desk.data("activity", "viewer")["items"]} == {"Inês"}
    # Billing may not read patients: no names, and not who wrote a review.
    billed = desk.data("activity", "billing")["items"]
    assert {one["kind"]: one["patient"] for one in billed} == {
        "payment": {"id": desk.patient, "name": None},
        "review": None,
    }


def test_a_payment_that_went_back_is_shown_so(desk: Desk) -> None:
    for number, changes in enumerate(
        ({}, {"refunded": 5000}, {"refunded": 1}, {"disputed": 5000}, {"state": "authorized"})
    ):
        at = NOON + timedelta(minutes=number)
        lists = activity_lists(desk, f"pay_{number}", at)
        desk.money(PAYMENT, f"pay_{number}", **(lists | changes))
    desk.clock.forward(minutes=9)
    shown = {one["id"]: one["state"] for one in desk.data("activity")["items"]}
    states = ["succeeded", "refunded", "partially_refunded", "disputed", "processing"]
    assert [shown[f"pay_{n}"] for n in range(5)] == states


def test_payouts_are_the_payees_own(desk: Desk) -> None:
    def pay_out(payout_id: str, payee: str, day: int, **changes: Any) -> None:
        place = f"2027-03-{day:02d}T00:00:00.000Z#{payout_id}"
        item = PayoutItem.create(
            desk.tenant.item(PAYOUT, payout_id),
            PAYOUT,
            BY,
            **(
                {"payee_id": payee, "provider": "stripe", "account": "acct_1", "amount": 700}
                | {"currency": "EUR", "status": "paid", "place": "bank", "method": "standard"}
                | {"made_at": datetime(2027, 3, day, tzinfo=UTC), "arrives_on": "2027-03-09"}
                | {"l1pk": desk.tenant.listing_by(PAYOUT, "MONTH", "2027-03"), "l1sk": place}
                | {"l2pk": desk.tenant.listing_by(PAYOUT, "PAYEE", payee), "l2sk": place}
                | {"walkpk": desk.tenant.listing(PAYOUT), "walksk": payout_id}
                | changes
            ),
        )
        table.transact([table.put_new(item)])

    def post(number: int, payee: str, currency: str, **moved: int) -> None:
        entries = [
            {"book": f"PAYEE:{payee}", "account": f"prov:acct_1:{account}", "debit": n, "credit": 0}
            for account, n in moved.items()
        ]
        desk.money(
            POSTING, f"post_{number}", entries=entries, currency=currency, local_date=None,
            service_id=None, patient_id=None, expert_id=None,
        )  # fmt: skip

    for day in range(1, 8):
        pay_out(f"po_{day}", desk.world.practice, day)
    pay_out("po_8", desk.expert, 8, status="in_transit")
    post(1, desk.world.practice, "EUR", available=900, pending=50)
    post(2, desk.world.practice, "BRL", pending=10)
    post(3, desk.expert, "EUR", available=33)
    desk.count()
    seen = desk.data("payouts")
    assert seen["payee"] == desk.world.practice
    assert [one["id"] for one in seen["items"]] == ["po_7", "po_6", "po_5", "po_4", "po_3"]
    brl = {
        "available": {"amount": 0, "currency": "BRL"},
        "pending": {"amount": 10, "currency": "BRL"},
    }
    assert seen["balances"] == [brl, {"available": eur(900), "pending": eur(50)}]
    own = desk.data("payouts", "expert", desk.expert)
    assert own["balances"] == [{"available": eur(33), "pending": eur(0)}]
    assert own["items"] == [
        {
            "id": "po_8",
            "amount": eur(700),
            "status": "in_transit",
            "arrives_on": "2027-03-09",
            "created_at": "2027-03-08T00:00:00Z",
        }
    ]


# ---------------------------------------------------------------- every figure, counted again


LISBON = ZoneInfo("Europe/Lisbon")
TODAY, MONDAY = date(2027, 3, 10), date(2027, 3, 8)
PAST = ("completed", "completed", "no_show", "cancelled", "expired", "confirmed")
AHEAD = ("confirmed", "confirmed", "awaiting_approval", "cancelled", "held")
BOOKED = {"awaiting_approval", "confirmed", "completed", "no_show"}


@dataclass
class History:
    """What was written, as plain rows: what every figure is counted from once more."""

    desk: Desk
    chance: random.Random
    visits: list[dict[str, Any]] = field(default_factory=list)
    paid: list[dict[str, Any]] = field(default_factory=list)
    back: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    threads: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)

    def who(self) -> dict[str, str]:
        d = self.desk
        return {
            "expert_id": self.chance.choice((d.expert, d.expert, d.other_expert)),
            "patient_id": self.chance.choice((d.patient, d.patient, d.other_patient)),
            "service_id": d.service,
        }

    def day(self) -> str:
        return (TODAY + timedelta(days=self.chance.randrange(-50, 50))).isoformat()

    def near(self) -> str:
        """Mostly around today, where most sections look."""
        around = self.chance.randrange(-12, 12) if self.chance.random() < 0.7 else 0
        return (TODAY + timedelta(days=around)).isoformat()

    def instant(self) -> datetime:
        """Before noon of today."""
        return NOON - timedelta(minutes=self.chance.randrange(1, 40_000))

    def visit(self, n: int) -> None:
        start = datetime.fromisoformat(self.chance.choice((self.day, self.near))()).replace(
            hour=self.chance.randrange(24), minute=n % 60, tzinfo=LISBON
        )
        ahead = start >= NOON
        row = self.who() | {
            "status": self.chance.choice(AHEAD if ahead else PAST),
            "start": start.astimezone(UTC),
            "local_date": start.date().isoformat(),
            "local_hour": start.hour,
            "price": self.chance.choice((0, 5000)),
            "payment_status": self.chance.choice(("paid", "unpaid")),
            "created_at": self.instant(),
        }
        item_id = ids.new_id("appt")
        lists = self.lists(APPOINTMENT, row, f"{to_text(row['start'])}#{item_id}")
        self.desk.money(
            APPOINTMENT, item_id, **row, **lists, order_id=ids.new_id("ord"), end=row["start"]
        )
        self.visits.append(row | {"id": item_id})

    def money(self) -> None:
        row = self.who() | {
            "local_date": self.near(),
            "currency": self.chance.choice(("EUR", "USD")),
        }
        amount = self.chance.randrange(1000, 9000)
        made = self.instant()
        payment, refund = ids.new_id("pay"), ids.new_id("rfnd")
        lists = self.lists(PAYMENT, row, f"{to_text(made)}#{payment}")
        self.desk.money(
            PAYMENT, payment, **row, **lists, captured=amount, amount=amount, created_at=made
        )
        self.paid.append(row | {"id": payment, "amount": amount, "at": to_text(made)})
        if self.chance.random() < 0.4:
            row |= {"local_date": self.near()}
            self.desk.money(REFUND, refund, **row, amount=amount // 2)
            self.back.append(row | {"amount": amount // 2})

    def review(self) -> None:
        row = self.who() | {"status": self.chance.choice(("published", "published", "hidden"))}
        stars = self.chance.randrange(1, 6)
        self.desk.clock.at = self.instant()
        made = self.desk.review(stars, local_date=self.day(), **row)
        self.reviews.append(row | {"id": made, "rating": stars, "at": to_text(self.desk.clock.at)})
        self.desk.clock.at = NOON

    def thread(self) -> None:
        row = self.who() | {
            "unread_practice": self.chance.randrange(4),
            "unread_patient": self.chance.randrange(4),
        }
        if self.chance.random() < 0.3:
            del row["expert_id"]
        self.desk.other("THREAD", ids.new_id("thr"), **row)
        self.threads.append(row)

    def view(self) -> None:
        row = {"expert_id": self.who()["expert_id"], "local_date": self.day()}
        if row in [{n: one[n] for n in row} for one in self.views]:
            return
        seen = row | {"views": self.chance.randrange(1, 9)}
        self.desk.other("PROFILE_VIEWS", f"{row['expert_id']}.{row['local_date']}", **seen)
        self.views.append(seen)

    def lists(self, entity: str, row: dict[str, Any], place: str) -> dict[str, str]:
        by = self.desk.tenant.listing_by
        return {
            "l1pk": by(entity, "MONTH", place[:7]),
            "l2pk": by(entity, "EXPERT", row["expert_id"]),
            "l3pk": by(entity, "PATIENT", row["patient_id"]),
        } | dict.fromkeys(("l1sk", "l2sk", "l3sk"), place)


def counted(rows: Iterable[dict[str, Any]], first: date, last: date) -> list[dict[str, Any]]:
    return [one for one in rows if first.isoformat() <= one["local_date"] <= last.isoformat()]


def booked(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in rows if one["status"] in BOOKED]


def grown(now: int, before: int) -> float | None:
    return round((now - before) * 100 / abs(before), 1) if before else None


def average(rows: list[dict[str, Any]]) -> float | None:
    # Exact: a float's tie depends on its last bit.
    return (
        float(round(Decimal(sum(one["rating"] for one in rows)) / len(rows), 1)) if rows else None
    )


class Expected:
    """One member's figures, by plain counting."""

    def __init__(self, history: History, expert: str) -> None:
        def own(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [one for one in rows if not expert or one.get("expert_id") == expert]

        self.visits, self.paid, self.back = (
            own(history.visits),
            own(history.paid),
            own(history.back),
        )
        self.every_review, self.threads = own(history.reviews), own(history.threads)
        self.reviews = [one for one in self.every_review if one["status"] == "published"]
        self.views = own(history.views)
        self.ahead = [one for one in self.visits if one["start"] >= NOON]

    def recent_at_least(self) -> int:
        over = sorted((o for o in self.visits if o["start"] < NOON), key=lambda one: one["start"])
        return len(booked(over[-10:]))

    def open(self, *statuses: str) -> int:
        return sum(one["status"] in statuses for one in self.ahead)

    def net(self, currency: str, first: date, last: date) -> int:
        paid, back = counted(self.paid, first, last), counted(self.back, first, last)
        return sum(o["amount"] for o in paid if o["currency"] == currency) - sum(
            o["amount"] for o in back if o["currency"] == currency
        )

    def stats(self) -> dict[str, Any]:
        march = booked(counted(self.visits, date(2027, 3, 1), date(2027, 3, 31)))
        february = booked(counted(self.visits, date(2027, 2, 1), date(2027, 2, 28)))
        viewed = counted(self.views, date(2027, 3, 1), date(2027, 3, 31))
        return {
            "upcoming_appointments": self.open("awaiting_approval", "confirmed"),
            "appointments_this_month": len(march),
            "appointments_last_month": len(february),
            "appointments_trend_percent": grown(len(march), len(february)),
            "appointments_total": len(booked(self.visits)),
            "unique_patients": len({one["patient_id"] for one in booked(self.visits)}),
            "reviews": len(self.reviews),
            "average_rating": average(self.reviews),
            "profile_views": sum(one["views"] for one in self.views),
            "profile_views_this_month": sum(one["views"] for one in viewed),
        }

    def today(self) -> dict[str, Any]:
        revenue = []
        for currency in ("EUR", "USD"):
            parts = [
                sum(o["amount"] for o in counted(of, TODAY, TODAY) if o["currency"] == currency)
                for of in (self.paid, self.back)
            ]
            if any(parts):
                values = {"collected": parts[0], "refunded": parts[1], "net": parts[0] - parts[1]}
                revenue.append({n: {"amount": v, "currency": currency} for n, v in values.items()})
        return {
            "day": "2027-03-10",
            "appointments": len(booked(counted(self.visits, TODAY, TODAY))),
            "pending": self.open("awaiting_approval"),
            "confirmed": self.open("confirmed"),
            "revenue": revenue,
            "services": 1,
            "unread_messages": sum(one["unread_practice"] for one in self.threads),
            "reviews": len(self.reviews),
            "average_rating": average(self.reviews),
        }

    def weeks(self) -> dict[str, Any]:
        days = timedelta(days=1)
        spans = {
            "this_week": (MONDAY, MONDAY + 6 * days),
            "last_week": (MONDAY - 7 * days, MONDAY - days),
            "this_week_so_far": (MONDAY, TODAY),
            "last_week_so_far": (MONDAY - 7 * days, TODAY - 7 * days),
        }

        def of(count: Callable[[date, date], int]) -> dict[str, Any]:
            sums: dict[str, Any] = {name: count(*span) for name, span in spans.items()}
            return sums | {"percent": grown(sums["this_week_so_far"], sums["last_week_so_far"])}

        def made(first: date, last: date) -> int:
            # A hold is no booking; this history has none that was given up by hand.
            scheduled = [v for v in self.visits if v["status"] in BOOKED | {"cancelled"}]
            on = [v | {"local_date": v["created_at"].date().isoformat()} for v in scheduled]
            return len(counted(on, first, last))

        revenue = []
        for currency in ("EUR", "USD"):
            found = of(lambda a, b, c=currency: self.net(c, a, b))  # type: ignore[misc]
            percent = found.pop("percent")
            moved = [o for o in self.paid + self.back if o["currency"] == currency]
            if counted(moved, MONDAY - 7 * days, MONDAY + 6 * days):
                amounts = {n: {"amount": v, "currency": currency} for n, v in found.items()}
                revenue.append(amounts | {"percent": percent})
        return {
            "begins": "2027-03-08",
            "appointments": of(lambda a, b: len(booked(counted(self.visits, a, b)))),
            "completed": of(
                lambda a, b: sum(one["status"] == "completed" for one in counted(self.visits, a, b))
            ),
            "booked": of(made),
            "revenue": revenue,
        }

    def lists(self) -> dict[str, list[str]]:
        by_start = sorted(booked(self.visits), key=lambda one: (one["start"], one["id"]))
        upcoming = [o["id"] for o in by_start if o["start"] >= NOON]
        over = [one["id"] for one in reversed(by_start) if one["start"] < NOON]
        newest = [
            *sorted(self.paid, key=lambda one: (one["at"], one["id"]))[-5:],
            *sorted(self.every_review, key=lambda one: (one["at"], one["id"]))[-5:],
        ]
        return {
            "upcoming": upcoming[:5],
            "recent": over,
            "schedule": [o["id"] for o in by_start if o["local_date"] == "2027-03-10"],
            "activity": sorted(one["id"] for one in newest),
        }


@pytest.mark.parametrize("seed", range(2))
def test_every_figure_is_what_plain_counting_gives(desk: Desk, seed: int) -> None:
    history = History(desk, random.Random(seed))
    for n in range(45):
        history.visit(n)
        if n % 3 == 0:
            history.money()
            history.review()
            history.thread()
            history.view()
    desk.count()
    for who in (("owner", ""), ("expert", desk.expert), ("expert", desk.other_expert)):
        expected = Expected(history, who[1])
        seen = desk.see(*who, query=ALL)
        assert lost(seen) == set()
        data = {name: section["data"] for name, section in seen.body["sections"].items()}
        assert data["stats"] == expected.stats()
        assert data["today"] == expected.today()
        assert data["weeks"] == expected.weeks()
        lists = {name: [one["id"] for one in data[name]["items"]] for name in LISTS}
        lists["activity"].sort()
        wanted = expected.lists()
        # What came to nothing among the last few can make it shorter; what is there is the newest,
        # and none of the last ten is left out.
        last, shown = wanted.pop("recent")[:5], lists.pop("recent")
        assert shown == last[: len(shown)]
        assert len(shown) >= min(5, expected.recent_at_least())
        assert lists == wanted
    for patient in (desk.patient, desk.other_patient):
        own = [one for one in history.visits if one["patient_id"] == patient]
        stats = desk.data("stats", "patient", patient)
        stats.pop("next_appointment")
        assert stats == {
            "upcoming_appointments": sum(
                one["start"] >= NOON and one["status"] in ("confirmed", "awaiting_approval")
                for one in own
            ),
            "total_bookings": len(booked(own)),
            "unique_experts": len({one["expert_id"] for one in booked(own)}),
            "unread_messages": sum(
                one["unread_patient"] for one in history.threads if one["patient_id"] == patient
            ),
        }


# ---------------------------------------------------------------- reading one's own change


def test_a_caller_can_wait_for_the_figures_of_their_own_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = desk.book("2027-03-20T10:00")
    item = table.get(AppointmentItem, desk.tenant.item(APPOINTMENT, made))
    assert item
    version = int(item.version)
    plain = desk.see()
    assert plain.body["includes_change"] is None
    monkeypatch.setattr(dashboard, "WAIT_S", 0.2)
    behind = desk.see(query=f"after={made}:{version}")
    assert (behind.status, behind.body["includes_change"]) == (200, False)
    assert behind.headers["Cache-Control"] == "no-store"
    assert behind.headers["ETag"] != plain.headers["ETag"]
    assert behind.body["sections"]["stats"]["data"]["upcoming_appointments"] == 0
    desk.count()
    seen = desk.see(query=f"after={made}:{version}")
    assert (seen.body["includes_change"], seen.headers["Cache-Control"]) == (
        True,
        "private, max-age=30",
    )
    assert seen.body["sections"]["stats"]["data"]["upcoming_appointments"] == 1
    # An earlier version is in it, a later one is not; and what has it is the same for everybody.
    assert desk.see(query=f"after={made}:1").body["includes_change"] is True
    assert desk.see(query=f"after={made}:{version + 1}").body["includes_change"] is False
    assert desk.see().headers["ETag"] == seen.headers["ETag"]
    same = desk.see(
        query=f"after={made}:{version}", headers={"If-None-Match": seen.headers["ETag"]}
    )
    assert same.status == 304


def test_it_waits_until_the_stream_has_come_by(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.book("2027-03-20T10:00")
    looked = []

    def pause(seconds: float) -> None:
        looked.append(seconds)
        if len(looked) == 3:
            # The stream's function has permissions of its own.
            held, permissions.running[:] = permissions.running[:], []
            desk.count()
            permissions.running[:] = held

    monkeypatch.setattr(freshness, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    seen = desk.see(query=f"after={made}:1")
    assert (seen.body["includes_change"], looked) == (True, [0.025, 0.05, 0.1])
    assert seen.body["sections"]["stats"]["data"]["upcoming_appointments"] == 1


def test_figures_that_were_waited_for_are_read_consistently(tables: Any, desk: Desk) -> None:
    made = desk.book("2027-03-20T10:00")
    desk.count()
    asked: list[tuple[str, bool]] = []

    def look(params: dict[str, Any], model: Any, **_: Any) -> None:
        body = json.loads(params["body"])
        for name, request in body.get("RequestItems", {body.get("TableName"): body}).items():
            if name == AGGREGATES:
                asked.append((model.name, request["ConsistentRead"]))

    tables.meta.events.register("before-call.dynamodb", look)
    desk.see(query=f"after={made}:1")
    assert {kind for kind, _ in asked} == {"BatchGetItem", "Query"}
    assert all(consistent for _, consistent in asked)
    asked.clear()
    desk.see()
    assert not any(consistent for _, consistent in asked)
    tables.meta.events.unregister("before-call.dynamodb", look)


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_a_change_that_cannot_be_looked_for_is_not_included(
    tables: Any,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    hangs: bool,
) -> None:
    made = desk.book("2027-03-20T10:00")
    desk.count()
    monkeypatch.setattr(dashboard, "WAIT_S", 0.2)
    monkeypatch.setattr(dashboard, "READ_S", 2.0)
    with Outage(tables, AGGREGATES, hangs=hangs) as outage:
        seen = desk.see(query=f"after={made}:1&sections=upcoming,stats")
        assert outage.hanging is hangs
    assert (seen.body["includes_change"], lost(seen)) == (False, {"stats"})


@pytest.mark.parametrize(
    "after",
    [
        *("appt_1:1", "nothing", "appt_01JC0NS0TADEM0000000000000", ""),
        *("appt_01JC0NS0TADEM0000000000000:0", "appt_01JC0NS0TADEM0000000000000:-1"),
        *("prac_01JC0NS0TADEM0000000000000:1", "job_01JC0NS0TADEM0000000000000:1"),
        *("appt_01JC0NS0TADEM0000000000000:1:1", "appt_01JC0NS0TADEM000000000000%23:1"),
        "appt_01JC0NS0TADEM0000000000000:9999999999",
    ],
)
def test_what_is_no_id_and_version_cannot_be_waited_for(desk: Desk, after: str) -> None:
    refused = desk.see(query=f"after={after}")
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "query.after")


def test_another_practices_change_is_not_to_be_found(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = desk.book("2027-03-20T10:00")
    desk.count()
    monkeypatch.setattr(dashboard, "WAIT_S", 0.0)
    context = signed_in("owner", World().practice)
    seen = call("dashboard", "GET", "/v1/dashboard", context=context, query=f"after={made}:1")
    assert seen.body["includes_change"] is False
