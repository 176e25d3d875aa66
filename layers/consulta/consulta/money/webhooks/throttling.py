"""A provider that has had enough of us (429): a token bucket per account, kept by each worker.

Source: MONEY_AND_BOOKING_RULES §5. Full, a bucket lets an event of its account through for each
token; a 429 empties it, halves its rate and closes it for as long as the provider asks. Each event
that was done raises the rate again, up to what it was. What gets no token goes back into the queue
with a delay, and counts as no try.

A bucket lives as long as its worker: there is no table to ask, and no write per event. Several
workers learn each by itself; each one that still hears 429 halves its own rate, so that together
they come down to what the provider takes.
"""

import time
from dataclasses import dataclass
from functools import lru_cache

from consulta.core.errors import ProviderFailed

# Events a second and at once, of one account by one worker: more than a worker gets through.
RATE, BURST = 200.0, 400.0
# A rate never falls below one event in so many seconds, and rises by this with each event done.
LOWEST_RATE, RISE = 1 / 60, 1.0
# Where the provider does not say for how long, and how much of what it says is believed.
PAUSE_S, MAX_PAUSE_S = 5.0, 900.0
BUCKETS = 1000
_ROUNDING = 1e-9


class RateLimited(ProviderFailed):
    """429: the same call is right, and too early. ``after_s`` is what the provider asks for."""

    def __init__(self, after_s: float = 0.0) -> None:
        super().__init__()
        self.after_s = after_s


def seconds(retry_after: str | None) -> float:
    """A ``Retry-After`` in seconds; 0 for none, and for a date, which neither provider sends."""
    text = (retry_after or "").strip()
    plain = text.isascii() and text.isdigit() and len(text) <= len("86400")
    return float(text) if plain else 0.0


@dataclass
class Bucket:
    """One account's tokens. Times are of a monotonic clock, in seconds."""

    tokens: float
    at: float
    rate: float = RATE
    closed_until: float = 0.0

    def take(self, at: float) -> float:
        """0 where there is a token, which is taken; else in how many seconds to come again."""
        if at < self.closed_until:
            return self.closed_until - at
        self.tokens = min(BURST, self.tokens + max(0.0, at - self.at) * self.rate)
        self.at = at
        if self.tokens < 1 - _ROUNDING:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0

    def refused(self, at: float, after_s: float) -> float:
        """The provider said 429; in how many seconds to come again."""
        wait = min(after_s or PAUSE_S, MAX_PAUSE_S)
        self.tokens, self.at = 0.0, at + wait
        self.rate = max(self.rate / 2, LOWEST_RATE)
        self.closed_until = at + wait
        return wait + 1 / self.rate

    def done(self) -> None:
        """One event was let through and done."""
        self.rate = min(RATE, self.rate + RISE)


@lru_cache(maxsize=BUCKETS)
def bucket_of(provider: str, account: str) -> Bucket:  # noqa: ARG001  # they are the cache's key
    """The bucket of an account, "" for the platform's own."""
    return Bucket(BURST, time.monotonic())
