"""Members who book and take payments, each with an expert of their own, and what payers do."""

import random
import secrets
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from local.seed import ADMIN, OWNER, ZONE, Caller, SeedError, let_in, sign_in, today, until

Stack = dict[str, Any]
PRICE, CURRENCY = 45000, "MXN"
# Shorter than an access token's fifteen minutes.
SIGNED_IN_S = 600
# A provider that has stored a failure answers with it for a minute, until the next attempt has a
# key of its own; which may fail in turn.
PATIENCE_S = 200
ALWAYS = [{"from": "00:00", "to": "24:00"}]
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
STEP = timedelta(minutes=20)
DECLINED = "pm_card_chargeDeclined"
# Asked again: nobody knows what became of it (502, 503), a race (409 with retry), too fast (429).
AGAIN = frozenset({429, 500, 502, 503, 504})


def _tomorrow() -> datetime:
    day = datetime.now(UTC) + timedelta(days=1)
    return day.replace(minute=0, second=0, microsecond=0)


@dataclass
class Taken:
    """One payment as the client knows it: what must be found of it in the end."""

    payment: str
    provider: str
    provider_id: str = ""
    paid: bool = False
    charge: str = ""
    dispute: str = ""


@dataclass
class Client:
    """One member at the desk, with an expert of their own, so that no two want the same time."""

    stack: Stack
    number: int
    chance: random.Random
    email: str = ""
    expert: str = ""
    service: str = ""
    patients: list[str] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    _caller: Caller | None = None
    _since: float = 0.0
    _start: datetime = field(default_factory=_tomorrow)
    _simulators: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    # ------------------------------------------------------------ who they are

    def begin(self) -> None:
        """An admin, an expert who is always there, a service and some patients."""
        owner, mark = sign_in(self.stack["api_url"], OWNER), uuid.uuid4().hex[:8]
        # Other tests may have given the owner a practice more.
        admin = sign_in(self.stack["api_url"], ADMIN)
        owner.http.headers["Consulta-Practice"] = admin.get("/v1/me")["practice"]["id"]
        self.email = f"desk-{mark}@aurora.example"
        let_in(owner, {"email": self.email, "name": f"Desk {self.number}", "role": "admin"})
        profile = {"title": "Psychologist", "bio": "Soak.", "languages": ["es"], "zone": ZONE}
        member = let_in(
            owner,
            {
                "email": f"expert-{mark}@aurora.example",
                "name": f"Expert {self.number}",
                "role": "expert",
                "expert": profile,
            },
        )
        self.expert = str(member["expert_id"])
        hours = {
            "zone": ZONE,
            "weekly": dict.fromkeys(WEEK, ALWAYS),
            "slot_interval_minutes": 10,
            "buffer_after_minutes": 0,
            "min_notice_minutes": 60,
            "horizon_days": 180,
        }
        self.ask("PUT", "/v1/availability", params={"expert_id": self.expert}, json=hours)
        service = {
            "name": f"Soak {mark}",
            "duration_minutes": 20,
            "price": {"amount": PRICE, "currency": CURRENCY},
            "expert_ids": [self.expert],
        }
        self.service = str(self.ask("POST", "/v1/services", json=service)["id"])
        until(lambda: self.ask("GET", f"/v1/experts/{self.expert}/setup")["can_publish"])
        self.ask("POST", f"/v1/experts/{self.expert}/publish", json={})
        for patient in range(8):
            # Not of the seed: a run of before has left its patients here.
            digits = f"{secrets.randbelow(10**8):08}"
            body = {"name": f"Patient {patient}", "phone": f"+5255{digits}"}
            self.patients.append(str(self.ask("POST", "/v1/patients", json=body)["id"]))

    @property
    def caller(self) -> Caller:
        """Signed in, again where the token is about to end."""
        if self._caller is None or time.monotonic() - self._since > SIGNED_IN_S:
            self._caller = sign_in(self.stack["api_url"], self.email)
            self._since = time.monotonic()
        return self._caller

    def ask(self, method: str, path: str, expect: tuple[int, ...] = (), **request: Any) -> Any:
        """One request; whatever may be asked again is, under the same key. Raises SeedError."""
        key = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        end, pause = time.monotonic() + PATIENCE_S, 0.5
        while True:
            headers = {"Authorization": f"Bearer {self.caller.token}", **key}
            answer = self._simulators.request(
                method, f"{self.stack['api_url']}{path}", headers=headers, **request
            )
            if answer.is_success or answer.status_code in expect:
                return answer.json() if answer.content else None
            if answer.status_code not in AGAIN or time.monotonic() > end:
                text = answer.text[:300]
                raise SeedError(f"{method} {path} answered {answer.status_code}: {text}")
            self.done[f"answers {answer.status_code}"] += 1
            time.sleep(pause)
            pause = min(2 * pause, 15)

    def control(self, provider: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What a payer or a bank does."""
        answer = self._simulators.post(
            f"{self.stack[f'{provider}_url']}/_control/{path}", json=body or {}
        )
        if answer.status_code != httpx.codes.PAYMENT_REQUIRED:  # a declined card is no failure
            answer.raise_for_status()
        return answer.json()

    # ------------------------------------------------------------ one payment

    def take_one(self) -> None:
        """Book, pay one way or another, and do something with an earlier payment."""
        appointment = str(self.book()["id"])
        how = self.chance.random()
        if how < 0.65:
            self._by_card(appointment)
        elif how < 0.9:
            self._by_mercadopago(appointment)
        else:
            self._by_cash(appointment)
        if len(self.taken) > 3:
            self._go_on(self.chance.choice(self.taken[:-2]))

    def book(self) -> dict[str, Any]:
        """One more appointment, confirmed."""
        self._start += STEP
        body = {
            "service_id": self.service,
            "expert_id": self.expert,
            "patient_id": self.chance.choice(self.patients),
            "start": self._start.isoformat(),
            "confirm": True,
        }
        self.done["appointments"] += 1
        booked: dict[str, Any] = self.ask("POST", "/v1/appointments", json=body)
        return booked

    def _by_card(self, appointment: str) -> None:
        body = {"appointment_id": appointment, "provider": "stripe"}
        started = self.ask("POST", "/v1/payments", json=body)
        one = Taken(str(started["id"]), "stripe", str(started["provider_id"]))
        self.taken.append(one)
        self.done["payments by card"] += 1
        if self.chance.random() < 0.15:
            self.control("stripe", f"pay/{one.provider_id}", {"payment_method": DECLINED})
            self.done["declined"] += 1
        if self.chance.random() < 0.95:
            intent = self.control("stripe", f"pay/{one.provider_id}")
            one.paid, one.charge = True, str(intent["latest_charge"])

    def _by_mercadopago(self, appointment: str) -> None:
        body = {
            "appointment_id": appointment,
            "provider": "mercadopago",
            "payment_method_id": "visa",
            "installments": 1,
            "payer_email": "payer@example.com",
        }
        tokens = [self.chance.choice(("tok_approved", "tok_approved", "tok_in_process"))]
        if self.chance.random() < 0.15:
            tokens.insert(0, "tok_rejected")
            self.done["declined"] += 1
        payment = ""
        for token in tokens[:-1]:
            payment = self.ask("POST", "/v1/payments", json=body | {"token": token})["id"]
        taken = self._until_taken(payment, body | {"token": tokens[-1]})
        self.done["payments by Mercado Pago"] += 1
        one = Taken(str(taken["id"]), "mercadopago", str(taken["provider_id"]), paid=True)
        self.taken.append(one)
        if taken["status"] == "processing":
            self.control("mercadopago", f"payments/{one.provider_id}/approve")

    def _until_taken(self, payment: str, body: dict[str, Any]) -> dict[str, Any]:
        """The payment once this card was taken.

        An answer may still tell of the card before, whose outcome was not known until then: a payer
        tries again, and hears (409) where this one was taken meanwhile.
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            made = self.ask("POST", "/v1/payments", expect=(409,), json=body)
            payment = made.get("id", payment)
            taken: dict[str, Any] = self.ask("GET", f"/v1/payments/{payment}")
            if taken["status"] != "open" or time.monotonic() > end:
                return taken
            time.sleep(1)

    def _by_cash(self, appointment: str) -> None:
        body = {
            "appointment_id": appointment,
            "method": "cash",
            "amount": {"amount": PRICE, "currency": CURRENCY},
            "received_at": today(),
        }
        made = self.ask("POST", "/v1/payments/manual", json=body)
        self.done["payments in cash"] += 1
        self.taken.append(Taken(str(made["id"]), "manual", paid=True))

    def _go_on(self, one: Taken) -> None:
        what = self.chance.random()
        if what < 0.35 and one.paid:
            amount = self.chance.choice((None, self.chance.randint(1, PRICE)))
            body = {"amount": {"amount": amount, "currency": CURRENCY}} if amount else {}
            # 409: not paid as far as we know by then, or less is left of it.
            path = f"/v1/payments/{one.payment}/refunds"
            made = self.ask("POST", path, expect=(409,), json=body)
            self.done["refunds" if "state" in made else "refunds refused"] += 1
        elif what < 0.45 and one.charge and not one.dispute:
            self._dispute(one)
        elif what < 0.6 and one.dispute:
            ends = self.chance.choice(("won", "lost"))
            self.control("stripe", f"disputes/{one.dispute}", {"status": ends})
            one.dispute = one.charge = ""
            self.done[f"disputes {ends}"] += 1

    def _dispute(self, one: Taken) -> None:
        try:
            made = self.control("stripe", "disputes", {"charge": one.charge})
        except httpx.HTTPStatusError:
            # All of it went back: there is nothing that could be contested.
            return
        one.dispute = str(made["id"])
        self.done["disputes"] += 1
