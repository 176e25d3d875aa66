"""The story of README, over HTTP: book, pay, see the figures move, get the report."""

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import httpx
import pytest

from local.seed import ADMIN, PASSWORD, PATIENTS, TEMPORARY, Caller, SeedError, until

ROOT = Path(__file__).resolve().parents[2]
Stack = dict[str, Any]
People = dict[str, Caller]


def stats(caller: Caller) -> dict[str, Any]:
    section = caller.get("/v1/dashboard")["sections"]["stats"]
    assert section["status"] == "ok"
    return dict(section["data"])


def earnings(caller: Caller, currency: str) -> dict[str, int]:
    section = caller.get("/v1/dashboard")["sections"]["earnings"]
    assert section["status"] == "ok"
    for entry in section["data"]["items"]:
        if entry["currency"] == currency:
            return {name: entry[name]["amount"] for name in ("gross", "commission", "fees", "net")}
    return {"gross": 0, "commission": 0, "fees": 0, "net": 0}


def offer(patient: Caller, service: dict[str, Any], expert_id: str) -> list[str]:
    first = datetime.now(UTC) + timedelta(days=1)
    slots = patient.get(
        "/v1/slots",
        service_id=service["id"],
        expert_id=expert_id,
        **{"from": first.isoformat(), "to": (first + timedelta(days=7)).isoformat()},
    )["slots"]
    return [slot["start"] for slot in slots]


def choose(caller: Caller) -> tuple[dict[str, Any], str]:
    """A service that costs something, and the expert who gives it."""
    services = caller.get("/v1/services")["items"]
    service = next(s for s in services if s["price"]["amount"] > 0)
    return service, service["expert_ids"][0]


def mails(stack: Stack) -> list[dict[str, Any]]:
    boxes = httpx.get(stack["mailbox_url"]).json()["messages"]
    return [message for box in boxes.values() for message in box]


def test_book_pay_and_see_the_figures_move(stack: Stack, people: People) -> None:
    patient, expert = people["patient"], people["expert"]
    service, expert_id = choose(patient)
    price = service["price"]
    before, before_money = stats(expert), earnings(expert, price["currency"])

    start = offer(patient, service, expert_id)[0]
    body = {"service_id": service["id"], "expert_id": expert_id, "start": start}
    appointment = patient.post("/v1/appointments", body)
    assert appointment["status"] == "held"
    assert start not in offer(patient, service, expert_id)

    about = {"appointment_id": appointment["id"], "provider": "stripe"}
    payment = patient.post("/v1/payments", about)
    assert payment["amount"] == price
    assert payment["client_secret"]
    httpx.post(
        f"{stack['stripe_url']}/_control/pay/{payment['provider_id']}", json={}
    ).raise_for_status()

    path = f"/v1/appointments/{appointment['id']}"
    until(lambda: patient.get(path)["status"] == "confirmed")
    until(lambda: stats(expert)["appointments_total"] == before["appointments_total"] + 1)
    # It has settled. The platform bears Stripe's fee of this charge, so it is not the expert's.
    until(lambda: people["admin"].get(f"/v1/payments/{payment['id']}")["fee"])
    after, money = stats(expert), earnings(expert, price["currency"])
    assert after["upcoming_appointments"] == before["upcoming_appointments"] + 1
    assert money["gross"] - before_money["gross"] == price["amount"]
    assert money["commission"] - before_money["commission"] == price["amount"] // 10
    assert money["fees"] == before_money["fees"]
    mine = stats(patient)
    assert mine["next_appointment"] is not None

    events = httpx.get(f"{stack['stripe_url']}/_control/events").json()
    for event in events["events"]:
        again = f"{stack['stripe_url']}/_control/events/{event['id']}/send"
        httpx.post(again).raise_for_status()
    time.sleep(3)
    assert stats(expert) == after
    assert earnings(expert, price["currency"]) == money


def test_the_same_time_cannot_be_booked_twice(people: People) -> None:
    patient = people["patient"]
    service, expert_id = choose(patient)
    free = next(s for s in patient.get("/v1/services")["items"] if not s["price"]["amount"])
    start = offer(patient, free, expert_id)[-1]
    body = {"service_id": free["id"], "expert_id": expert_id, "start": start}
    key = {"Idempotency-Key": f"story-{start}"}
    first = patient.post("/v1/appointments", body, headers=dict(key))
    assert patient.post("/v1/appointments", body, headers=dict(key))["id"] == first["id"]
    other = {**body, "service_id": service["id"]}
    problem = patient.post("/v1/appointments", other, expect=422, headers=dict(key))
    assert problem["errors"][0]["path"] == "header.Idempotency-Key"
    problem = patient.post("/v1/appointments", body, expect=409)
    assert problem["type"] == "urn:consulta:problem:slot-taken"
    assert problem["alternatives"]
    cancelled = patient.post(
        f"/v1/appointments/{first['id']}/cancel", {"reason_code": "patient_request"}, expect=200
    )
    assert cancelled["status"] == "cancelled"
    assert start in offer(patient, free, expert_id)


def test_a_cancelled_booking_gives_its_money_back(stack: Stack, people: People) -> None:
    patient, admin = people["patient"], people["admin"]
    service, expert_id = choose(patient)
    start = offer(patient, service, expert_id)[-1]
    body = {"service_id": service["id"], "expert_id": expert_id, "start": start}
    appointment = patient.post("/v1/appointments", body)
    about = {"appointment_id": appointment["id"], "provider": "stripe"}
    payment = patient.post("/v1/payments", about)
    pay = f"{stack['stripe_url']}/_control/pay/{payment['provider_id']}"
    httpx.post(pay, json={}).raise_for_status()
    path = f"/v1/appointments/{appointment['id']}"
    until(lambda: patient.get(path)["status"] == "confirmed")
    patient.post(f"{path}/cancel", {"reason_code": "illness"}, expect=200)
    found = until(lambda: refunded(admin, payment["id"]))
    assert found["status"] == "refunded"
    until(lambda: patient.get(path)["payment_status"] == "refunded")
    assert start in offer(patient, service, expert_id)


def refunded(caller: Caller, payment_id: str) -> Any:
    found = caller.get(f"/v1/payments/{payment_id}")
    return found if found["status"] == "refunded" else None


def test_mercado_pago_pays_through_the_same_interface(people: People) -> None:
    patient = people["patient"]
    service, expert_id = choose(patient)
    start = offer(patient, service, expert_id)[-2]
    body = {"service_id": service["id"], "expert_id": expert_id, "start": start}
    appointment = patient.post("/v1/appointments", body)
    card = {
        "appointment_id": appointment["id"],
        "provider": "mercadopago",
        "payment_method_id": "visa",
        "installments": 1,
        "payer_email": "payer@example.com",
    }
    declined = patient.post("/v1/payments", {**card, "token": "tok_rejected"})
    assert declined["status"] == "open"
    patient.post("/v1/payments", {**card, "token": "tok_approved"})
    path = f"/v1/appointments/{appointment['id']}"
    until(lambda: patient.get(path)["status"] == "confirmed")


def test_an_account_session_is_for_whom_the_rules_say(people: People) -> None:
    opened = people["admin"].post("/v1/account-sessions", {})
    assert opened["client_secret"]
    assert "payments" in opened["components"]
    for role in ("patient", "expert"):
        people[role].call("POST", "/v1/account-sessions", 403, json={"payee": "practice"})


def test_each_role_sees_its_own_dashboard(people: People) -> None:
    kinds = {role: caller.get("/v1/dashboard") for role, caller in people.items()}
    assert {role: body["kind"] for role, body in kinds.items()} == {
        "patient": "patient",
        "new_expert": "new_expert",
        "expert": "expert",
        "admin": "practice",
    }
    for body in kinds.values():
        for section in body["sections"].values():
            assert section is None or (section["status"] == "ok" and section["as_of"])
    setup = kinds["new_expert"]["sections"]["setup"]["data"]
    assert setup["total"] == 6
    assert not setup["can_publish"]


def test_a_dashboard_that_did_not_change_is_not_sent_again(stack: Stack, people: People) -> None:
    expert = people["expert"]
    headers = {"Authorization": f"Bearer {expert.token}"}
    url = f"{stack['api_url']}/v1/dashboard?sections=stats"
    first = httpx.get(url, headers=headers)
    assert [k for k, v in first.json()["sections"].items() if v] == ["stats"]
    assert first.headers["cache-control"] == "private, max-age=60"
    again = httpx.get(url, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_schedule_mails_its_report(stack: Stack, people: People) -> None:
    admin = people["admin"]
    zone = admin.get("/v1/report-schedules")["items"][0]["zone"]
    soon = datetime.now(ZoneInfo(zone)) + timedelta(minutes=1)
    address = "reports@aurora.example"
    schedule = admin.post(
        "/v1/report-schedules",
        {
            "frequency": "daily",
            "time": soon.strftime("%H:%M"),
            "formats": ["pdf", "csv", "xlsx"],
            "recipients": [address],
        },
    )
    report = admin.post(f"/v1/report-schedules/{schedule['id']}/run", {}, expect=202)

    def ready() -> Any:
        try:
            found = admin.get(f"/v1/reports/{report['id']}")
        except SeedError:
            return None
        return found if found["state"] == "ready" else None

    assert {f["format"] for f in until(ready)["files"]} == {"pdf", "csv", "xlsx"}
    mine = until(lambda: [m for m in mails(stack) if m["To"] == [address]])
    link = re.search(r"PDF: (\S+)", mine[0]["BodyText"])
    assert link
    file = httpx.get(link[1], follow_redirects=True)
    assert file.content.startswith(b"%PDF-")
    # The timer itself: it fires within the next minute, and mails the same report again.
    until(lambda: len([m for m in mails(stack) if m["To"] == [address]]) == 2, seconds=100)
    admin.call("DELETE", f"/v1/report-schedules/{schedule['id']}", 204)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/services", '{"name": '),
        ("/v1/services", '{"name": "x", "duration_minutes": "long"}'),
        ("/v1/invitations", '{"email": "x@example.com", "name": "X", "role": "king"}'),
    ],
)
def test_bad_input_names_its_field(stack: Stack, people: People, path: str, body: str) -> None:
    headers = {
        "Authorization": f"Bearer {people['admin'].token}",
        "Content-Type": "application/json",
    }
    answer = httpx.post(f"{stack['api_url']}{path}", content=body, headers=headers)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(error["path"].startswith("body") for error in answer.json()["errors"])
    assert answer.json()["errors"]


def test_strangers_and_foreigners_get_nothing(stack: Stack, people: People) -> None:
    api = stack["api_url"]
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        answer = httpx.get(f"{api}/v1/dashboard", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
    people["patient"].call("GET", "/v1/patients", 403)
    foreign = {"Consulta-Practice": "prac_01JCABCDEFGHJKMNPQRSTVWXYZ"}
    people["admin"].call("GET", "/v1/dashboard", 404, headers=foreign)
    people["admin"].call("GET", "/v1/appointments/appt_01JCABCDEFGHJKMNPQRSTVWXYZ", 404)
    problem = people["admin"].call("GET", "/v1/appointments", 400, params={"cursor": "bm9wZQ=="})
    assert problem["errors"][0]["path"] == "query.cursor"


def test_a_webhook_without_a_good_signature_is_refused(stack: Stack) -> None:
    for provider, header in (
        ("stripe", {"Stripe-Signature": "t=1,v1=00"}),
        ("mercadopago", {"x-signature": "ts=1,v1=00", "x-request-id": "r"}),
    ):
        url = f"{stack['api_url']}/webhooks/{provider}?data.id=1&type=payment"
        answer = httpx.post(url, json={"id": "evt_1"}, headers=header)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_document_lists_every_route(stack: Stack) -> None:
    document = httpx.get(f"{stack['api_url']}/v1/openapi.json").json()
    assert {"/v1/dashboard", "/v1/appointments", "/webhooks/stripe"} <= document["paths"].keys()
    page = httpx.get(stack["docs_url"])
    assert "swagger-ui" in page.text.lower()


def test_no_log_line_names_anybody(stack: Stack, people: People) -> None:
    """After all of the above: what people are called and typed is in no function's log."""
    assert people
    logs = boto3.client("logs", endpoint_url=stack["api_url"])
    groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert len(groups) > 20
    lines = [
        event["message"]
        for group in groups
        for page in logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        )
        for event in page["events"]
    ]
    assert lines
    secrets = [PASSWORD, TEMPORARY, *(caller.token for caller in people.values())]
    personal = [part for name, phone, email in PATIENTS for part in (name, phone, email)]
    for word in [*secrets, *personal, "payer@example.com", ADMIN, "Helena"]:
        assert not [line for line in lines if word in line], "a log line holds personal data"


def test_every_figure_is_what_its_items_say(stack: Stack, people: People) -> None:
    """Last in this file: after all that happened, nothing differs."""
    assert people
    time.sleep(3)
    command = [sys.executable, "-m", "consulta_cli", "verify", "--stack-file"]
    result = subprocess.run(
        [*command, str(ROOT / ".local" / "e2e" / "stack.json")],
        env={**os.environ, "PYTHONPATH": "layers/consulta:tools"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
