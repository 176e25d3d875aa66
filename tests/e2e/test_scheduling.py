"""Booking on the deployed system: many at once, and the stories of people who book."""

import itertools
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from local.seed import ZONE, Caller, let_in, sign_in, today, until

Stack = dict[str, Any]
People = dict[str, Caller]

# As many requests at once as two cores answer in their functions' time.
SLOTS, CLIENTS, IN_FLIGHT = 50, 200, 12
ALL_DAY = [{"from": "00:00", "to": "24:00"}]
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TEAM = ("rosa@aurora.example", "bruno@aurora.example")


def make_expert(admin: Caller, email: str, **availability: Any) -> str:
    """An expert who always works, published or not: members book them all the same."""
    member = let_in(
        admin, {"email": email, "name": "Team Member", "role": "expert", "expert": {"zone": ZONE}}
    )
    body = {
        "zone": ZONE,
        "weekly": dict.fromkeys(WEEKDAYS, ALL_DAY),
        "slot_interval_minutes": 30,
        "horizon_days": 60,
        **availability,
    }
    query = {"expert_id": member["expert_id"]}
    admin.call("PUT", "/v1/availability", 200, params=query, json=body)
    return str(member["expert_id"])


NUMBERS = itertools.count(int(time.time()) % 100_000 * 1_000)


def a_patient(admin: Caller, name: str, **more: Any) -> str:
    """A new patient, with a number that nobody has."""
    phone = f"+5255{next(NUMBERS):08d}"
    return str(admin.post("/v1/patients", {"name": name, "phone": phone, **more})["id"])


def make_service(admin: Caller, name: str, experts: list[str], **more: Any) -> dict[str, Any]:
    body = {
        "name": name,
        "duration_minutes": 30,
        "price": {"amount": 0, "currency": "MXN"},
        "expert_ids": experts,
        **more,
    }
    return dict(admin.post("/v1/services", body))


@pytest.fixture(scope="module")
def team(people: People) -> str:
    """An expert whom only members book."""
    return make_expert(people["admin"], "team@aurora.example")


def starts(caller: Caller, service: str, expert: str, days: int = 7) -> list[str]:
    low = datetime.now(UTC) + timedelta(days=1)
    found = caller.get(
        "/v1/slots",
        service_id=service,
        expert_id=expert,
        **{"from": low.isoformat(), "to": (low + timedelta(days=days)).isoformat()},
    )
    return [slot["start"] for slot in found["slots"]]


def test_two_hundred_clients_want_fifty_slots(stack: Stack, people: People) -> None:
    """Exactly fifty get one; no expert, patient or room has two things at once."""
    admin = people["admin"]
    experts = [make_expert(admin, email) for email in TEAM]
    room = admin.post("/v1/resources", {"name": "Room 1", "kind": "room"})["id"]
    service = make_service(admin, "Race", experts, resources=[[room]])["id"]
    patients = [a_patient(admin, f"Racer {n}") for n in range(SLOTS // 2)]
    # One room for two experts: half of the bookings are for the one, half for the other.
    wanted = starts(admin, service, experts[0])[:SLOTS]
    clients = [sign_in(stack["api_url"], email) for email in ("admin@aurora.example",) * 4]

    def book(n: int) -> tuple[int, dict[str, Any]]:
        """One client: as any should, it asks again with its key where the system did not answer."""
        slot = n % SLOTS
        body = {
            "service_id": service,
            "expert_id": experts[(n // SLOTS) % 2],
            "patient_id": patients[slot % len(patients)],
            "start": wanted[slot],
            "confirm": True,
        }
        token = clients[n % len(clients)].token
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"race-{n}"}
        for _ in range(10):
            try:
                answer = httpx.post(
                    f"{stack['api_url']}/v1/appointments", json=body, headers=headers, timeout=60
                )
            except httpx.TransportError:
                continue
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return answer.status_code, answer.json()
            time.sleep(1)
        return 0, {}

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = list(pool.map(book, range(CLIENTS)))
    codes = [code for code, _ in answers]
    assert codes.count(201) == SLOTS, {code: codes.count(code) for code in set(codes)}
    assert codes.count(409) == CLIENTS - SLOTS
    lost = [body for code, body in answers if code == 409]
    assert {body["type"] for body in lost} == {"urn:consulta:problem:slot-taken"}
    assert any(body["alternatives"] for body in lost)

    booked = [body for code, body in answers if code == 201]
    taken: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in booked:
        for who in (one["expert"]["id"], one["patient"]["id"], room):
            taken[who].append((one["start"], one["end"]))
    for times in taken.values():
        assert all(first[1] <= second[0] for first, second in pairwise(sorted(times)))
    assert len(taken[room]) == SLOTS

    # Figures follow, and the database agrees with what was answered.
    days = {"from": today(), "to": max(wanted)[:10]}

    def counted() -> bool:
        found = [admin.get("/v1/appointments/statistics", expert_id=one, **days) for one in experts]
        return sum(one["statuses"]["confirmed"] for one in found) == SLOTS

    until(counted)


# ---------------------------------------------------------------- one appointment's life


def booked(admin: Caller, service: str, expert: str, patient: str, start: str) -> dict[str, Any]:
    body = {
        "service_id": service,
        "expert_id": expert,
        "patient_id": patient,
        "start": start,
        "confirm": True,
    }
    return dict(admin.post("/v1/appointments", body))


def test_moving_previewing_and_cancelling(people: People, team: str) -> None:
    admin = people["admin"]
    service = make_service(
        admin, "Moves", [team], price={"amount": 50000, "currency": "MXN"}, colour="#336699"
    )["id"]
    patient = a_patient(admin, "Mover One")
    times = starts(admin, service, team)
    one = booked(admin, service, team, patient, times[0])
    path = f"/v1/appointments/{one['id']}"
    other = booked(admin, service, team, a_patient(admin, "Mover Two"), times[4])

    received = today()
    admin.post(f"{path}/mark-paid", {"method": "cash", "received_at": received})
    assert admin.get(path)["payment_status"] == "paid"

    suggested = admin.get(f"{path}/reschedule-suggestions")["items"]
    assert suggested[0]["reason"] == "same_time_next_week"
    taken = admin.post(f"{path}/reschedule", {"start": other["start"]}, expect=409)
    assert taken["type"] == "urn:consulta:problem:slot-taken"
    assert taken["alternatives"]
    moved = admin.post(f"{path}/reschedule", {"start": times[8]}, expect=200)
    assert (moved["start"], moved["rescheduled"]) == (times[8], 1)
    assert moved["payment_status"] == "paid"
    assert times[0] in starts(admin, service, team)
    assert times[8] not in starts(admin, service, team)

    note = admin.post(f"{path}/notes", {"text": "Prefers the window"})
    assert [n["id"] for n in admin.get(f"{path}/notes")["items"]] == [note["id"]]
    detail = admin.get(path)
    assert [p["status"] for p in detail["payments"]] == ["succeeded"]

    asked = {"reason_code": "patient_request"}
    shown = admin.post(f"{path}/cancellation-preview", asked, expect=200)
    stale = {**asked, "preview_hash": "0" * 32}
    problem = admin.post(f"{path}/cancel", stale, expect=409)
    assert problem["preview"]["hash"] == shown["hash"]
    gone = admin.post(f"{path}/cancel", {**asked, "preview_hash": shown["hash"]}, expect=200)
    assert gone["status"] == "cancelled"
    refunded = sum(p["refunded"]["amount"] for p in admin.get(path)["payments"])
    assert refunded == shown["refund"]["amount"]
    again = admin.post(f"{path}/cancel", asked, expect=409)
    assert again["appointment_status"] == "cancelled"


def test_lists_calendar_and_many_at_once(people: People, team: str) -> None:
    admin = people["admin"]
    service = make_service(admin, "Many", [team])["id"]
    patient = a_patient(admin, "Querida Lista")
    times = starts(admin, service, team)[10:22:2]
    made = [booked(admin, service, team, patient, start) for start in times]
    ids = [one["id"] for one in made]

    found = admin.post("/v1/appointments/search", {"patient": "querida"}, expect=200)
    assert [one["id"] for one in found["items"]] == ids
    day = made[0]["start"][:10]
    month = admin.get("/v1/calendar", view="month", date=day, expert_id=team)
    shown = [one["id"] for d in month["days"] for one in d["appointments"]]
    assert set(ids[:1]) <= set(shown)

    wanted = {
        "action": "cancel",
        "items": [{"id": one} for one in [*ids, "appt_01JCABCDEFGHJKMNPQRSTVWXYZ"]],
        "reason_code": "illness",
        "notify": False,
    }
    answer = httpx.post(
        f"{admin.base}/v1/appointments/bulk",
        json=wanted,
        headers={"Authorization": f"Bearer {admin.token}"},
        timeout=30,
    )
    assert answer.status_code in {200, 202}
    job = answer.json()

    def finished() -> Any:
        current = admin.get(f"/v1/appointments/bulk/{job['id']}")
        return current if current["state"] == "done" else None

    results = {r["id"]: r["outcome"] for r in until(finished, 60)["results"]}
    assert results == {**dict.fromkeys(ids, "done"), wanted["items"][-1]["id"]: "failed"}


def test_an_expert_who_approves(people: People, stack: Stack) -> None:
    admin, patient = people["admin"], people["patient"]
    expert = make_expert(admin, "vera@aurora.example", auto_confirm=False)
    profile = {"title": "Dr", "bio": "Asks first", "languages": ["es"]}
    admin.call("PATCH", f"/v1/experts/{expert}", 200, json=profile)
    service = make_service(admin, "By approval", [expert])["id"]
    until(lambda: admin.get(f"/v1/experts/{expert}/setup")["can_publish"])
    admin.post(f"/v1/experts/{expert}/publish", {}, expect=200)
    times = starts(patient, service, expert)
    body = {"service_id": service, "expert_id": expert}
    first = patient.post("/v1/appointments", {**body, "start": times[0]})
    assert (first["status"], bool(first["approve_until"])) == ("awaiting_approval", True)
    second = patient.post("/v1/appointments", {**body, "start": times[2]})
    her = sign_in(stack["api_url"], "vera@aurora.example")
    path = "/v1/appointments/{}"
    approved = her.post(path.format(first["id"]) + "/approve", {}, expect=200)
    assert approved["status"] == "confirmed"
    declined = her.post(
        path.format(second["id"]) + "/decline", {"reason_code": "unavailable"}, expect=200
    )
    assert declined["status"] == "cancelled"
    patient.call("POST", path.format(first["id"]) + "/approve", 403, json={})
    # The other stories begin with the first time that is offered, to the same patient.
    patient.post(path.format(first["id"]) + "/cancel", {"reason_code": "other"}, expect=200)


# ---------------------------------------------------------------- again and again


def test_a_series_is_booked_moved_and_ended(people: People, team: str) -> None:
    admin = people["admin"]
    service = make_service(admin, "Weekly", [team])["id"]
    patient = a_patient(admin, "Week Ly")
    zone = ZoneInfo(ZONE)
    first = (datetime.now(zone) + timedelta(days=3)).replace(
        hour=15, minute=0, second=0, microsecond=0
    )
    body = {
        "service_id": service,
        "expert_id": team,
        "patient_id": patient,
        "start": first.replace(tzinfo=None).isoformat(),
        "zone": ZONE,
        "rrule": "FREQ=WEEKLY;COUNT=6",
    }
    inside = (first + timedelta(days=7)).isoformat()
    clash = booked(admin, service, team, a_patient(admin, "In The Way"), inside)
    shown = admin.post("/v1/series/preview", body, expect=200)
    assert [one["ok"] for one in shown["occurrences"]] == [True, False, True, True, True, True]
    assert shown["occurrences"][1]["alternatives"]
    admin.post("/v1/series", body, expect=409)
    made = admin.call("POST", "/v1/series", 201, json={**body, "on_conflict": "skip"})
    path = f"/v1/series/{made['id']}"
    series = until(lambda: (s := admin.get(path))["status"] == "ready" and s)
    assert (series["progress"]["booked"], series["progress"]["conflicts"]) == (5, 1)

    third = shown["occurrences"][2]["recurrence_id"]
    change = {
        "scope": "this_and_following",
        "from_recurrence_id": third,
        "start_time": "16:00",
    }
    admin.call("PATCH", path, 200, json={**change, "dry_run": True})
    moved = admin.call("PATCH", path, 200, json=change)
    new = f"/v1/series/{moved['id']}"
    until(lambda: admin.get(new)["status"] == "ready")
    hours = [
        one["appointment"]["start"][11:16]
        for one in admin.get(f"{new}/appointments")["items"]
        if one["appointment"]
    ]
    assert hours == ["16:00"] * 4
    admin.call("DELETE", new, 200, params={"scope": "all", "reason_code": "patient_request"})
    until(lambda: admin.get(new)["progress"]["cancelled"] == 4)
    assert admin.get(f"/v1/appointments/{clash['id']}")["status"] == "confirmed"


def test_a_freed_time_is_offered_in_order(people: People, stack: Stack, team: str) -> None:
    admin = people["admin"]
    hours = {day: [] for day in WEEKDAYS} | {"wednesday": [{"from": "10:00", "to": "10:30"}]}
    expert = make_expert(admin, "dora@aurora.example", weekly=hours, horizon_days=8)
    service = make_service(admin, "Rare", [expert])["id"]
    [only] = starts(admin, service, expert, days=7)[:1]
    taken = booked(admin, service, expert, a_patient(admin, "Was First"), only)
    waiting = [a_patient(admin, name, email=f"{name[:5].lower()}@example.com") for name in WAITING]
    first_day = datetime.now(ZoneInfo(ZONE)).date()
    entries = [
        admin.post(
            "/v1/waitlist",
            {
                "service_id": service,
                "patient_id": one,
                "from": first_day.isoformat(),
                "to": (first_day + timedelta(days=10)).isoformat(),
                "zone": ZONE,
            },
        )
        for one in waiting
    ]
    path = "/v1/waitlist/{}"

    def status(n: int) -> str:
        return str(admin.get(path.format(entries[n]["id"]))["status"])

    cancel = {"reason_code": "patient_request"}
    admin.post(f"/v1/appointments/{taken['id']}/cancel", cancel, expect=200)
    until(lambda: status(0) == "offered")
    assert status(1) == "waiting"
    assert only not in starts(admin, service, expert)
    admin.post(path.format(entries[0]["id"]) + "/decline", {}, expect=200)
    until(lambda: status(1) == "offered")
    accepted = admin.post(path.format(entries[1]["id"]) + "/accept", {}, expect=200)
    assert accepted["status"] == "booked"
    appointment = admin.get(f"/v1/appointments/{accepted['appointment_id']}")
    assert (appointment["status"], appointment["start"]) == ("confirmed", only)
    mailed = until(lambda: letters(stack, "later@example.com"))
    assert mailed


WAITING = ("First Waiting", "Later Waiting")


def letters(stack: Stack, address: str) -> list[dict[str, Any]]:
    boxes = httpx.get(stack["mailbox_url"]).json()["messages"]
    return [m for box in boxes.values() for m in box if m["To"] == [address]]


def test_a_package_is_paid_once_and_used_up(people: People, team: str) -> None:
    admin = people["admin"]
    service = make_service(
        admin,
        "Two sessions",
        [team],
        kind="PACKAGE",
        price={"amount": 100001, "currency": "MXN"},
        sessions=2,
        validity_days=90,
    )["id"]
    patient = a_patient(admin, "Pack Age")
    times = starts(admin, service, team)
    body = {"service_id": service, "expert_id": team, "patient_id": patient}
    refused = admin.post("/v1/appointments", {**body, "start": times[0]}, expect=409)
    assert refused["type"] == "urn:consulta:problem:no-package"
    package = admin.post("/v1/packages", body)
    admin.post(
        "/v1/payments/manual",
        {
            "package_id": package["id"],
            "method": "cash",
            "amount": package["price"],
            "received_at": today(),
        },
    )
    path = f"/v1/packages/{package['id']}"
    until(lambda: admin.get(path)["status"] == "active")
    first = admin.post("/v1/appointments", {**body, "start": times[0]})
    assert (first["status"], first["payment_status"]) == ("confirmed", "package")
    admin.post("/v1/appointments", {**body, "start": times[2]})
    assert admin.get(path)["status"] == "exhausted"
    admin.post("/v1/appointments", {**body, "start": times[4]}, expect=409)
    admin.post(
        f"/v1/appointments/{first['id']}/cancel", {"reason_code": "expert_request"}, expect=200
    )
    assert admin.get(path)["remaining"] == 1


def test_services_are_kept_in_step_with_stripe(people: People, stack: Stack, team: str) -> None:
    admin = people["admin"]
    price = {"amount": 70000, "currency": "MXN"}
    service = make_service(admin, "Catalogued", [team], price=price)
    path = f"/v1/services/{service['id']}"

    def synced() -> Any:
        found = admin.get(path)["catalog"]
        return found if found["state"] == "synced" else None

    before = until(synced)
    admin.call("PATCH", path, 200, json={"price": {"amount": 80000, "currency": "MXN"}})
    until(lambda: (found := synced()) and found["price_id"] != before["price_id"])


# ---------------------------------------------------------------- calendars elsewhere


# Whom the simulator's consent page takes for the expert.
GOOGLE_ACCOUNT = "expert@gmail.example"


def test_google_is_kept_in_step_and_feeds_end_when_revoked(people: People, stack: Stack) -> None:
    admin, expert = people["admin"], people["expert"]
    mine = str(expert.get("/v1/calendars/google")["expert_id"])
    google = stack["google_url"]
    with httpx.Client(timeout=30) as browser:
        headers = {"Authorization": f"Bearer {expert.token}"}
        begun = browser.post(
            f"{stack['api_url']}/v1/calendars/google/connect", json={}, headers=headers
        )
        begun.raise_for_status()
        cookie = begun.headers["set-cookie"].partition(";")[0]
        consent = browser.get(begun.json()["url"])
        assert consent.status_code == 302
        back = browser.get(consent.headers["location"], headers={"Cookie": cookie})
        assert back.status_code == 303, back.text
        assert "calendar=connected" in back.headers["location"]
    connection = until(lambda: (c := expert.get("/v1/calendars/google"))["read_at"] and c)
    assert connection["state"] == "connected"

    service = make_service(admin, "Online", [mine], location={"kind": "online"})["id"]
    times = starts(admin, service, mine)
    one = booked(admin, service, mine, a_patient(admin, "On Line"), times[0])
    path = f"/v1/appointments/{one['id']}"
    until(lambda: admin.get(path)["meeting_url"])

    def stored(appointment: dict[str, Any]) -> dict[str, Any] | None:
        """Her event of an appointment."""
        found = httpx.get(f"{google}/_control/stored").json()["calendars"]
        for event in found[GOOGLE_ACCOUNT]:
            private = event.get("extendedProperties", {}).get("private", {})
            if private.get("consulta") == appointment["id"] and event["status"] != "cancelled":
                return dict(event)
        return None

    assert (stored(one) or {})["summary"] == "Appointment"
    admin.post(f"{path}/reschedule", {"start": times[2]}, expect=200)
    moved = datetime.fromisoformat(times[2])
    until(lambda: datetime.fromisoformat((stored(one) or {})["start"]["dateTime"]) == moved)

    # What she enters by hand takes a time off the offer.
    busy = datetime.fromisoformat(times[6])
    httpx.post(
        f"{google}/_control/calendars/{GOOGLE_ACCOUNT}/events",
        json={
            "summary": "Dentist",
            "start": busy.isoformat(),
            "end": (busy + timedelta(minutes=30)).isoformat(),
        },
    ).raise_for_status()
    until(lambda: times[6] not in starts(admin, service, mine))

    # Google is away: the booking stands, and the event comes when it is back.
    httpx.post(f"{google}/_control/down", json={"status": 503, "times": 3}).raise_for_status()
    late = booked(admin, service, mine, a_patient(admin, "While Away"), times[8])
    assert late["status"] == "confirmed"
    until(lambda: stored(late), 90)
    admin.post(f"{path}/cancel", {"reason_code": "expert_request"}, expect=200)
    until(lambda: stored(one) is None)

    feed = expert.post("/v1/calendars/feeds", {})
    text = httpx.get(feed["url"])
    assert text.headers["content-type"].startswith("text/calendar")
    assert f"{late['id']}@" in text.text.replace("\r\n ", "")
    assert "While Away" not in text.text
    expert.call("DELETE", f"/v1/calendars/feeds/{feed['id']}", 204)
    until(lambda: httpx.get(feed["url"]).status_code == 404)


# ---------------------------------------------------------------- wrong inputs


NEVER = {"from": "2027-01-02", "to": "2027-01-01", "name": "x"}
NO_TIME = {"name": "x", "duration_minutes": 0, "price": {"amount": 0, "currency": "MXN"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/v1/availability", {"zone": "Mars/Base", "weekly": {}}, "body.zone"),
        ("PUT", "/v1/closures", {"closures": [NEVER]}, "body.closures"),
        ("POST", "/v1/services", NO_TIME, "body.duration_minutes"),
        ("POST", "/v1/series/preview", {"rrule": "FREQ=SECONDLY;COUNT=9"}, "body.rrule"),
        ("POST", "/v1/waitlist", {"from": "2027-01-01", "to": "2037-01-01"}, "body"),
        ("POST", "/v1/appointments/bulk", {"action": "explode", "items": []}, "body.action"),
    ],
)
def test_wrong_inputs_name_their_field(
    people: People, team: str, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    admin = people["admin"]
    if path.startswith(("/v1/series", "/v1/waitlist")):
        some = make_service(admin, "Wrong", [team])["id"]
        patient = a_patient(admin, "Wrong Input")
        body = {"service_id": some, "expert_id": team, "patient_id": patient, "zone": ZONE, **body}
        if path.startswith("/v1/series"):
            body["start"] = "2027-03-01T10:00:00"
    query = {"expert_id": team} if path == "/v1/availability" else {}
    problem = admin.call(method, path, 422, json=body, params=query)
    assert any(error["path"].startswith(field) for error in problem["errors"]), problem


def test_a_ten_year_range_and_a_time_that_clocks_skip(people: People, team: str) -> None:
    admin = people["admin"]
    service = make_service(admin, "Ranges", [team])["id"]
    query = {"service_id": service, "expert_id": team, "from": "2027-01-01T00:00:00Z"}
    params = {**query, "to": "2037-01-01T00:00:00Z"}
    problem = admin.call("GET", "/v1/slots", 422, params=params)
    assert problem["errors"][0]["path"] == "query.to"
    body = {
        "service_id": service,
        "expert_id": team,
        "patient_id": a_patient(admin, "Gap Time"),
        "start": "2027-03-28T01:30:00",
        "zone": "Europe/Lisbon",
    }
    problem = admin.post("/v1/appointments", body, expect=422)
    assert (problem["errors"][0]["path"], problem["errors"][0]["code"]) == (
        "body.start",
        "nonexistent",
    )
