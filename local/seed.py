"""A demo practice, made through the public API alone.

Only the first operator is made beside it, as on AWS: with Cognito's own admin call (README).
"""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import httpx

PASSWORD = "Demo-pass-2026!"
TEMPORARY = "Temp-pass-2026!"
OPERATOR = "operator@consulta.example"
OWNER = "owner@aurora.example"
ADMIN = "admin@aurora.example"
EXPERT = "helena@aurora.example"
NEW_EXPERT = "tomas@aurora.example"
PATIENT = "ines@example.com"

ZONE = "America/Mexico_City"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = [{"from": "08:00", "to": "12:30"}, {"from": "13:30", "to": "20:00"}]
SERVICES = (
    ("First consultation", 50, 120000),
    ("Follow-up", 50, 90000),
    ("Introductory call", 20, 0),
)
PATIENTS = (
    ("Inés Carvajal", "+525512345601", PATIENT),
    ("Łukasz Wójcik", "+525512345602", "lukasz@example.com"),
    ("Marta Núñez", "+525512345603", "marta@example.com"),
    ("José Peña", "+525512345604", "jose@example.com"),
)
# Patient, service, how it is paid. The first patient's are on their own dashboard.
BOOKINGS = (
    (0, 0, "stripe"),
    (0, 1, "stripe"),
    (1, 0, "stripe"),
    (1, 2, "free"),
    (2, 1, "cash"),
    (3, 0, "mercadopago"),
)


class SeedError(Exception):
    """The API did not answer as the seed needs; the text says which call and what came back."""


@dataclass
class Caller:
    """One signed-in person."""

    base: str
    token: str = ""
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def call(self, method: str, path: str, expect: int, **request: Any) -> Any:
        """One request; anything but ``expect`` is an error that says what came back."""
        headers = request.pop("headers", {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        answer = self.http.request(method, f"{self.base}{path}", headers=headers, **request)
        if answer.status_code != expect:
            raise SeedError(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def post(self, path: str, body: dict[str, Any], expect: int = 201, **request: Any) -> Any:
        """POST a JSON body."""
        return self.call("POST", path, expect, json=body, **request)

    def get(self, path: str, **params: Any) -> Any:
        """GET with query parameters."""
        return self.call("GET", path, 200, params=params)


def seed(
    api_url: str,
    outputs: dict[str, str],
    simulators: dict[str, str],
    report: Callable[[str], None],
) -> list[dict[str, str]]:
    """Make the practice "Clínica Aurora"; gives the sign-ins {role, email, password}."""
    warm_up(api_url)
    report("making the operator and the practice")
    _operator(outputs["UserPoolId"])
    operator = sign_in(api_url, OPERATOR)
    operator.post("/v1/practices", _practice())
    owner = sign_in(api_url, OWNER)
    practice_id = owner.get("/v1/me")["practice"]["id"]
    let_in(owner, {"email": ADMIN, "name": "Carla Ortiz", "role": "admin"})
    admin = sign_in(api_url, ADMIN)

    report("adding experts, services and hours")
    expert_id = _expert(admin, EXPERT, "Helena Duarte", complete=True)
    _expert(admin, NEW_EXPERT, "Tomás Rocha", complete=False)
    services = [_service(admin, *service, expert_id) for service in SERVICES]

    report("connecting the payment providers")
    _connect(admin, practice_id, simulators["stripe"])
    _connect_mercadopago(admin, api_url, simulators["mercadopago"])
    # Stripe tells us by webhook that the account may take charges.
    until(lambda: admin.get(f"/v1/connect/accounts/{practice_id}")["charges_enabled"])
    until(lambda: admin.get(f"/v1/experts/{expert_id}/setup")["can_publish"])
    admin.post(f"/v1/experts/{expert_id}/publish", {}, expect=200)

    report("adding patients and their appointments")
    patients = [_patient(admin, *patient) for patient in PATIENTS]
    login = {"email": PATIENT, "name": PATIENTS[0][0], "role": "patient"}
    let_in(admin, {**login, "patient_id": patients[0]})
    _book(admin, expert_id, services, patients, simulators["stripe"])
    admin.post(
        "/v1/report-schedules",
        {"frequency": "daily", "time": "08:00", "formats": ["pdf", "csv"], "recipients": [ADMIN]},
    )
    return [
        {"role": role, "email": email, "password": PASSWORD}
        for role, email in (
            ("patient", PATIENT),
            ("new_expert", NEW_EXPERT),
            ("expert", EXPERT),
            ("admin", ADMIN),
        )
    ]


def warm_up(api_url: str) -> None:
    """Start the functions side by side, rather than one by one as the seed comes to them.

    Without a token each answers 401, which is all that is wanted of it here.
    """
    names = [
        "practices",
        "invitations",
        "experts",
        "services",
        "availability",
        "connect/x",
        "mercadopago/x",
        "patients",
        "slots",
        "appointments",
        "payments",
        "report-schedules",
        "dashboard",
        "me",
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: httpx.get(f"{api_url}/v1/{name}", timeout=30), names))


def until(ready: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``ready`` gives once it is true; events travel on their own."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.2)
    raise SeedError(f"nothing happened within {seconds} s")


def sign_in(api_url: str, email: str) -> Caller:
    """Sign in, setting the password where an operator's temporary one is still in place."""
    caller = Caller(api_url)
    answer = caller.http.post(
        f"{api_url}/v1/auth/login", json={"email": email, "password": PASSWORD}
    )
    if answer.status_code == httpx.codes.OK:
        session = answer.json()
    else:
        body = {"email": email, "password": TEMPORARY}
        challenge = caller.post("/v1/auth/login", body, expect=200)
        body = {"email": email, "session": challenge["session"], "new_password": PASSWORD}
        session = caller.post("/v1/auth/challenge", body, expect=200)
    caller.token = session["access_token"]
    return caller


def let_in(by: Caller, invitation: dict[str, Any]) -> Any:
    """Invite somebody, and accept in their place: the link is in the local mailbox."""
    by.post("/v1/invitations", invitation)
    token = until(lambda: invitation_token(by, invitation["email"]))
    return Caller(by.base).post("/v1/invitations/accept", {"token": token, "password": PASSWORD})


def invitation_token(by: Caller, email: str) -> str | None:
    """The token of the newest link that was mailed to ``email``."""
    boxes = by.http.get(f"{by.base}/_ministack/ses/messages").json()["messages"]
    for message in (message for box in reversed(boxes.values()) for message in reversed(box)):
        link = re.search(r"/accept\?token=(\S+)", message.get("BodyText") or "")
        if link and message["To"] == [email]:
            return link[1]
    return None


def _operator(pool: str) -> None:
    cognito = boto3.client("cognito-idp")
    cognito.admin_create_user(
        UserPoolId=pool,
        Username=OPERATOR,
        TemporaryPassword=TEMPORARY,
        MessageAction="SUPPRESS",
        UserAttributes=[
            {"Name": "email", "Value": OPERATOR},
            {"Name": "email_verified", "Value": "true"},
        ],
    )
    cognito.admin_add_user_to_group(UserPoolId=pool, Username=OPERATOR, GroupName="operator")


def _practice() -> dict[str, Any]:
    return {
        "name": "Clínica Aurora",
        "zone": ZONE,
        "currency": "MXN",
        "country": "MX",
        "commission_percent": "10",
        "owner": {"email": OWNER, "name": "Beatriz Lima", "temporary_password": TEMPORARY},
    }


def _expert(admin: Caller, email: str, name: str, *, complete: bool) -> str:
    profile = {"title": "Psychologist", "bio": "Cognitive therapy.", "languages": ["es", "en"]}
    member = let_in(
        admin,
        {
            "email": email,
            "name": name,
            "role": "expert",
            "expert": {"zone": ZONE, **(profile if complete else {})},
        },
    )
    if complete:
        admin.call(
            "PUT",
            "/v1/availability",
            200,
            params={"expert_id": member["expert_id"]},
            json={
                "zone": ZONE,
                "weekly": dict.fromkeys(WEEKDAYS, HOURS),
                "slot_interval_minutes": 30,
                "buffer_before_minutes": 0,
                "buffer_after_minutes": 10,
                "min_notice_minutes": 60,
                "horizon_days": 60,
            },
        )
    return str(member["expert_id"])


def _service(admin: Caller, name: str, minutes: int, price: int, expert_id: str) -> str:
    body = {
        "name": name,
        "kind": "SINGLE",
        "duration_minutes": minutes,
        "price": {"amount": price, "currency": "MXN"},
        "expert_ids": [expert_id],
    }
    return str(admin.post("/v1/services", body)["id"])


def _connect(admin: Caller, practice_id: str, stripe_url: str) -> None:
    admin.post("/v1/connect/accounts", {"payee": "practice", "country": "MX"})
    account = admin.get(f"/v1/connect/accounts/{practice_id}")["stripe_account"]
    # What the practice does on Stripe's own onboarding pages.
    Caller(stripe_url).post(f"/_control/accounts/{account}", {"state": "enabled"}, expect=200)


def _connect_mercadopago(admin: Caller, api_url: str, mercadopago_url: str) -> None:
    # The code that Mercado Pago's own pages hand to the redirect address.
    asked = Caller(mercadopago_url).post("/_control/authorize", {"seller": "aurora"}, expect=200)
    redirect = f"{api_url}/v1/docs"
    body = {"payee": "practice", "code": asked["code"], "redirect_uri": redirect}
    admin.post("/v1/mercadopago/connections", body)


def _patient(admin: Caller, name: str, phone: str, email: str) -> str:
    body = {"name": name, "phone": phone, "email": email}
    return str(admin.post("/v1/patients", body)["id"])


def _book(
    admin: Caller, expert_id: str, services: list[str], patients: list[str], stripe_url: str
) -> None:
    first = datetime.now(UTC) + timedelta(hours=2)
    for patient, service, paid_by in BOOKINGS:
        slots = admin.get(
            "/v1/slots",
            service_id=services[service],
            expert_id=expert_id,
            **{"from": first.isoformat(), "to": (first + timedelta(days=14)).isoformat()},
        )["slots"]
        body = {
            "service_id": services[service],
            "expert_id": expert_id,
            "patient_id": patients[patient],
            "start": slots[len(slots) // 3]["start"],
        }
        appointment = admin.post("/v1/appointments", body)
        _pay(admin, appointment, paid_by, stripe_url)


def today() -> str:
    """The practice's calendar day: what is received is never of tomorrow there."""
    return datetime.now(ZoneInfo(ZONE)).date().isoformat()


def _pay(admin: Caller, appointment: dict[str, Any], paid_by: str, stripe_url: str) -> None:
    about = {"appointment_id": appointment["id"]}
    if paid_by == "cash":
        received = today()
        admin.post(
            "/v1/payments/manual",
            {**about, "method": "cash", "amount": appointment["price"], "received_at": received},
        )
    elif paid_by == "stripe":
        payment = admin.post("/v1/payments", {**about, "provider": "stripe"})
        # What Stripe.js does in the browser with the client secret.
        Caller(stripe_url).post(
            f"/_control/pay/{payment['provider_id']}",
            {"payment_method": "pm_card_visa"},
            expect=200,
        )
    elif paid_by == "mercadopago":
        admin.post(
            "/v1/payments",
            {
                **about,
                "provider": "mercadopago",
                "token": "tok_approved",
                "payment_method_id": "visa",
                "installments": 1,
                "payer_email": "payer@example.com",
            },
        )
    if paid_by != "free":
        until(lambda: admin.get(f"/v1/appointments/{appointment['id']}")["status"] == "confirmed")
