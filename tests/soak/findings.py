"""What must hold afterwards; each finding is a sentence.

Queues are drained; every payment says what its provider says; no refund is still under way; every
figure is right and the ledger balances; reconciliation lists nothing at all; no dead letter.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import httpx

from local.environment import aws_environment
from tests.soak.clients import PRICE, Client, Taken

ROOT = Path(__file__).resolve().parents[2]
QUEUES = ("PaymentEventsQueueUrl", "RepairQueueUrl")
DRAIN_S, SETTLE_S, PAUSE_S = 600, 300, 10
SHOWN = 4_000
# The operators' commands, as ``consulta`` has them.
REDRIVE = ("dead-letters", "redrive")
LEFT = (*REDRIVE, "--dry-run")
RECONCILE = ("reconcile",)
PROOFS = (("verify",), ("ledger", "verify"), RECONCILE)
# What is less than two days old is "in flight", and no failure of the command: it is one here.
NOTHING_DIFFERS = " 0 differences"
_STRIPE = {"Authorization": "Bearer sk_test_soak"}
_TOLD = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def every(stack: dict[str, Any], file: Path, clients: list[Client]) -> Iterator[str]:
    """All that is found, once everything has come to rest."""
    yield from _drained(stack)
    if _count(stack, "DeadLettersUrl"):
        command(stack, file, *REDRIVE)
        yield from _drained(stack)
    # Each client has a session of its own; one after the other they took as long as the paying.
    with ThreadPoolExecutor(len(clients) or 1) as pool:
        for found in pool.map(_payments, clients):
            yield from found
    yield from _commands(stack, file)
    if left := _count(stack, "DeadLettersUrl"):
        yield f"{left} dead letters:\n{command(stack, file, *LEFT).stdout}"


def _count(stack: dict[str, Any], name: str) -> int:
    answer = boto3.client("sqs").get_queue_attributes(
        QueueUrl=stack["outputs"][name], AttributeNames=["All"]
    )
    return sum(int(answer["Attributes"].get(told, 0)) for told in _TOLD)


def _drained(stack: dict[str, Any]) -> Iterator[str]:
    end = time.monotonic() + DRAIN_S
    while waiting := {name: n for name in QUEUES if (n := _count(stack, name))}:
        if time.monotonic() > end:
            yield f"queues that were not drained: {waiting}"
            return
        time.sleep(1)


# ---------------------------------------------------------------- payment by payment


def _payments(client: Client) -> list[str]:
    """What we say of each payment against what its provider says."""
    return [found for one in client.taken for found in _settled(client, one)]


def _settled(client: Client, one: Taken) -> Iterator[str]:
    """What is still wrong with it after some minutes: the sweep has a minute of its own."""
    end = time.monotonic() + SETTLE_S
    while found := list(_wrong(client, one)):
        if time.monotonic() > end:
            yield from found
            return
        time.sleep(2)


def _wrong(client: Client, one: Taken) -> Iterator[str]:
    ours = client.ask("GET", f"/v1/payments/{one.payment}")
    refunds = ours["refunds"]
    if waiting := [refund["id"] for refund in refunds if refund["state"] == "requested"]:
        yield f"{one.payment}: refunds still under way: {waiting}"
    gone = sum(refund["amount"]["amount"] for refund in refunds if refund["state"] == "succeeded")
    if gone > PRICE:
        yield f"{one.payment}: {gone} refunded of {PRICE}"
    paid, back = _AT_PROVIDER[one.provider](client, one)
    if (ours["paid_at"] is not None) != paid:
        yield f"{one.payment}: {ours['status']}, paid at {one.provider}: {paid}"
    if back is not None and gone != back:
        yield f"{one.payment}: refunded {gone}, at {one.provider} {back}"


def _at_stripe(client: Client, one: Taken) -> tuple[bool, int | None]:
    url = f"{client.stack['stripe_url']}/v1/payment_intents/{one.provider_id}"
    answer = httpx.get(url, params={"expand[]": "latest_charge"}, headers=_STRIPE, timeout=60)
    if answer.status_code != httpx.codes.OK:
        return one.paid, None
    intent = answer.json()
    charge = intent["latest_charge"] or {}
    return intent["status"] == "succeeded", int(charge.get("amount_refunded", 0))


def _at_mercadopago(client: Client, one: Taken) -> tuple[bool, int | None]:
    # Only its seller's token could read it there.
    return one.paid, None


def _by_hand(client: Client, one: Taken) -> tuple[bool, int | None]:
    return True, None


_AT_PROVIDER: dict[str, Callable[[Client, Taken], tuple[bool, int | None]]] = {
    "stripe": _at_stripe,
    "mercadopago": _at_mercadopago,
    "manual": _by_hand,
}


# ---------------------------------------------------------------- the operators' own commands


def command(stack: dict[str, Any], file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``consulta …`` against this stack."""
    port = int(stack["api_url"].rpartition(":")[2])
    environment = {**aws_environment(port), "PYTHONPATH": "layers/consulta:tools"}
    return subprocess.run(
        [sys.executable, "-m", "consulta_cli", *arguments, "--stack-file", str(file)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _commands(stack: dict[str, Any], file: Path) -> Iterator[str]:
    for proof in PROOFS:
        yield from _proven(stack, file, proof)


def _shortened(said: str) -> str:
    """Its first differences and its sum: there may be thousands."""
    return said if len(said) < SHOWN else f"{said[: SHOWN // 2]}\n…\n{said[-SHOWN // 2 :]}"


def _proven(stack: dict[str, Any], file: Path, proof: tuple[str, ...]) -> Iterator[str]:
    """What it still says after some minutes: a settlement and the sweep take their time."""
    end = time.monotonic() + SETTLE_S
    while True:
        result = command(stack, file, *proof)
        lists = proof == RECONCILE and NOTHING_DIFFERS not in result.stdout
        if not (result.returncode or lists):
            return
        if time.monotonic() > end:
            yield f"consulta {' '.join(proof)}:\n{_shortened(result.stdout + result.stderr)}"
            return
        time.sleep(PAUSE_S)
