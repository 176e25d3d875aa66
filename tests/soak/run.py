"""The soak itself: clients, trouble, and then what is found."""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx

from local.environment import aws_environment
from local.seed import SeedError
from tests.soak import findings
from tests.soak.clients import Client
from tests.soak.trouble import Trouble

ROOT = Path(__file__).resolve().parents[2]
STACK_FILE = ROOT / ".local" / "stack.json"
COUNT, CLIENTS = 2000, 6


@dataclass(frozen=True)
class Report:
    """What was done, and what was found."""

    done: Counter[str]
    found: list[str]
    seconds: float

    def __str__(self) -> str:
        lines = [f"{name:<32}{number:>8}" for name, number in sorted(self.done.items())]
        found = self.found or ["nothing: queues empty, ledger balanced, figures right"]
        return "\n".join([*lines, f"\n{self.seconds:.0f} s; found:", *found])


def soak(file: Path, count: int, *, clients: int = CLIENTS, seed: int = 0) -> Report:
    """Take so many payments in the midst of trouble, wait for peace, and look."""
    stack: dict[str, Any] = json.loads(file.read_text())
    for name, value in aws_environment(int(stack["api_url"].rpartition(":")[2])).items():
        if name.startswith("AWS_"):
            os.environ[name] = value
    boto3.setup_default_session()
    chance = random.Random(seed)
    members = [Client(stack, n, random.Random(chance.random())) for n in range(clients)]
    trouble = Trouble(stack, file.parent, random.Random(chance.random()))
    began, found = time.monotonic(), list[str]()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(Client.begin, members))
    left, lock = iter(range(count)), threading.Lock()

    def work(member: Client) -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            try:
                member.take_one()
            except (SeedError, OSError, httpx.HTTPError) as error:
                found.append(f"a client was let down: {error}")

    with trouble.going_on(), ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, members))
    paid = time.monotonic() - began
    found += findings.every(stack, file, members)
    done = sum((member.done for member in members), trouble.done)
    done["seconds of paying"] = round(paid)
    return Report(done, found, time.monotonic() - began)


def main(count: str = str(COUNT), file: str = str(STACK_FILE)) -> int:
    """For the command line."""
    report = soak(Path(file), int(count))
    sys.stdout.write(f"{report}\n")
    return 1 if report.found else 0
