"""A DynamoDB engine that counts capacity as AWS does: dynoxide, one binary, in memory.

It comes from the npm registry, so this part needs npm once. Rows are loaded as one DynamoDB export:
through its API, the engine takes the longer for a write the more a table already has.
"""

import gzip
import json
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, settings
from tests.template import create_table

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


TABLES = {"core": "CoreTable", "aggregates": "AggregatesTable", "counters": "CountersTable"}


class Export:
    """The tables' rows on disk, in the form of a DynamoDB export to S3."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {}
        for name in TABLES:
            data = folder / "export" / name / "data"
            data.mkdir(parents=True)
            file = gzip.open(data / "rows.json.gz", "wt", compresslevel=1)  # noqa: SIM115
            self._files[name] = file

    def write(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows, in DynamoDB's own JSON."""
        self.write_lines(name, (json.dumps({"Item": row}) for row in rows))

    def write_lines(self, name: str, lines: Iterable[str]) -> None:
        """Add rows that are lines of an export already: ``{"Item": …}``."""
        self._files[name].writelines(line + "\n" for line in lines)

    def close(self) -> None:
        """No more rows."""
        for file in self._files.values():
            file.close()


@contextmanager
def loading() -> Iterator[Export]:
    """An export to fill, in a folder that lives as long as the ``with`` block."""
    with tempfile.TemporaryDirectory() as folder:
        yield Export(Path(folder))


@contextmanager
def running(export: Export, *, on_disk: bool = False) -> Iterator[str]:
    """The endpoint of an engine with these rows, as long as the ``with`` block lives.

    ``on_disk``: in a file in place of its memory, where a million appointments have no room: with
    its indexes one takes 10 KB, or 20 if it is a whole one.
    """
    export.close()
    schema = export.folder / "schema.json"
    with _process() as endpoint:
        schema.write_text(json.dumps(_schema(endpoint), default=str))
    loaded = ["import", "--source", str(export.folder / "export"), "--schema", str(schema)]
    if on_disk:
        database = str(export.folder / "database")
        done = subprocess.run(
            [str(_binary()), *loaded, "--output", database],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"The benchmark's DynamoDB engine could not load: {done.stderr}")
        # What it was made of is as large again.
        shutil.rmtree(export.folder / "export")
        loaded = ["--db-path", database]
    else:
        loaded.append("--serve")
    with _process(*loaded) as endpoint:
        yield endpoint


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "CORE_TABLE": "core",
    "AGGREGATES_TABLE": "aggregates",
    "COUNTERS_TABLE": "counters",
}


@contextmanager
def client_of(export: Export, *, on_disk: bool = False) -> Iterator[Any]:
    """Our code's own client, talking to an engine with these rows as long as the block lives."""
    os.environ |= ENVIRONMENT
    with running(export, on_disk=on_disk) as endpoint:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
        aws.reset()
        settings.reset()
        try:
            yield aws.client("dynamodb")
        finally:
            del os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
            aws.reset()


def _schema(endpoint: str) -> list[dict[str, Any]]:
    """What an empty engine says of the template's tables."""
    client = boto3.client("dynamodb", endpoint_url=endpoint)
    for name, logical_id in TABLES.items():
        create_table(client, logical_id, name)
    return [{"Table": client.describe_table(TableName=name)["Table"]} for name in TABLES]


@contextmanager
def _process(*arguments: str) -> Iterator[str]:
    port = _free_port()
    process = subprocess.Popen(
        [str(_binary()), *arguments, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait(process, boto3.client("dynamodb", endpoint_url=endpoint))
        yield endpoint
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(process: subprocess.Popen[bytes], client: Any) -> None:
    """Until it answers; an import of a million rows takes minutes before it does."""
    while process.poll() is None:
        try:
            client.list_tables()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
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
        events.register("after-call.dynamodb.TransactWriteItems", self._write)

    @staticmethod
    def _ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def _count(self, parsed: dict[str, Any], **_: Any) -> None:
        consumed = parsed.get("ConsumedCapacity", [])
        parts = consumed if isinstance(consumed, list) else [consumed]
        self.calls += 1
        self.units += sum(part["CapacityUnits"] for part in parts)

    def _write(self, **_: Any) -> None:
        self.calls += 1

    def reset(self) -> None:
        """Count from zero."""
        self.calls, self.units = 0, 0.0


class WriteUnits:
    """Counts the write units of a client's transactions."""

    def __init__(self, client: Any) -> None:
        self.units = 0.0
        events = client.meta.events
        events.register("before-parameter-build.dynamodb.TransactWriteItems", self._ask)
        events.register("after-call.dynamodb.TransactWriteItems", self._count)

    @staticmethod
    def _ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def _count(self, parsed: dict[str, Any], **_: Any) -> None:
        self.units += sum(part["CapacityUnits"] for part in parsed.get("ConsumedCapacity", []))


class Clock:
    """The time that a client's calls take, of which our own code has none."""

    def __init__(self, client: Any) -> None:
        self.seconds = 0.0
        # botocore's events leave out what it does before and after the request.
        self._call = client._make_api_call
        client._make_api_call = self._timed

    def _timed(self, *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._call(*arguments)
        finally:
            self.seconds += time.perf_counter() - began
