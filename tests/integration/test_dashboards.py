"""Dashboards: each kind's figures, what is upcoming, and sections that stand alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from consulta.aggregates import figures, walk
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.dashboards import dashboard, reads
from consulta.money.records import PAYMENT, REFUND
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.schema.booking import CancelRequest
from tests.faults import Faults
from tests.unit.aggregates.images import image
from tests.unit.people.calling import Answer, call, signed_in
from tests.unit.scheduling.world import BY, Clock, World

NOON = datetime(2027, 3, 10, 12, tzinfo=UTC)
PRICE = 5000


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

    def cancel(self, appointment_id: str) -> None:
        item = table.get(AppointmentItem, self.tenant.item(APPOINTMENT, appointment_id))
        assert item
        request = CancelRequest.model_validate({"reason_code": "illness"})
        table.transact(transitions.cancel_actions(item, BY, request, "patient"))

    def money(self, entity: str, item_id: str, **changes: Any) -> None:
        who = {"expert_id": self.expert, "patient_id": self.patient, "service_id": self.service}
        raw = image(entity, item_id, tenant=self.tenant, **(who | changes))
        table.transact([table.put_raw(raw)])

    def count(self) -> None:
        """The figures of all that is in the table now."""
        walk.walk(self.tenant)

    def see(self, role: str = "owner", subject: str = "", **request: Any) -> Answer:
        context = signed_in(role, self.world.practice, subject)
        return call("dashboard", "GET", "/v1/dashboard", context=context, **request)

    def data(self, section: str, role: str = "owner", subject: str = "") -> dict[str, Any]:
        shown = self.see(role, subject).body["sections"][section]
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


# ---------------------------------------------------------------- who sees what


def test_a_practice_without_anything(desk: Desk) -> None:
    desk.count()
    seen = desk.see().body
    assert (seen["kind"], seen["practice"]["name"]) == ("practice", "Aurora")
    assert list(seen["sections"]) == ["stats", "upcoming", "recent", "earnings"]
    assert seen["sections"]["stats"]["data"] == {
        "upcoming_appointments": 0,
        "appointments_this_month": 0,
        "appointments_total": 0,
        "unique_patients": 0,
        "average_rating": None,
    }
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
    assert desk.data("stats") == {
        "upcoming_appointments": 4,
        "appointments_this_month": 3,
        "appointments_total": 6,
        "unique_patients": 2,
        "average_rating": None,
    }
    # A practice's next few are of this month and the next.
    assert desk.ids("upcoming") == [made[n] for n in ("today", "other", "april")]
    assert desk.ids("recent") == [made["march"], made["february"]]


def test_an_expert_sees_their_own(desk: Desk) -> None:
    made = filled(desk)
    me = ("expert", desk.expert)
    assert desk.see(*me).body["kind"] == "expert"
    assert desk.data("stats", *me) == {
        "upcoming_appointments": 3,
        "appointments_this_month": 2,
        "appointments_total": 5,
        "unique_patients": 2,
        "average_rating": None,
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
    assert stats == {"upcoming_appointments": 4, "total_bookings": 5, "unique_experts": 2}
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
    assert (seen["kind"], list(seen["sections"])) == ("new_expert", ["setup", "stats", "upcoming"])
    before = desk.data("setup", "expert", new)
    desk.world.service(new)
    setup = desk.data("setup", "expert", new)
    assert setup["done"] == before["done"] + 1
    assert {step["name"]: step["done"] for step in setup["steps"]}["services"]
    assert setup["can_publish"] is False


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
        for who in (("expert", desk.expert), ("patient", desk.patient)):
            assert (desk.upcoming(*who), desk.ids("upcoming", *who)) == (len(left), shown), (
                at,
                who,
            )
        # A practice's list goes to the end of the next month at least.
        few = desk.ids("upcoming")
        assert (desk.upcoming(), few) == (len(left), shown[: len(few)]), at


def test_around_midnight_a_practice_sees_the_months_on_both_sides(desk: Desk) -> None:
    desk.clock.at = datetime(2027, 5, 1, tzinfo=UTC)
    soon = desk.book("2027-06-01T10:00")
    desk.count()
    # June in Lisbon, May in UTC, by which the list is kept.
    desk.clock.at = datetime(2027, 5, 31, 23, 30, tzinfo=UTC)
    assert (desk.ids("upcoming"), desk.upcoming()) == ([soon], 1)


def test_around_midnight_a_practice_sees_what_was_yesterday(desk: Desk) -> None:
    practice = table.get(PracticeItem, desk.tenant.item(PRACTICE, desk.world.practice))
    assert practice
    table.transact([table.change(practice, BY, set_={"zone": "America/Sao_Paulo"})])
    desk.clock.at = datetime(2027, 5, 1, tzinfo=UTC)
    earlier = desk.book("2027-05-31T20:00")
    # Still May in São Paulo, June in UTC.
    desk.clock.at = datetime(2027, 6, 1, 1, tzinfo=UTC)
    assert desk.ids("recent") == [earlier]


def test_a_full_day_does_not_cut_the_count(desk: Desk) -> None:
    starts = [f"2027-03-10T{hour}:00" for hour in range(13, 24)]
    for start in starts:
        desk.book(start)
    desk.count()
    for who in (("owner", ""), ("expert", desk.expert), ("patient", desk.patient)):
        assert (len(desk.ids("upcoming", *who)), desk.upcoming(*who)) == (5, 11)


# ---------------------------------------------------------------- sections


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("Inês Carvalho")


def statuses(answer: Answer) -> dict[str, str]:
    assert answer.status == 200
    sections = answer.body["sections"]
    return {name: section["status"] for name, section in sections.items() if section}


@pytest.mark.parametrize(
    ("where", "what", "lost"),
    [
        (figures, "months", {"stats", "earnings"}),
        (figures, "days", {"stats"}),
        (figures, "read", {"stats", "earnings"}),
        (reads.Reads, "_recent", {"recent"}),
        (reads.Reads, "_upcoming", {"stats", "upcoming"}),
        (reads, "resolve", {"upcoming", "recent"}),
    ],
)
def test_a_read_that_fails_costs_only_the_sections_that_need_it(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: Any,
    what: str,
    lost: set[str],
) -> None:
    filled(desk)
    good = desk.see()
    assert (good.headers["Cache-Control"], set(statuses(good).values())) == (
        "private, max-age=30",
        {"ok"},
    )
    monkeypatch.setattr(where, what, broken)
    poor = desk.see()
    assert "unavailable" in caplog.text
    assert "Inês" not in caplog.text
    found = statuses(poor)
    assert {name for name, status in found.items() if status == "unavailable"} == lost
    assert poor.headers["Cache-Control"] == "no-store"
    assert poor.headers["ETag"] != good.headers["ETag"]
    for name, section in poor.body["sections"].items():
        expected = None if name in lost else good.body["sections"][name]["data"]
        assert section["data"] == expected


def test_a_table_that_does_not_answer_costs_one_section(tables: Any, desk: Desk) -> None:
    with Faults(tables) as faults:
        # The practice's item is read first; with no appointments the other batch is the totals'.
        faults.next("BatchGetItem", Faults.meanwhile(lambda: None), Faults.lost_call)
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
    # Another kind's section is known, and absent here.
    assert statuses(desk.see(query="sections=spending")) == {}
    assert list(statuses(desk.see("patient", desk.patient, query="sections=spending"))) == [
        "spending"
    ]


@pytest.mark.parametrize("wanted", ["stats,weather", "", "Stats", "stats,", "a" * 101])
def test_an_unknown_section_is_refused(desk: Desk, wanted: str) -> None:
    refused = desk.see(query=f"sections={wanted}")
    assert (refused.status, refused.body["errors"][0]["path"]) == (422, "query.sections")


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
