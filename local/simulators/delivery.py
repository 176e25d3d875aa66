"""Webhook delivery: signed, retried, and duplicated, reordered, held or crowded when asked."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from local.simulators.later import Later

TRIES = 5
TIMEOUT_S = 22  # Mercado Pago's limit for an answer; Stripe's is of the same order
REORDER_WINDOW_S = 1.0  # longer than the settlement delay, so that charge.updated overtakes
MAX_EVENTS = 50_000
# As many at once where no order is kept: providers deliver from many machines.
AT_ONCE = 8
MODES = ("once", "twice", "reordered", "hold")


@dataclass
class Settings:
    """What POST /_control/config sets."""

    webhook_url: str | None = None
    webhook_secret: str = "whsec_local"
    connect_webhook_secret: str | None = None
    deliveries: str = "once"
    in_turn: bool = True
    retry_base_ms: int = 500
    settle_ms: int = 300
    signature_ts: str = "ms"
    refund_replay: str = "stored"


@dataclass(frozen=True)
class Message:
    """One signed HTTP request; made anew for every try, as the providers do."""

    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Emission:
    """One event with what became of it.

    state: not_configured (no webhook_url) | held | queued | delivered | failed.
    """

    id: str
    event: dict[str, Any]
    state: str = "queued"
    deliveries: list[dict[str, Any]] = field(default_factory=list)


Sign = Callable[[dict[str, Any], Settings], Message]


class Outbox:
    """Keeps every event and delivers it from a background thread, in order of emission.

    Or from several in no order, where ``in_turn`` is set to false.
    ``addressed``: each event names its own address, whatever webhook_url is. ``heard``: whether an
    event has another address than that. ``retried``: the statuses after which it is tried again;
    None is every one that is no success.
    """

    def __init__(
        self,
        sign: Sign,
        *,
        addressed: bool = False,
        heard: Callable[[dict[str, Any]], bool] = lambda _: False,
        retried: frozenset[int] | None = None,
    ) -> None:
        self.settings = Settings()
        self._sign = sign
        self._addressed = addressed
        self._heard = heard
        self._retried = retried
        self._later = Later("webhooks")
        self._crowd = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhooks")
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy knows nothing of this machine's own addresses
        self._lock = threading.RLock()
        self._emissions: OrderedDict[str, Emission] = OrderedDict()
        self._held: list[Emission] = []
        self._window_open = False

    def emit(self, event_id: str, event: dict[str, Any]) -> None:
        with self._lock:
            emission = self._emissions[event_id] = Emission(event_id, event)
            while len(self._emissions) > MAX_EVENTS:
                self._emissions.popitem(last=False)
            mode = self.settings.deliveries
            if not self._has_address(event):
                emission.state = "not_configured"
            elif mode in ("hold", "reordered"):
                emission.state = "held"
                self._held.append(emission)
                if mode == "reordered" and not self._window_open:
                    self._window_open = True
                    self._later.run(REORDER_WINDOW_S, self._close_window)
            else:
                for _ in range(2 if mode == "twice" else 1):
                    self._queue(emission)

    def _close_window(self) -> None:
        with self._lock:
            self._window_open = False
            self.flush("reversed")

    def flush(self, order: str = "emitted") -> int:
        """Delivers what is held and says how many events that was."""
        with self._lock:
            held, self._held = self._held, []
            for emission in reversed(held) if order == "reversed" else held:
                self._queue(emission)
            return len(held)

    def send(self, event_id: str) -> bool:
        """Delivers one event again, freshly signed; false when it is not known."""
        with self._lock:
            emission = self._emissions.get(event_id)
            if emission is not None:
                self._queue(emission)
            return emission is not None

    def emissions(self) -> list[Emission]:
        with self._lock:
            return list(self._emissions.values())

    def state_of(self, event_id: str) -> str | None:
        with self._lock:
            emission = self._emissions.get(event_id)
            return emission.state if emission else None

    def reset(self) -> None:
        with self._lock:
            self._later.clear()
            self._emissions.clear()
            self._held.clear()
            self._window_open = False
            self.settings = Settings()

    def _has_address(self, event: dict[str, Any]) -> bool:
        known = self._addressed or self.settings.webhook_url is not None
        return known or self._heard(event)

    def _queue(self, emission: Emission) -> None:
        emission.state = "queued"
        if self.settings.in_turn:
            self._later.run(0, lambda: self._deliver(emission, 1))
        else:
            self._crowd.submit(self._deliver, emission, 1)

    def _deliver(self, emission: Emission, attempt: int) -> None:
        settings = self.settings
        with self._lock:
            if self._emissions.get(emission.id) is not emission:
                return  # forgotten by a reset
            if not self._has_address(emission.event):
                emission.state = "not_configured"
                return
            message = self._sign(emission.event, settings)
        result: dict[str, Any] = {"at": time.time(), "attempt": attempt}
        try:
            answer = self._http.post(
                message.url,
                data=message.body,
                headers=message.headers,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
            result["status"] = answer.status_code
            delivered = 200 <= answer.status_code < 300
        except requests.RequestException as error:
            result["error"] = type(error).__name__
            delivered = False
        with self._lock:
            emission.deliveries.append(result)
            if delivered:
                emission.state = "delivered"
            elif attempt == TRIES or not self._is_retried(result.get("status")):
                emission.state = "failed"
            else:
                backoff_s = settings.retry_base_ms / 1000 * 2 ** (attempt - 1)
                self._later.run(backoff_s, lambda: self._deliver(emission, attempt + 1))

    def _is_retried(self, status: int | None) -> bool:
        """No status is no answer, which may be one the next time."""
        return status is None or self._retried is None or status in self._retried
