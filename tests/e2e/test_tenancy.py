"""Another practice's ids, on every route that takes one: nothing of it is there."""

import json
from datetime import date, timedelta
from typing import Any

import boto3
import httpx
import pytest

from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.scheduling.review_records import REVIEW, ReviewItem
from consulta.scheduling.review_records import id_of as review_id_of
from local.seed import OPERATOR, TEMPORARY, ZONE, Caller, sign_in, today, until
from tests.e2e.test_money import disputed, paid_out

Stack = dict[str, Any]
URL = "https://app.example.com/"
# What these routes want before they look at the id.
BODIES: dict[str, dict[str, Any]] = {
    "post /v1/appointments/{appointment_id}/cancel": {"reason_code": "other"},
    "post /v1/appointments/{appointment_id}/cancellation-preview": {"reason_code": "other"},
    "post /v1/appointments/{appointment_id}/mark-paid": {"method": "cash", "received_at": today()},
    "post /v1/appointments/{appointment_id}/notes": {"text": "Mine?"},
    "patch /v1/appointments/{appointment_id}/notes/{note_id}": {"text": "Mine?"},
    "post /v1/threads/{thread_id}/messages": {"text": "Mine?"},
    "post /v1/threads/{thread_id}/read": {"up_to": "msg_01JC0DEM00000000000000000A"},
    "post /v1/appointments/{appointment_id}/reschedule": {"start": "2027-02-01T10:00:00Z"},
    "patch /v1/series/{series_id}": {"scope": "all", "shift_days": 1},
    "post /v1/connect/accounts/{payee}/onboarding-link": {"return_url": URL, "refresh_url": URL},
    "patch /v1/connect/accounts/{payee}": {"refund_management": True},
    "patch /v1/reviews/{review_id}": {"rating": 5},
    "post /v1/reviews/{review_id}/reply": {"text": "Mine?"},
    "post /v1/reviews/{review_id}/hide": {"reason": "Mine?"},
    "patch": {"name": "Renamed"},
    "post": {},
}
# Of nobody's practice: the caller's own devices, a mailed link, the platform's own staff.
ELSEWHERE = (
    "/v1/me/",
    "/v1/reports/downloads/",
    "/v1/sso/",
    "/feeds/",
    "/v1/webhook-inbox/",
    # By day: everybody sees their own part of it.
    "/v1/reconciliations/",
    "/v1/commissions/rates/",
    "/v1/commissions/plans/",
    "/v1/practices/{practice_id}/plan",
)


@pytest.fixture(scope="module")
def stranger(stack: Stack) -> Caller:
    """The owner of another practice: every permission, and nothing of this practice's."""
    email = "owner@austral.example"
    owner = {"email": email, "name": "Olga Ruiz", "temporary_password": TEMPORARY}
    practice = {"name": "Clínica Austral", "zone": "America/Bogota", "currency": "COP"}
    sign_in(stack["api_url"], OPERATOR).post(
        "/v1/practices", {**practice, "country": "CO", "commission_percent": "5", "owner": owner}
    )
    return sign_in(stack["api_url"], email)


@pytest.fixture(scope="module")
def ids(stack: Stack, people: dict[str, Caller]) -> dict[str, str]:
    """Path parameter → what is there for this practice's admin."""
    admin = people["admin"]
    found = {
        "practice_id": admin.get("/v1/me")["practice"]["id"],
        "key_id": admin.post("/v1/api-keys", {"name": "K", "permissions": ["services:read"]})["id"],
        "role_id": admin.post("/v1/roles", {"name": "R", "permissions": ["services:read"]})["id"],
        "report_id": admin.post("/v1/reports", report(), expect=202)["id"],
        "invitation_id": admin.post(
            "/v1/invitations", {"email": "i@example.com", "name": "I", "role": "viewer"}
        )["id"],
    }
    for name in ("appointment", "expert", "member", "patient", "payment", "service"):
        found[f"{name}_id"] = admin.get(f"/v1/{name}s")["items"][0]["id"]
    found["thread_id"] = admin.post(
        "/v1/threads", {"patient_id": found["patient_id"], "text": "Ours"}
    )["id"]
    found["schedule_id"] = admin.get("/v1/report-schedules")["items"][0]["id"]
    found["order_id"] = admin.get(f"/v1/appointments/{found['appointment_id']}")["order_id"]
    found["payee"] = found["expert_id"]
    found["dispute_id"] = disputed(stack, admin)[0]["id"]
    found["payout_id"] = paid_out(stack, admin)["id"]
    found["review_id"] = reviewed(stack, admin, found)
    return found | of_scheduling(admin, found)


def of_scheduling(admin: Caller, found: dict[str, str]) -> dict[str, str]:
    """One of each of its resources."""
    who = {name: found[name] for name in ("patient_id", "expert_id")}
    service = {"expert_ids": [found["expert_id"]], "duration_minutes": 30}
    free, priced = ({"amount": amount, "currency": "MXN"} for amount in (0, 50000))
    single = admin.post("/v1/services", {**service, "name": "Single", "price": free})["id"]
    package = admin.post(
        "/v1/services",
        {
            **service,
            "name": "Package",
            "price": priced,
            "kind": "PACKAGE",
            "sessions": 2,
            "validity_days": 30,
        },
    )["id"]
    start, zone = f"{date.fromisoformat(today()) + timedelta(days=20)}T16:00:00", ZONE
    rule = {"rrule": "FREQ=WEEKLY;COUNT=2", "start": start, "zone": zone, "on_conflict": "skip"}
    days = {"from": today(), "to": today(), "zone": zone}
    appointment = f"/v1/appointments/{found['appointment_id']}"
    job = {"action": "no_show", "items": [{"id": found["appointment_id"]}]}
    return {
        "resource_id": admin.post("/v1/resources", {"name": "Room", "kind": "room"})["id"],
        "package_id": admin.post("/v1/packages", {**who, "service_id": package})["id"],
        "series_id": admin.post("/v1/series", {**who, **rule, "service_id": single})["id"],
        "entry_id": admin.post("/v1/waitlist", {**who, **days, "service_id": single})["id"],
        "feed_id": admin.post("/v1/calendars/feeds", {"expert_id": found["expert_id"]})["id"],
        "note_id": admin.post(f"{appointment}/notes", {"text": "Ours"})["id"],
        # Not begun yet: it fails, and the job is there all the same.
        "job_id": admin.post("/v1/appointments/bulk", job, expect=200)["id"],
    }


def reviewed(stack: Stack, admin: Caller, found: dict[str, str]) -> str:
    """A review, written past the API: no appointment of today's practice is completed yet."""
    appointment = admin.get(f"/v1/appointments/{found['appointment_id']}")
    tenant = Tenant(found["practice_id"])
    review_id = review_id_of(appointment["id"])
    month = tenant.listing_by(REVIEW, "MONTH", today()[:7])
    item = ReviewItem.create(
        tenant.item(REVIEW, review_id),
        REVIEW,
        Actor("e2e", "e2e"),
        appointment_id=appointment["id"],
        **{f"{name}_id": appointment[name]["id"] for name in ("expert", "service", "patient")},
        rating=5,
        zone=ZONE,
        local_date=today(),
        **{f"l{n}pk": month for n in (1, 2, 3)},
        **{f"l{n}sk": f"{today()}#{review_id}" for n in (1, 2, 3)},
        walkpk=tenant.listing(REVIEW),
        walksk=review_id,
    )
    client = boto3.client(
        "dynamodb",
        endpoint_url=stack["api_url"],
        region_name=stack["region"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.put_item(TableName=stack["outputs"]["CoreTableName"], Item=item.serialize())
    assert admin.get(f"/v1/reviews/{review_id}")["rating"] == 5
    return review_id


def report() -> dict[str, Any]:
    return {"kind": "revenue", "formats": ["csv"], "from": "2026-01-01", "to": "2026-01-31"}


def routes(stack: Stack) -> list[tuple[str, str]]:
    document = httpx.get(f"{stack['api_url']}/v1/openapi.json", timeout=30).json()
    return [
        (method, path)
        for path, operations in document["paths"].items()
        if "{" in path and not path.startswith(ELSEWHERE)
        for method in operations
    ]


def test_another_practices_ids_are_not_there(
    stack: Stack, people: dict[str, Caller], stranger: Caller, ids: dict[str, str]
) -> None:
    admin = people["admin"]
    before = json.dumps([admin.get(f"/v1/members/{ids['member_id']}"), ids])
    seen = {}
    for method, template in routes(stack):
        body = BODIES.get(f"{method} {template}", BODIES.get(method))
        answer = httpx.request(
            method,
            stack["api_url"] + template.format_map(ids),
            json=body,
            params={"expert_id": ids["expert_id"]} if "/feeds/" in template else {},
            headers={"Authorization": f"Bearer {stranger.token}"},
            timeout=30,
        )
        seen[f"{method} {template}"] = answer.status_code
        assert not any(f'"{value}"' in answer.text for value in ids.values()), template
    assert len(seen) > 30
    assert {route: status for route, status in seen.items() if status != 404} == {}
    assert json.dumps([admin.get(f"/v1/members/{ids['member_id']}"), ids]) == before


def test_a_lists_items_are_the_practices_own(stranger: Caller) -> None:
    for name in ("appointments", "patients", "payments", "services", "experts", "invitations"):
        assert stranger.get(f"/v1/{name}")["items"] == []
    for name in ("reports", "report-schedules", "api-keys", "sso", "reviews"):
        assert stranger.get(f"/v1/{name}")["items"] == []
    entries = until(lambda: stranger.get("/v1/audit")["items"])
    assert {entry["entity"] for entry in entries} <= {"PRACTICE", "MEMBER", "EVENT"}
