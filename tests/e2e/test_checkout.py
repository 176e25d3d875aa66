"""Paying on the providers' own pages, on the deployed system: made, visited, paid, and ended."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from local.seed import Caller, until

Stack = dict[str, Any]
People = dict[str, Caller]
BACK = {
    "success_url": "http://localhost:5173/paid",
    "cancel_url": "http://localhost:5173/back",
}


def started(admin: Caller, provider: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An appointment that is held, and its payment on the provider's page."""
    service = next(s for s in admin.get("/v1/services")["items"] if s["price"]["amount"] > 0)
    patient = admin.get("/v1/patients")["items"][0]["id"]
    low = datetime.now(UTC) + timedelta(days=22)
    who = {"service_id": service["id"], "expert_id": service["expert_ids"][0]}
    days = {"from": low.isoformat(), "to": (low + timedelta(days=20)).isoformat()}
    slots = admin.get("/v1/slots", **who, **days)["slots"]
    booking = {**who, "patient_id": patient, "start": slots[len(slots) // 2]["start"]}
    appointment = admin.post("/v1/appointments", booking)
    about = {"appointment_id": appointment["id"], "provider": provider, "checkout": BACK}
    payment = admin.post("/v1/payments", about)
    assert (payment["provider_id"], payment["client_secret"]) == (None, None)
    again = admin.post("/v1/payments", about)
    assert (again["id"], again["action_url"]) == (payment["id"], payment["action_url"])
    return appointment, payment


def visited(stack: Stack, provider: str, payment: dict[str, Any]) -> httpx.Response:
    """The payer's browser goes to the page, which takes the money and sends it back."""
    page = urlsplit(payment["action_url"])
    address = f"{stack[f'{provider}_url']}{page.path}"
    return httpx.get(f"{address}?{page.query}" if page.query else address, timeout=30)


@pytest.mark.parametrize("provider", ["stripe", "mercadopago"])
def test_a_page_is_paid(stack: Stack, people: People, provider: str) -> None:
    admin = people["admin"]
    appointment, payment = started(admin, provider)
    before = datetime.fromisoformat(appointment["hold_expires_at"])
    path = f"/v1/appointments/{appointment['id']}"
    assert datetime.fromisoformat(admin.get(path)["hold_expires_at"]) > before
    back = visited(stack, provider, payment)
    assert (back.status_code, back.headers["location"]) == (302, BACK["success_url"])
    until(lambda: admin.get(path)["status"] == "confirmed")
    assert admin.get(f"/v1/payments/{payment['id']}")["status"] == "succeeded"


@pytest.mark.parametrize("provider", ["stripe", "mercadopago"])
def test_cancelling_ends_the_page(stack: Stack, people: People, provider: str) -> None:
    admin = people["admin"]
    appointment, payment = started(admin, provider)
    body = {"reason_code": "patient_request"}
    admin.post(f"/v1/appointments/{appointment['id']}/cancel", body, expect=200)
    assert admin.get(f"/v1/payments/{payment['id']}")["status"] == "cancelled"
    assert visited(stack, provider, payment).status_code == 400


def test_the_payer_is_sent_to_no_other_site(people: People) -> None:
    admin = people["admin"]
    body = {
        "appointment_id": "appt_01JC0NS0TADEM0000000000000",
        "provider": "stripe",
        "checkout": BACK | {"success_url": "https://evil.example/"},
    }
    admin.call("POST", "/v1/payments", 422, json=body)
