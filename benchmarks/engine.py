"""A DynamoDB engine that counts capacity as AWS does: dynoxide, one binary, in memory.

It comes from the npm registry, so this part needs npm once.
"""

import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "dynoxide"
VERSION = "1.2.1"
PLATFORMS = {
    ("Linux", "x86_64"): "linux-x64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "arm64"): "darwin-arm64",
    ("Darwin", "x86_64"): "darwin-x64",
}


def _binary() -> Path:
    package = f"@dynoxide/{PLATFORMS[platform.system(), platform.machine()]}"
    binary = FOLDER / "node_modules" / package / "dynoxide"
    if not binary.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("The dashboard benchmark needs npm once, to install its engine")
        command = [npm, "install", "--silent", "--no-save", "--prefix", str(FOLDER)]
        subprocess.run([*command, f"{package}@{VERSION}"], check=True)
    return binary


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running() -> Iterator[str]:
    """The engine's endpoint, as long as the ``with`` block lives."""
    port = _free_port()
    process = subprocess.Popen(
        [str(_binary()), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait(boto3.client("dynamodb", endpoint_url=endpoint))
        yield endpoint
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(client: Any) -> None:
    for _ in range(100):
        try:
            client.list_tables()
        except (BotoCoreError, ClientError):
            time.sleep(0.05)
        else:
            return
    raise SystemExit("The benchmark's DynamoDB engine did not start")


class Capacity:
    """Counts the calls and the read units of everything that a client does."""

    def __init__(self, client: Any) -> None:
        self.calls = 0
        self.units = 0.0
        events = client.meta.events
        for operation in ("GetItem", "BatchGetItem", "Query"):
            events.register(f"before-parameter-build.dynamodb.{operation}", self._ask)
            events.register(f"after-call.dynamodb.{operation}", self._count)

    @staticmethod
    def _ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def _count(self, parsed: dict[str, Any], **_: Any) -> None:
        consumed = parsed.get("ConsumedCapacity", [])
        parts = consumed if isinstance(consumed, list) else [consumed]
        self.calls += 1
        self.units += sum(part["CapacityUnits"] for part in parts)

    def reset(self) -> None:
        """Count from zero."""
        self.calls, self.units = 0, 0.0
