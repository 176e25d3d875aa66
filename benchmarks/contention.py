"""Several readers of the stream on one practice: whether its rows have to be sharded.

The core table's shards are read side by side, and each batch adds to the same rows of its practice.
The engine takes one transaction after the other, so conflicts are made here as DynamoDB defines
them: a transaction lasts ``TRANSACTION_S``, and one that touches a row of another under way is
refused. Readers share one interpreter, whose time is in the figures, too.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from benchmarks.entry import Entry
from benchmarks.lives import FLOW, Life, apply_records
from benchmarks.practice import Practice
from consulta.core.ids import new_id

READERS, BATCH = 4, 50
# Rather more than DynamoDB takes for a transaction of many rows.
TRANSACTION_S = 0.06
# Of one reader's rate: several on one practice gain nothing, but must not keep each other from it.
BAR = 0.5


class _Transactions:
    """Those under way; refuses whatever touches a row of theirs."""

    def __init__(self, client: Any) -> None:
        self.refused = self.all = 0
        self._call, self._client = client._make_api_call, client
        self._lock, self._rows = threading.Lock(), set[tuple[str, str, str]]()

    @contextmanager
    def conflicting(self) -> Iterator[None]:
        """As long as the ``with`` block lives."""
        self._client._make_api_call = self._made
        try:
            yield
        finally:
            self._client._make_api_call = self._call

    def _made(self, operation: str, request: dict[str, Any]) -> Any:
        if operation != "TransactWriteItems":
            return self._call(operation, request)
        rows = {_row(action) for action in request["TransactItems"]}
        with self._lock:
            self.all += 1
            if rows & self._rows:
                self.refused += 1
                raise self._conflict(operation, len(rows))
            self._rows |= rows
        try:
            began = time.perf_counter()
            answer = self._call(operation, request)
            time.sleep(max(0.0, began + TRANSACTION_S - time.perf_counter()))
            return answer
        finally:
            with self._lock:
                self._rows -= rows

    def _conflict(self, operation: str, rows: int) -> ClientError:
        error: ClientError = self._client.exceptions.TransactionCanceledException(
            {
                "Error": {"Code": "TransactionCanceledException", "Message": "conflict"},
                "CancellationReasons": [{"Code": "TransactionConflict"}] * rows,
            },
            operation,
        )
        return error


def _row(action: dict[str, Any]) -> tuple[str, str, str]:
    (what,) = action.values()
    key = what.get("Key") or what["Item"]
    return what["TableName"], key["pk"]["S"], key["sk"]["S"]


def run(client: Any, practices: list[Practice]) -> Iterator[Entry]:
    """dashboards.contention_*: readers of one practice, of as many practices, and one alone."""
    alone, _ = _rate(client, practices[:1])
    same, refused = _rate(client, practices[:1] * READERS)
    apart, _ = _rate(client, practices)
    yield Entry.at_least("dashboards.contention_alone", alone, "records/s of one reader")
    unit = f"× one's, {READERS} readers of one practice, {refused:.0%} refused"
    yield Entry.at_least("dashboards.contention_same", same / alone, unit, BAR)
    unit = f"× one's, {READERS} readers of {READERS} practices"
    yield Entry.at_least("dashboards.contention_apart", apart / alone, unit)


def _rate(client: Any, practices: list[Practice]) -> tuple[float, float]:
    """Records a second of a reader for each of them, and the share of transactions refused."""
    transactions = _Transactions(client)
    # Each reader's appointments are of other patients, as in a practice that is that busy.
    own = [replace(one, patients=[new_id("pat") for _ in range(BATCH)]) for one in practices]
    lives = [[Life(one, number) for number in range(BATCH)] for one in own]

    def read(batch: list[Life]) -> None:
        for status in FLOW:
            apply_records([life.becomes(status) for life in batch])

    with transactions.conflicting(), ThreadPoolExecutor(len(practices)) as pool:
        began = time.perf_counter()
        list(pool.map(read, lives))
        took = time.perf_counter() - began
    return len(FLOW) * BATCH * len(practices) / took, transactions.refused / transactions.all
