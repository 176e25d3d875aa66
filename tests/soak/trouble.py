"""What goes wrong meanwhile: deliveries, providers, and the workers that are killed."""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx

# What works on payment events, and what keeps the figures.
WORKERS = ("PaymentEvents", "Aggregate")
EVERY_S, KILL_EVERY, RESEND_EVERY = 3.0, 5, 4
RESENT, LATEST = 15, 1000
DELIVERIES = ("once", "twice", "reordered", "hold")
# What a killed worker held comes back after this instead of three minutes.
VISIBILITY_S = 20
PREFIXES = {
    "stripe": ("/v1/payment_intents", "/v1/refunds", "/v1/charges", "/v1/disputes", "/v1/"),
    "mercadopago": ("/v1/payments",),
}
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429},
    {"kind": "timeout_before"},
    {"kind": "timeout_after"},
)


@dataclass
class Trouble:
    """Makes trouble every few seconds until it is told to stop."""

    stack: dict[str, Any]
    folder: Path
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """As long as the block lives; then deliveries are once and in order again."""
        thread = threading.Thread(target=self._run, name="trouble")
        for provider in PREFIXES:
            self._control(provider, "config", {"in_turn": False})
        with self._shorter_visibility():
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
                for provider in PREFIXES:
                    self._control(provider, "config", {"deliveries": "once", "in_turn": True})
                    self._control(provider, "flush", {})

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(EVERY_S):
            number += 1
            try:
                self._once(number)
            except httpx.HTTPError:
                self.done["troubles that failed"] += 1

    def _once(self, number: int) -> None:
        provider = self.chance.choice(("stripe", "stripe", "mercadopago"))
        fault = {
            **self.chance.choice(KINDS),
            "method": self.chance.choice(("POST", "*")),
            "path_prefix": self.chance.choice(PREFIXES[provider]),
            "times": self.chance.randint(1, 3),
        }
        self._control(provider, "faults", fault)
        self.done[f"{provider}: {fault.get('status') or fault['kind']}"] += int(fault["times"])
        # What was held till now comes late, among what has happened since.
        self._control(provider, "flush", {})
        mode = self.chance.choice(DELIVERIES)
        self._control(provider, "config", {"deliveries": mode})
        self.done[f"{provider}: delivered {mode}"] += 1
        if number % RESEND_EVERY == 0:
            self._resend(provider)
        if number % KILL_EVERY == 0:
            worker = self.chance.choice(WORKERS)
            killed = kill_worker(self.stack, self.folder, worker)
            self.done[f"{worker} killed"] += int(killed)

    def _resend(self, provider: str) -> None:
        """Some of what was told before, again."""
        events = httpx.get(
            f"{self.stack[f'{provider}_url']}/_control/events", params={"last": LATEST}, timeout=60
        )
        known = [event["id"] for event in events.json()["events"]]
        for event in self.chance.sample(known, min(RESENT, len(known))):
            self._control(provider, f"events/{event}/send", {})
            self.done["webhooks sent again"] += 1

    def _control(self, provider: str, path: str, body: dict[str, Any]) -> None:
        url = f"{self.stack[f'{provider}_url']}/_control/{path}"
        httpx.post(url, json=body, timeout=60).raise_for_status()

    @contextmanager
    def _shorter_visibility(self) -> Iterator[None]:
        sqs, url = boto3.client("sqs"), self.stack["outputs"]["PaymentEventsQueueUrl"]
        known = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
        before = known["Attributes"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(VISIBILITY_S)})
        try:
            yield
        finally:
            sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


def kill_worker(stack: dict[str, Any], folder: Path, worker: str) -> bool:
    """Kill one process of that function of this very stack; False where none runs.

    Known by its own environment, among the children of the local AWS that this stack started.
    Needs /proc.
    """
    record = folder / "run" / "aws.pid"
    wanted = f"AWS_LAMBDA_FUNCTION_NAME={stack['stack_name']}-{worker}".encode()
    if not record.exists() or not Path("/proc").exists():
        return False
    parent = record.read_text().strip()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and wanted in environment:
            os.kill(int(process.name), signal.SIGKILL)
            return True
    return False
