"""An open dashboard is told that it changed, and by then it has."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import httpx

from local.seed import ADMIN, PASSWORD, Caller, today
from tests.e2e.websocket import TEXT, WebSocket

Stack = dict[str, Any]


def address(stack: Stack, caller: Caller) -> str:
    ticket = caller.post("/v1/realtime/tickets", {})
    assert ticket["url"] == stack["realtime_url"]
    return f"{ticket['url']}?ticket={ticket['ticket']}"


def booked_in_all(caller: Caller) -> int:
    found = caller.get("/v1/dashboard")["sections"]["stats"]["data"]
    return int(found.get("appointments_total", found.get("total_bookings")))


def book(admin: Caller) -> None:
    """A free appointment of the patient with the demo login, at the next free time."""
    [patient] = admin.post("/v1/patients/search", {"email": "ines@example.com"}, 200)["items"]
    services = admin.get("/v1/services")["items"]
    service = next(one for one in services if one["price"]["amount"] == 0)
    who = {"service_id": service["id"], "expert_id": service["expert_ids"][0]}
    day = date.fromisoformat(today()) + timedelta(days=3)
    span = {"from": f"{day}T00:00:00Z", "to": f"{day + timedelta(days=6)}T00:00:00Z"}
    start = admin.get("/v1/slots", **who, **span)["slots"][0]["start"]
    admin.post("/v1/appointments", {**who, "patient_id": patient["id"], "start": start})


def hears(socket: WebSocket, section: str) -> dict[str, Any]:
    """The next message about that section."""
    while True:
        message = socket.receive()
        assert message, "the connection was closed"
        if section in message["sections"]:
            return dict(message)


def told(socket: WebSocket, read: Callable[[], int], before: int) -> dict[str, Any]:
    """The message after which the figure is another: told too early, none would come any more."""
    while True:
        message = hears(socket, "stats")
        if read() > before:
            return message


def test_dashboards_are_told_after_their_figures_changed(
    stack: Stack, people: dict[str, Caller]
) -> None:
    admin, patient = people["admin"], people["patient"]
    with (
        WebSocket(address(stack, admin)) as office,
        WebSocket(address(stack, patient)) as home,
    ):
        assert (office.status, home.status) == (101, 101)
        office.send(TEXT, b'{"action": "ping"}')
        before = booked_in_all(admin), booked_in_all(patient)
        book(admin)
        message = told(office, lambda: booked_in_all(admin), before[0])
        assert set(message) == {"type", "practice", "sections", "at"}
        assert message["type"] == "dashboard.changed"
        assert message["practice"] == admin.get("/v1/me")["practice"]["id"]
        message = told(home, lambda: booked_in_all(patient), before[1])
        assert set(message["sections"]) <= {"stats", "upcoming", "recent", "spending"}


def test_a_ticket_is_good_once_and_for_nobody_without_one(
    stack: Stack, people: dict[str, Caller]
) -> None:
    there = address(stack, people["expert"])
    with WebSocket(there) as first, WebSocket(there) as second:
        assert (first.status, second.status) == (101, 403)
    with WebSocket(stack["realtime_url"] + "?ticket=" + "A" * 43) as stranger:
        assert stranger.status == 403
    answer = httpx.post(f"{stack['api_url']}/v1/realtime/tickets", json={})
    assert answer.status_code == 401


def test_a_connection_ends_with_its_session(stack: Stack, people: dict[str, Caller]) -> None:
    api, login = stack["api_url"], {"email": ADMIN, "password": PASSWORD}
    entered = httpx.post(f"{api}/v1/auth/login", json=login, timeout=30)
    leaving = Caller(api, entered.json()["access_token"])
    with WebSocket(address(stack, leaving)) as socket:
        assert socket.status == 101
        cookie = f"consulta_refresh={entered.cookies['consulta_refresh']}"
        Caller(api).post(
            "/v1/auth/logout", {}, 204, headers={"Consulta-CSRF": "1", "Cookie": cookie}
        )
        book(people["admin"])
        assert socket.receive() is None
