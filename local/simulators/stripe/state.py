"""What the Stripe simulator remembers: objects per account, events, idempotency keys."""

import copy
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from stripe import WebhookSignature

from local.simulators.control import Fault
from local.simulators.delivery import Message, Outbox, Settings
from local.simulators.idempotency import IdempotencyKeys
from local.simulators.later import Later
from local.simulators.stripe import objects
from local.simulators.stripe.errors import invalid_request, missing

MAX_OBJECTS = 10_000  # of one kind in one account; the oldest is forgotten
APPLICATION = "ca_LocalSimulator"

Object = dict[str, Any]


@dataclass
class Call:
    """One API call: the account it acts in (None is the platform) and its checked parameters."""

    account: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    base_url: str = ""
    path: str = ""


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


class State:
    """Everything behind one lock, which each API call and each delayed task holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.outbox = Outbox(self._sign, heard=lambda event: self._endpoint(event) is not None)
        self.faults: list[Fault] = []
        self.later = Later("settlement")
        self.keys = IdempotencyKeys()
        self.request: dict[str, str | None] = {"id": None, "idempotency_key": None}
        # What an account keeps in another currency: by currency, into which one, and the rate.
        self.exchanges: dict[str | None, dict[str, tuple[str, Decimal]]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}  # what a paid Checkout makes its intent of
        self.sessions_by_intent: dict[str, str] = {}
        # payout -> the balance transactions that it has paid out
        self.paid_out: dict[str, list[str]] = {}
        # Webhook endpoints made through the API, the newest first, and what each signs with. Never
        # changed, only replaced: the threads that deliver read it without the lock.
        self.endpoints: tuple[Object, ...] = ()
        self.endpoint_secrets: dict[str, str] = {}
        self._objects: dict[tuple[str | None, str], OrderedDict[str, Object]] = {}

    def _endpoint(self, event: Object) -> Object | None:
        """Of those made through the API the newest that hears of a snapshot event."""
        if event["object"] != "event":
            return None
        for endpoint in self.endpoints:
            takes = {"*", event["type"]} & set(endpoint["enabled_events"])
            is_connect = endpoint["application"] is not None
            if takes and endpoint["status"] == "enabled" and is_connect == ("account" in event):
                return endpoint
        return None

    def _sign(self, event: Object, settings: Settings) -> Message:
        body = event | {"pending_webhooks": 1}
        secret, url = settings.webhook_secret, settings.webhook_url or ""
        if "account" in event:
            secret = settings.connect_webhook_secret or secret
        if endpoint := self._endpoint(event):
            body["api_version"] = endpoint["api_version"] or objects.API_VERSION
            secret, url = self.endpoint_secrets[endpoint["id"]], endpoint["url"]
        text = to_json(body)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": WebhookSignature.generate_signature_header(text, secret),
        }
        return Message(url, headers, text.encode())

    def reset(self) -> None:
        self.later.clear()
        self.keys.clear()
        self.sessions.clear()
        self.paid_out.clear()
        self.sessions_by_intent.clear()
        self.exchanges.clear()
        self.endpoints = ()
        self.endpoint_secrets = {}
        self._objects.clear()

    def put(self, account: str | None, obj: Object) -> Object:
        kept = self._objects.setdefault((account, obj["object"]), OrderedDict())
        kept[obj["id"]] = obj
        while len(kept) > MAX_OBJECTS:
            kept.popitem(last=False)
        return obj

    def find(self, account: str | None, kind: str, object_id: str | None) -> Object | None:
        kept = self._objects.get((account, kind))
        return kept.get(object_id or "") if kept else None

    def get(self, account: str | None, kind: str, object_id: str, param: str = "id") -> Object:
        obj = self.find(account, kind, object_id)
        if obj is None:
            raise missing(kind, object_id, param)
        return obj

    def remember_session(self, session_id: str, data: dict[str, Any]) -> None:
        self.sessions[session_id] = data
        while len(self.sessions) > MAX_OBJECTS:
            del self.sessions[next(iter(self.sessions))]

    def remove(self, account: str | None, kind: str, object_id: str) -> Object:
        self.get(account, kind, object_id)
        return self._objects[account, kind].pop(object_id)

    def all(self, account: str | None, kind: str) -> list[Object]:
        """Newest first, as Stripe lists."""
        return list(reversed(self._objects.get((account, kind), {}).values()))

    def where(self, kind: str, object_id: str) -> tuple[str | None, Object]:
        """The account that holds an object, for control calls, which name no account."""
        for (account, held), kept in self._objects.items():
            if held == kind and object_id in kept:
                return account, kept[object_id]
        raise missing(kind, object_id)

    def expandable(self, account: str | None, object_id: str) -> Object | None:
        for (owner, _), kept in self._objects.items():
            if owner == account and object_id in kept:
                return kept[object_id]
        return None

    def exchanged(
        self, account: str | None, amount: int, currency: str
    ) -> tuple[int, str, Decimal | None]:
        """An amount as an account's balance keeps it: amount, currency, and the rate if any."""
        into, rate = self.exchanges.get(account, {}).get(currency, (currency, None))
        if rate is None:
            return amount, currency, None
        return int((amount * rate).quantize(Decimal(1), ROUND_HALF_UP)), into, rate

    def emit(
        self,
        account: str | None,
        event_type: str,
        obj: Object,
        previous: dict[str, Any] | None = None,
    ) -> None:
        """Records an event with a snapshot of the object and hands it to delivery."""
        data: dict[str, Any] = {"object": copy.deepcopy(obj)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = objects.new(
            "event",
            type=event_type,
            api_version=objects.API_VERSION,
            data=data,
            pending_webhooks=0,
            request=dict(self.request),
        )
        if account is not None:
            event["account"] = account
        self.put(account, event)
        self.outbox.emit(event["id"], event)

    def after(self, delay_ms: int, function: Any, *args: Any) -> None:
        """Runs function(self, *args) later, under the lock and outside of any request."""

        def run() -> None:
            with self.lock:
                self.request = {"id": None, "idempotency_key": None}
                function(self, *args)

        self.later.run(delay_ms / 1000, run)


def listed(state: State, call: Call, kind: str, filters: tuple[str, ...] = ()) -> Object:
    """A page of a kind, newest first: limit, starting_after, ending_before, created, filters."""
    handled = {"created", "ending_before", "limit", "starting_after", *filters}
    for name in sorted(set(call.params) - handled):
        raise invalid_request(f"This simulator cannot filter by {name}.", param=name)
    found = [
        obj
        for obj in state.all(call.account, kind)
        if all(obj.get(f) == call.params[f] for f in filters if f in call.params)
        and created_matches(obj.get("created", 0), call.params.get("created"))
    ]
    return paged(call, found)


def paged(call: Call, found: list[Object]) -> Object:
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid_request("Invalid limit: must be between 1 and 100", param="limit")
    ids = [obj["id"] for obj in found]
    if after := call.params.get("starting_after"):
        found = found[_position(ids, after, "starting_after") + 1 :]
        return objects.page(call.path, found[:limit], has_more=len(found) > limit)
    if before := call.params.get("ending_before"):
        found = found[: _position(ids, before, "ending_before")]
        return objects.page(call.path, found[-limit:], has_more=len(found) > limit)
    return objects.page(call.path, found[:limit], has_more=len(found) > limit)


def _position(ids: list[str], object_id: str, param: str) -> int:
    if object_id not in ids:
        raise missing("object", object_id, param)
    return ids.index(object_id)


def created_matches(created: int, wanted: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, int):
        return created == wanted
    tests = {
        "gt": created.__gt__,
        "gte": created.__ge__,
        "lt": created.__lt__,
        "lte": created.__le__,
    }
    return all(tests[name](bound) for name, bound in wanted.items())


def expanded(state: State, account: str | None, obj: Object, paths: list[str]) -> Object:
    """A copy with ids replaced by their objects along each dotted path, as `expand` asks."""
    result = copy.deepcopy(obj)
    for path in paths:
        _expand(state, account, result, path.split("."), path)
    return result


def _expand(state: State, account: str | None, obj: Object, parts: list[str], path: str) -> None:
    head, *rest = parts
    if head not in obj:
        raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")
    value = obj[head]
    if isinstance(value, str):
        found = state.expandable(account, value) or state.find(None, "account", value)
        if found is None:
            raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")
        value = obj[head] = copy.deepcopy(found)
    for item in value if isinstance(value, list) else [value]:
        if rest and isinstance(item, dict):
            _expand(state, account, item, rest, path)
