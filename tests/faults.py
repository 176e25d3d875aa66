"""Faults that no local engine makes, injected into a botocore client by its own event hooks.

    with Faults(client) as faults:
        faults.next("TransactWriteItems", faults.conflict)        # refused, nothing was written
        faults.next("TransactWriteItems", faults.lost_answer)     # written, but nobody hears of it
        faults.next("BatchGetItem", faults.unprocessed)           # a part of the keys, the rest not
        …

Each fault is used up by one call of its operation, in the order given; calls without one go through
to the engine, whose conditions are real. Nothing here is applied on its own account: a fault is
either an answer given instead of a call, or a real answer that is changed or withheld. Botocore's
own retries are behind the hooks: what is injected is what is left after them.

The faults: ``conflict`` (TransactionConflict), ``throttle`` (of a transaction's part),
``throttled_call`` (of a whole call), ``crash_before`` and ``crash_after`` (the process dies:
``Crash``), ``lost_call`` (no connection, not applied), ``lost_answer`` (applied, then a timeout),
``unprocessed`` (every second key of a BatchGetItem is left out) and ``meanwhile(act)`` (somebody
else acts between our reading and this call, which then goes through).
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

URL = "https://dynamodb.us-east-1.amazonaws.com/"
BEFORE, AFTER = "before-call.dynamodb", "after-call.dynamodb"


class Crash(BaseException):
    """The process is gone: nothing in the code under test may catch this."""


@dataclass(frozen=True)
class Fault:
    """Either what is answered instead of the call, or what becomes of its answer."""

    instead: Callable[[Any], Any] | None = None
    afterwards: Callable[[dict[str, Any]], None] | None = None


def _refusal(code: str, **more: Any) -> tuple[AWSResponse, dict[str, Any]]:
    body = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **more,
    }
    return AWSResponse(URL, 400, {}, None), body


def _cancelled(reason: str) -> Fault:
    """A transaction of which the last part gives the reason, and the others none."""

    def refuse(request: Any) -> Any:
        others = len(json.loads(request["body"])["TransactItems"]) - 1
        reasons = [*({"Code": "None"} for _ in range(others)), {"Code": reason}]
        return _refusal("TransactionCanceledException", CancellationReasons=reasons)

    return Fault(instead=refuse)


def _raising(error: Callable[[], BaseException]) -> Callable[[Any], Any]:
    def raise_it(_: Any) -> None:
        raise error()

    return raise_it


def _leave_out(parsed: dict[str, Any]) -> None:
    for name, items in parsed.get("Responses", {}).items():
        left_out, parsed["Responses"][name] = items[1::2], items[0::2]
        if left_out:
            keys = [{"pk": item["pk"], "sk": item["sk"]} for item in left_out]
            parsed["UnprocessedKeys"] = {name: {"Keys": keys, "ConsistentRead": True}}


@dataclass
class Faults:
    """The faults of one client; used as a context manager, which takes its hooks out again."""

    client: Any
    planned: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    happened: int = 0
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    conflict = _cancelled("TransactionConflict")
    throttle = _cancelled("ThrottlingError")
    refused = _cancelled("ValidationError")
    throttled_call = Fault(instead=lambda _: _refusal("ThrottlingException"))
    lost_call = Fault(instead=_raising(lambda: EndpointConnectionError(endpoint_url=URL)))
    lost_answer = Fault(afterwards=_raising(lambda: ReadTimeoutError(endpoint_url=URL)))
    crash_before = Fault(instead=_raising(Crash))
    crash_after = Fault(afterwards=_raising(Crash))
    unprocessed = Fault(afterwards=_leave_out)

    @staticmethod
    def meanwhile(act: Callable[[], object]) -> Fault:
        """Another writer, at the worst moment: what a race of two looks like every time."""

        def first(_: Any) -> None:
            act()

        return Fault(instead=first)

    def next(self, operation: str, *faults: Fault) -> None:
        """Plan faults for the next calls of ``operation``."""
        self.planned[operation].extend(faults)

    def forget(self) -> None:
        """Drop what has not happened yet."""
        self.planned.clear()

    def __enter__(self) -> Self:
        self.client.meta.events.register(BEFORE, self._before)
        self.client.meta.events.register(AFTER, self._after)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.meta.events.unregister(BEFORE, self._before)
        self.client.meta.events.unregister(AFTER, self._after)

    def _before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        self.calls[model.name] += 1
        planned = self.planned[model.name]
        fault = planned.popleft() if planned else Fault()
        context["fault"] = fault
        self.happened += fault != Fault()
        return fault.instead(params) if fault.instead else None

    def _after(self, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        fault = context.get("fault", Fault())
        if fault.afterwards is not None:
            fault.afterwards(parsed)


@dataclass
class Outage:
    """One table, or one index of it, is down as long as the ``with`` block lives.

        with Outage(client, "core", "l2-index"):         # refuses every call
        with Outage(client, "aggregates", hangs=True):   # answers none: calls hang, then are lost

    ``index`` is empty for reads by the table's own keys. Other tables and indexes answer as ever.
    ``after`` calls go through before it begins. ``happened`` is how many calls met it.
    """

    client: Any
    table: str
    index: str = ""
    hangs: bool = False
    after: int = 0
    happened: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _was_waited_for: bool = False

    def __enter__(self) -> Self:
        self.client.meta.events.register(BEFORE, self._before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.meta.events.unregister(BEFORE, self._before)
        self._over.set()

    @property
    def hanging(self) -> bool:
        """Whether calls still hang: not once one was waited for till its client gave it up."""
        return self.hangs and not self._over.is_set() and not self._was_waited_for

    def _before(self, params: dict[str, Any], **_: Any) -> Any:
        body = json.loads(params["body"])
        tables = {body.get("TableName"), *body.get("RequestItems", ())}
        if self.table not in tables or body.get("IndexName", "") != self.index:
            return None
        if self.after:
            self.after -= 1
            return None
        self.happened += 1
        if self.hangs:
            self._was_waited_for |= not self._over.wait(60)
            raise ReadTimeoutError(endpoint_url=URL)
        return _refusal("InternalServerError")
