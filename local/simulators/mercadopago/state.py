"""What the Mercado Pago simulator remembers: sellers, tokens, payments, preferences."""

import hashlib
import hmac
import itertools
import json
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from local.simulators.control import Fault
from local.simulators.delivery import Message, Outbox, Settings
from local.simulators.idempotency import IdempotencyKeys
from local.simulators.mercadopago.errors import unauthorized

MAX_OBJECTS = 10_000
PLATFORM_ID = 100_000_001
PLATFORM_TOKEN = "APP_USR-platform"  # as is every TEST- token
APPLICATION_ID = 7_000_000_001
CODE_LIFETIME_S = 600
# The provider writes its times at UTC-4.
ZONE = timezone(timedelta(hours=-4))
# site -> currency and its decimals here
SITES = {
    "MLA": ("ARS", 2),
    "MLB": ("BRL", 2),
    "MLC": ("CLP", 0),
    "MLM": ("MXN", 2),
    "MLU": ("UYU", 2),
    "MPE": ("PEN", 2),
}

Object = dict[str, Any]


@dataclass
class Seller:
    user_id: int
    name: str
    site: str = "MLM"
    access_tokens: set[str] = field(default_factory=set)
    refresh_token: str = ""


def stamp(moment: datetime | None = None) -> str:
    moment = (moment or datetime.now(UTC)).astimezone(ZONE)
    return moment.isoformat(timespec="milliseconds")


def to_json(value: Any) -> str:
    """Decimals become JSON numbers, whole ones without a fraction, as the provider writes them."""

    def number(item: Any) -> int | float:
        if not isinstance(item, Decimal):
            raise TypeError(f"cannot write {type(item).__name__}")
        return int(item) if item == item.to_integral_value() else float(item)

    return json.dumps(value, default=number, ensure_ascii=False)


def sign_notification(event: Object, settings: Settings) -> Message:
    """`id:{data.id};request-id:{x-request-id};ts:{ts};` by HMAC-SHA256; data.id is in the query.

    The body is not signed. `ts` is in milliseconds or, with signature_ts "s", in seconds.
    """
    # A fraud alert has no id of its own: then the pair is left out, and the query has none.
    data_id, request_id = str(event["data"].get("id") or ""), secrets.token_hex(16)
    ts = str(int(time.time() * (1000 if settings.signature_ts == "ms" else 1)))
    named = f"id:{data_id};" if data_id else ""
    manifest = f"{named}request-id:{request_id};ts:{ts};"
    digest = hmac.new(settings.webhook_secret.encode(), manifest.encode(), hashlib.sha256)
    base = settings.webhook_url or ""
    joint = "&" if urlsplit(base).query else "?"
    query = ({"data.id": data_id} if data_id else {}) | {"type": event["type"]}
    url = base + joint + urlencode(query)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "MercadoPago WebHook v1.0 payment",
        "x-request-id": request_id,
        "x-signature": f"ts={ts},v1={digest.hexdigest()}",
    }
    return Message(url, headers, to_json(event).encode())


class State:
    """Everything behind one lock, which each API call holds."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.outbox = Outbox(sign_notification)
        self.faults: list[Fault] = []
        self.keys = IdempotencyKeys()
        self.reset()

    def reset(self) -> None:
        self._ids = itertools.count(120_000_000_001)
        self.platform = Seller(PLATFORM_ID, "platform")
        self.sellers: dict[str, Seller] = {}
        self.codes: dict[str, tuple[Seller, float]] = {}
        self.payments: OrderedDict[int, Object] = OrderedDict()
        self.preferences: OrderedDict[str, Object] = OrderedDict()
        self.orders: OrderedDict[int, Object] = OrderedDict()
        self.chargebacks: OrderedDict[str, Object] = OrderedDict()
        self.claims: OrderedDict[str, Object] = OrderedDict()
        self.keys.clear()

    def next_id(self) -> int:
        return next(self._ids)

    def keep[Key](self, kept: OrderedDict[Key, Object], key: Key, obj: Object) -> Object:
        kept[key] = obj
        while len(kept) > MAX_OBJECTS:
            kept.popitem(last=False)
        return obj

    def seller_named(self, name: str, site: str) -> Seller:
        if name not in self.sellers:
            self.sellers[name] = Seller(PLATFORM_ID + 1 + len(self.sellers), name, site)
        return self.sellers[name]

    def caller(self, access_token: str) -> Seller:
        """Whose token it is: one given out by OAuth, or the platform's own."""
        for seller in self.sellers.values():
            if access_token in seller.access_tokens:
                return seller
        if access_token.startswith("TEST-") or access_token == PLATFORM_TOKEN:
            return self.platform
        raise unauthorized()

    def new_tokens(self, seller: Seller) -> Object:
        """A fresh pair; the refresh token before it is worth nothing from now on."""
        access = f"APP_USR-{APPLICATION_ID}-{secrets.token_hex(16)}-{seller.user_id}"
        seller.access_tokens.add(access)
        seller.refresh_token = f"TG-{secrets.token_hex(12)}-{seller.user_id}"
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": 15_552_000,
            "scope": "offline_access payments read write",
            "user_id": seller.user_id,
            "refresh_token": seller.refresh_token,
            "public_key": f"APP_USR-{secrets.token_hex(16)}",
            "live_mode": False,
        }

    def notify(self, kind: str, action: str, data_id: str, user_id: int) -> None:
        event = {
            "action": action,
            "api_version": "v1",
            "data": {"id": data_id},
            "date_created": stamp(),
            "id": self.next_id(),
            "live_mode": False,
            "type": kind,
            "user_id": str(user_id),
        }
        self.outbox.emit(str(event["id"]), event)

    def notify_payment(self, payment: Object, action: str) -> None:
        payment["date_last_updated"] = stamp()
        self.notify("payment", action, str(payment["id"]), payment["collector_id"])

    def visible(self, caller: Seller, payment_id: str) -> Object | None:
        """A payment, for its seller and for the platform that made it; nobody else sees it."""
        payment = self.payments.get(int(payment_id)) if payment_id.isdigit() else None
        mine = payment and caller.user_id in (payment["collector_id"], PLATFORM_ID)
        return payment if mine else None
