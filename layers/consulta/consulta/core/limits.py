"""How often somebody may call, and how often they did: one write a request, and no read.

A row per caller and UTC hour has the requests of each minute (``m07``), of the hour (``n``) and of
each route (``r.P appointments/*/cancel``), the refused ones (``x``) and the member (``w``). The
write adds one to each, on condition that the minute is not full, and its answer says how full it
is. So what was refused is in ``x`` alone and never on a bill.

The limiter must not become the reason why nobody can work: where its table does not answer at once,
the request goes on uncounted, and the table is left alone for some seconds.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, settings, table
from consulta.core.errors import TooManyRequests
from consulta.core.identity import Account, Principal
from consulta.core.keys import Key, Tenant, caller_row, stranger_row
from consulta.core.observe import count, failure
from consulta.core.permissions import Role
from consulta.core.time import from_text, now, to_epoch

# Requests a minute. An address stands for whoever is behind it as long as nobody has signed in.
ANONYMOUS, API_KEY = 100, 600
LIMITS: dict[Role, int] = {
    Role.PATIENT: 120,
    Role.EXPERT: 300,
    Role.BILLING: 300,
    Role.VIEWER: 300,
    Role.CUSTOM: 300,
    Role.ADMIN: 600,
    Role.OWNER: 600,
    Role.OPERATOR: 1200,
}

TIMEOUT_S = 0.3
PAUSE_S = 5.0
# Figures of practices outlast a year's bills and their disputes; of others nobody asks.
KEPT, KEPT_WITHOUT_PRACTICE = timedelta(days=400), timedelta(days=2)
ROUTE = "r."
USED_BY_INDEX = "l1"
_MAX_FULL = 500
_VERBS = {"GET": "G", "POST": "P", "PUT": "U", "PATCH": "A", "DELETE": "D"}
_VERB_OF = {short: verb for verb, short in _VERBS.items()}
NO_ROUTE = "none"


class LimitSettings(settings.Settings):
    """Where requests are counted; empty where nobody counts."""

    counters_table: str = ""


class Caller(NamedTuple):
    """Whose requests are counted together, and how many a minute they may make.

    ``name`` is ``person:…`` or ``key:…``, or an address where nobody is signed in. ``member`` is
    whose bill it is on within the practice.
    """

    name: str
    limit: int
    tenant: Tenant | None = None
    member: str = ""
    is_stranger: bool = False

    def row(self, at: datetime) -> Key:
        """The counters of the hour of ``at``."""
        if self.is_stranger:
            return stranger_row(self.name, at)
        return self.tenant.usage_row(self.name, at) if self.tenant else caller_row(self.name, at)


def _name(person: str, key: str) -> str:
    return f"key:{key}" if key else f"person:{person}"


def of_principal(caller: Principal) -> Caller:
    """Somebody in a practice, or an operator."""
    limit = API_KEY if caller.key else LIMITS[caller.role]
    tenant = Tenant(caller.practice) if caller.practice else None
    return Caller(_name(caller.person, caller.key), limit, tenant, caller.member)


def of_account(account: Account) -> Caller:
    """Somebody signed in who is in no practice, or has named none."""
    limit = max((LIMITS[m.role] for m in account.memberships), default=LIMITS[Role.PATIENT])
    return Caller(_name(account.person, account.key), API_KEY if account.key else limit)


def of_address(address: str) -> Caller:
    """Somebody who is not signed in. An IPv6 customer has a whole /64 to call from."""
    if ":" in address:
        import ipaddress  # noqa: PLC0415  # rare

        try:
            address = str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
        except ValueError:
            address = "unknown"
    return Caller(address or "unknown", ANONYMOUS, is_stranger=True)


class Rate(NamedTuple):
    """What a caller is told: the minute's limit, what is left of it, seconds until the next."""

    limit: int
    remaining: int
    reset_s: int
    is_refused: bool = False

    def check(self) -> None:
        """Raises TooManyRequests for the request that found the minute full."""
        if self.is_refused:
            raise TooManyRequests(
                f"At most {self.limit} requests a minute: try again in {self.reset_s} s",
                extra={"retry_after": self.reset_s},
            )

    @property
    def headers(self) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers-07, the three that clients read."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


@dataclass(slots=True)
class _Memory:
    """Of this environment: when to ask again, and whose minute is known to be full.

    ``full`` maps a row and its minute to the refusals that are not written yet. It decides nothing
    that the table has not said, since a minute's count never falls.
    """

    asked_again_at: float = 0.0
    full: dict[tuple[Key, str, int], int] = field(default_factory=dict)

    def is_paused(self) -> bool:
        return time.monotonic() < self.asked_again_at

    def pause(self, error: Exception) -> None:
        self.asked_again_at = time.monotonic() + PAUSE_S
        failure("requests are not counted", error)
        count("LimiterPauses")

    def refused(self, minute: tuple[Key, str, int]) -> int:
        """One more refusal; gives how many are not written."""
        if minute not in self.full and len(self.full) >= _MAX_FULL:
            self.full.clear()
        self.full[minute] = self.full.get(minute, 0) + 1
        return self.full[minute]


_memory = _Memory()


def reset() -> None:
    """Forget the pause and the full minutes: for tests."""
    global _memory  # noqa: PLW0603  # one per environment
    _memory = _Memory()


def route_id(method: str, path: str) -> str:
    """A route as its counter's name: short, since a write costs by its item's size.

    ``POST``, ``/v1/appointments/{appointment_id}/cancel`` → ``P appointments/*/cancel``.
    """
    parts = ["*" if part[:1] in "<{" and part else part for part in path.split("/")]
    return f"{_VERBS.get(method, method)} {'/'.join(parts).removeprefix('/v1/')}"


def route_of(short: str) -> str:
    """The reverse of :func:`route_id`, without the parameters' names."""
    verb, _, path = short.partition(" ")
    full = f"{_VERB_OF.get(verb, verb)} /v1/{path.replace('*', '{id}')}"
    return full if path else short


def admit(caller: Caller, route: str, at: datetime | None = None) -> Rate | None:
    """Count a request of ``caller``, ``is_refused`` where the minute was full.

    None where nobody counts, or the table does not answer: the request then goes on.
    """
    name = settings.load(LimitSettings).counters_table
    if not name:
        return None
    at = at or now()
    row, minute, memory = caller.row(at), _minute(at), _memory
    full = (row, minute, caller.limit)
    if full in memory.full:
        _write_refusals(name, caller, at, memory.refused(full), full)
        return _rate(caller, caller.limit, at, is_refused=True)
    if memory.is_paused():
        return None
    try:
        answer = _client().update_item(**one_more(name, caller, at, route))
    except (BotoCoreError, ClientError) as error:
        if not _says_full(error):
            memory.pause(error)
            return None
        # Written with the next refusal: this request has had its one write.
        memory.refused(full)
        return _rate(caller, caller.limit, at, is_refused=True)
    return _rate(caller, int(answer["Attributes"][minute]["N"]), at)


def _client() -> Any:
    return aws.client("dynamodb", TIMEOUT_S, 0)


def _says_full(error: Exception) -> bool:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return code == "ConditionalCheckFailedException"


def _rate(caller: Caller, used: int, at: datetime, *, is_refused: bool = False) -> Rate:
    return Rate(caller.limit, max(0, caller.limit - used), 60 - at.second, is_refused)


def _stamps(caller: Caller, at: datetime) -> dict[str, Any]:
    """What every write sets again, to the same: no write has to be a row's first."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    kept = KEPT if caller.tenant else KEPT_WITHOUT_PRACTICE
    found: dict[str, Any] = {"expires_at": to_epoch(hour + kept)}
    if caller.member:
        found["w"] = caller.member
    if caller.tenant and caller.name.startswith("key:"):
        # A list of a key's hours, newest first. Its own write happens once an hour, not with every
        # count: the index projects keys alone.
        found["l1pk"] = caller.tenant.used_by(caller.name)
        found["l1sk"] = hour.isoformat()[:13]
    return found


def _minute(at: datetime) -> str:
    return f"m{at.minute:02d}"


def one_more(name: str, caller: Caller, at: datetime, route: str) -> dict[str, Any]:
    """The UpdateItem that counts one request in the table ``name``, unless its minute is full."""
    minute = _minute(at)
    action = table.update(
        caller.row(at),
        set_=_stamps(caller, at),
        add={minute: 1, "n": 1, f"{ROUTE}{route}": 1},
        condition="attribute_not_exists(#minute) OR #minute < :limit",
        names={"#minute": minute},
        values={":limit": caller.limit},
        table=name,
    )
    request = {**action.request, "ReturnValues": "UPDATED_NEW"}
    del request["ReturnValuesOnConditionCheckFailure"]
    return request


def _write_refusals(
    name: str, caller: Caller, at: datetime, refusals: int, full: tuple[Key, str, int]
) -> None:
    memory = _memory
    if memory.is_paused():
        return
    action = table.update(caller.row(at), set_=_stamps(caller, at), add={"x": refusals}, table=name)
    try:
        _client().update_item(**action.request)
    except (BotoCoreError, ClientError):
        # They stay in memory and are written with the next. No pause: a row that is throttled by
        # who is over the limit must not switch the limit off for the others.
        return
    memory.full[full] = 0


def last_used(practice: str, principal: str) -> datetime | None:
    """The last minute in which an API key (``key:<id>``) was used in a practice; None if never.

    Two queries of one row each, by the list of the key's hours; it looks as far back as rows are
    kept. A use within the last second may be missing (the list is eventually consistent).
    """
    name = settings.load(LimitSettings).counters_table
    if not name:
        return None
    hours = table.Query(
        Tenant(practice).used_by(principal), index=USED_BY_INDEX, newest_first=True, table=name
    )
    for listed in hours.page(1).items:
        row = Key(listed["pk"]["S"], listed["sk"]["S"])
        for raw in table.Query(row.pk, low=row.sk, high=row.sk, table=name).page(1).items:
            start = from_text(f"{listed['l1sk']['S']}:00:00+00:00")
            return start + timedelta(minutes=_last_minute(raw))
    return None


def _last_minute(names: Iterable[str]) -> int:
    """The last minute that a row has; a row of nothing but refusals stands for its first."""
    return max(
        (int(n[1:]) for n in names if len(n) == 3 and n[0] == "m" and n[1:].isdigit()), default=0
    )
