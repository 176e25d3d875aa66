"""Money on the deployed system: contested, paid out, and a ledger that balances all the while."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from local.seed import OPERATOR, Caller, sign_in, today, until

ROOT = Path(__file__).resolve().parents[2]
Stack = dict[str, Any]
People = dict[str, Caller]


def at_stripe(stack: Stack, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a payer, a bank or Stripe itself does."""
    answer = httpx.post(f"{stack['stripe_url']}/_control/{path}", json=body, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def paid(stack: Stack, admin: Caller) -> tuple[dict[str, Any], str]:
    """A payment that has settled, and its charge at Stripe."""
    service = next(s for s in admin.get("/v1/services")["items"] if s["price"]["amount"] > 0)
    patient = admin.get("/v1/patients")["items"][0]["id"]
    low = datetime.now(UTC) + timedelta(days=20)
    who = {"service_id": service["id"], "expert_id": service["expert_ids"][0]}
    days = {"from": low.isoformat(), "to": (low + timedelta(days=20)).isoformat()}
    start = admin.get("/v1/slots", **who, **days)["slots"][-1]["start"]
    appointment = admin.post("/v1/appointments", {**who, "patient_id": patient, "start": start})
    about = {"appointment_id": appointment["id"], "provider": "stripe"}
    payment = admin.post("/v1/payments", about)
    intent = at_stripe(stack, f"pay/{payment['provider_id']}", {})
    path = f"/v1/payments/{payment['id']}"
    until(lambda: (admin.get(path)["fee"] or {}).get("amount"))
    return admin.get(path), str(intent["latest_charge"])


def disputed(stack: Stack, admin: Caller) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dispute as we have it, and as Stripe has it."""
    payment, charge = paid(stack, admin)
    theirs = at_stripe(stack, "disputes", {"charge": charge})
    query = {"payment_id": payment["id"]}
    [ours] = until(lambda: admin.get("/v1/disputes", **query)["items"])
    return ours, theirs


def paid_out(stack: Stack, admin: Caller) -> dict[str, Any]:
    """A payout of the practice's account that has reached the bank."""
    practice = admin.get("/v1/me")["practice"]["id"]
    account = admin.get(f"/v1/connect/accounts/{practice}")["stripe_account"]
    paid(stack, admin)
    at_stripe(stack, "balance", {"account": account})
    body = {"account": account, "amount": 1000, "currency": "mxn", "status": "paid"}
    made = at_stripe(stack, "payouts", body)
    path = f"/v1/payouts/{made['id']}"

    def arrived() -> Any:
        answer = httpx.get(
            f"{stack['api_url']}{path}", headers={"Authorization": f"Bearer {admin.token}"}
        )
        found = answer.json()
        return found if answer.status_code == 200 and found["status"] == "paid" else None

    return dict(until(arrived))


def test_a_dispute_is_shown_and_won(stack: Stack, people: People) -> None:
    admin = people["admin"]
    ours, theirs = disputed(stack, admin)
    assert ours["status"] == "needs_response"
    assert ours["evidence_due_by"]
    payment = admin.get(f"/v1/payments/{ours['payment_id']}")
    assert payment["status"] == "disputed"
    admin.call("POST", f"/v1/payments/{payment['id']}/refunds", 409, json={})
    at_stripe(stack, f"disputes/{theirs['id']}", {"status": "won"})
    until(lambda: admin.get(f"/v1/disputes/{ours['id']}")["status"] == "won")
    assert admin.get(f"/v1/payments/{payment['id']}")["status"] == "succeeded"


def test_funds_become_available_and_are_paid_out(stack: Stack, people: People) -> None:
    payout = paid_out(stack, people["admin"])
    assert payout["amount"] == {"amount": 1000, "currency": "MXN"}

    def counted() -> bool:
        found = people["admin"].get("/v1/payouts/balance")["balances"]
        return any(one["paid_out"]["amount"] >= 1000 for one in found)

    until(counted)


def test_figures_of_money_agree_with_each_other(people: People) -> None:
    admin = people["admin"]
    days = {"from": f"{today()[:8]}01", "to": today()}

    def agree() -> bool:
        [earned] = admin.get("/v1/earnings", **days)["items"]
        [summary] = admin.get("/v1/payments/summary", **days)["currencies"]
        return bool(
            earned["gross"] == summary["revenue"] and earned["refunded"] == summary["refunds"]
        )

    until(agree)


def test_an_operator_reads_and_repeats_events(stack: Stack, people: People) -> None:
    operator = sign_in(stack["api_url"], OPERATOR)
    event = operator.get("/v1/webhook-inbox", state="DONE", limit=1)["items"][0]
    path = f"/v1/webhook-inbox/{event['id']}"
    operator.call("POST", f"{path}/replay", 409, json={})
    operator.call("POST", f"{path}/replay", 202, json={"force": True})
    people["admin"].call("GET", "/v1/webhook-inbox", 403)


def test_the_ledger_balances(people: People) -> None:
    assert people
    file = str(ROOT / ".local" / "e2e" / "stack.json")
    arguments = ["ledger", "verify", "--stack-file", file]
    result = subprocess.run(
        [sys.executable, "-m", "consulta_cli", *arguments],
        env={**os.environ, "PYTHONPATH": "layers/consulta:tools"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
