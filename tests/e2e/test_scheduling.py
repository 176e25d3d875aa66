"""Booking on the deployed system: many at once, and the stories of people who book."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from local.seed import ZONE, Caller, let_in, sign_in, until

ROOT = Path(__file__).resolve().parents[2]
Stack = dict[str, Any]
People = dict[str, Caller]

SLOTS, CLIENTS = 50, 200
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


def make_service(admin: Caller, name: str, experts: list[str], **more: Any) -> dict[str, Any]:
    body = {
        "name": name,
        "duration_minutes": 30,
        "price": {"amount": 0, "currency": "MXN"},
        "expert_ids": experts,
        **more,
    }
    return dict(admin.post("/v1/services", body))


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
    patients = [admin.post("/v1/patients", {"name": f"Racer {n}"})["id"] for n in range(SLOTS // 2)]
    # One room for two experts: half of the bookings are for the one, half for the other.
    wanted = starts(admin, service, experts[0])[:SLOTS]
    clients = [sign_in(stack["api_url"], email) for email in ("admin@aurora.example",) * 4]

    def book(n: int) -> tuple[int, dict[str, Any]]:
        slot = n % SLOTS
        body = {
            "service_id": service,
            "expert_id": experts[(n // SLOTS) % 2],
            "patient_id": patients[slot % len(patients)],
            "start": wanted[slot],
            "confirm": True,
        }
        caller = clients[n % len(clients)]
        answer = httpx.post(
            f"{stack['api_url']}/v1/appointments",
            json=body,
            headers={"Authorization": f"Bearer {caller.token}"},
            timeout=60,
        )
        return answer.status_code, answer.json()

    with ThreadPoolExecutor(40) as pool:
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
    def counted() -> bool:
        found = [admin.get("/v1/appointments/statistics", expert_id=one) for one in experts]
        return sum(one["statuses"]["confirmed"] for one in found) == SLOTS

    until(counted)
