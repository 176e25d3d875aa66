"""One day's run: every account of every practice, and the platform's own last.

Source: MONEY_AND_BOOKING_RULES §8. A run looks at three days and its own, and further back where a
difference is still open. It keeps its place after each account, so that what did not fit into one
invocation is gone on with by the next; an account that fails, or is too much for a whole
invocation, holds up no other.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from consulta.core import keys, settings, table
from consulta.core.errors import Problem
from consulta.core.item import Actor
from consulta.core.keys import Tenant, tenant_of
from consulta.core.observe import count, failure, logger
from consulta.core.time import now, to_text
from consulta.money.accounts.payout_effects import PLATFORM_TENANT
from consulta.money.reconciliation import accounts, ledger_side, storing
from consulta.money.reconciliation.accounts import Look
from consulta.money.reconciliation.ledger_side import Balances
from consulta.money.reconciliation.matching import Difference, Event, Kind
from consulta.money.reconciliation.records import (
    ASKED,
    FINISHED,
    RECONCILIATION,
    RUNNING,
    OutOfTime,
    RunItem,
    run_key,
)
from consulta.money.records import PAYEE, PayeeItem, Provider
from consulta.money.stripe.client import AccountUnreachable
from consulta.money.webhooks import replay


class Mode(settings.Settings):
    """Of which mode this stage's events are."""

    live_mode: bool = False


DAYS_BACK = 3
# What an open difference may hold a run's time open for, and what Stripe is asked at once at most.
FARTHEST = timedelta(days=30)
# A clock of theirs is not ours; what is younger than this may still be written.
YOUNG = timedelta(minutes=2)
# The scheduled run does not begin before this hour (UTC): the day before is over everywhere then.
BEGINS_AT = time(3, tzinfo=UTC)
# Longer than one invocation lives: nobody else goes on with a run that somebody has.
HELD = timedelta(minutes=15)
PRACTICES_AT_ONCE = 25
AccountLook = Callable[[datetime, datetime, Balances | None], Look]
RECENT = 10
FAILURES_KEPT = 500


@dataclass(slots=True)
class Part:
    """What was found of one practice, or of the platform's own account."""

    tenant: Tenant
    accounts: int = 0
    transactions: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    balances: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """As a run's item has it."""
        return {
            "counts": dict(self.counts),
            "accounts": self.accounts,
            "transactions": self.transactions,
            "balances": self.balances,
            "failures": self.failures,
        }


@dataclass
class Run:
    """One day's run as far as it has come.

    ``time_left`` says whether another account fits, ``ends`` that nothing does any more;
    ``looked`` counts the accounts of this invocation.
    """

    day: date
    by: Actor
    item: RunItem
    time_left: Callable[[], bool]
    ends: Callable[[], bool]
    looked: int = 0

    def check(self) -> None:
        """Raises OutOfTime once the invocation is about to end."""
        if self.ends():
            raise OutOfTime

    @property
    def until(self) -> datetime:
        """The end of what is looked at: of the day, or just now."""
        end = datetime.combine(self.day, time.max, UTC)
        return min(end, now() - YOUNG)

    @property
    def low(self) -> datetime:
        """The beginning of what is looked at where nothing older is open."""
        return datetime.combine(self.day - timedelta(days=DAYS_BACK), time.min, UTC)

    @functools.cached_property
    def is_latest(self) -> bool:
        """Whether balances of now say anything about the run's day."""
        return now() - self.until < timedelta(days=1)


# ---------------------------------------------------------------- which run


def work(
    by: Actor,
    *,
    time_left: Callable[[], bool] = lambda: True,
    ends: Callable[[], bool] = lambda: False,
) -> RunItem | None:
    """What the schedule does: a run that was asked for or has not ended, else today's, once.

    None where there is nothing to do.
    """
    for listed in _recent():
        # The list may lag: a run that has ended meanwhile must not begin again.
        item = find(PLATFORM_TENANT, listed.item_id)
        if item and item.state != FINISHED:
            return run(date.fromisoformat(item.item_id), by, time_left=time_left, ends=ends)
    instant = now()
    today = instant.date()
    if instant.timetz() < BEGINS_AT or find(PLATFORM_TENANT, today.isoformat()):
        return None
    return run(today, by, time_left=time_left, ends=ends)


def _recent() -> list[RunItem]:
    query = table.Query(PLATFORM_TENANT.listing(RECONCILIATION), index="l1", newest_first=True)
    return [RunItem.read(raw) for raw in query.page(RECENT).items]


def find(tenant: Tenant, day: str) -> RunItem | None:
    """The run of a day, or a practice's part of it."""
    return table.get(RunItem, run_key(tenant, day))


def ask(day: date, by: Actor, also: list[table.Action] | None = None) -> RunItem:
    """Have a day looked at again from the beginning; one that is under way begins again, too."""
    for _ in table.attempts(accounts.DEADLINE_S):
        known = find(PLATFORM_TENANT, day.isoformat())
        if known is None:
            known = storing.new_run(PLATFORM_TENANT, day.isoformat(), by, ASKED)
            action = table.put_new(known, "run")
        else:
            action = table.change(known, by, set_={"state": ASKED}, remove=["after"], label="run")
            known.state = ASKED
        try:
            table.transact([action, *(also or [])])
        except table.ConditionFailed as failed:
            if failed.labels != ["run"]:
                raise
            continue
        return known
    raise AssertionError("attempts ends by raising Busy")


# ---------------------------------------------------------------- one run


def run(
    day: date,
    by: Actor,
    *,
    time_left: Callable[[], bool] = lambda: True,
    ends: Callable[[], bool] = lambda: False,
) -> RunItem | None:
    """Go on with a day's run to its end, or for as long as there is time.

    None where somebody else has it, or asked for it anew: then it begins again next time.
    """
    item = _take(day, by)
    if item is None:
        return None
    one = Run(day, by, item, time_left, ends)
    try:
        return _go_on(one)
    except OutOfTime:
        return _leave(one)
    except table.ConditionFailed:
        logger.info("the run was asked for again", extra={"day": day.isoformat()})
        return None


def _go_on(one: Run) -> RunItem:
    """Practice by practice, from its place; then the platform."""
    for tenants, after in _practices(one.item.after):
        for tenant in tenants:
            if not one.time_left():
                return _leave(one)
            part = _practice(one, tenant)
            if part is None:
                return _leave(one)
            _add(one, part, after[tenant.practice])
    if not one.time_left():
        return _leave(one)
    _add(one, _platform(one), None)
    return _finish(one)


def _take(day: date, by: Actor) -> RunItem | None:
    """Begin it, or take it up where it was left."""
    known, instant = find(PLATFORM_TENANT, day.isoformat()), now()
    held = {"held_until": to_text(instant + HELD), "state": RUNNING}
    if known is None:
        known = storing.new_run(PLATFORM_TENANT, day.isoformat(), by, RUNNING)
        known.started_at, known.held_until = instant, instant + HELD
        action = table.put_new(known)
        begins = False
    elif known.held_until and known.held_until > instant and known.state == RUNNING:
        return None
    else:
        begins = known.state != RUNNING
        blank = {**Part(PLATFORM_TENANT).values(), "started_at": to_text(instant)}
        action = table.change(
            known,
            by,
            set_={**held, **(storing.plain(blank) if begins else {})},
            remove=["after", "finished_at"] if begins else [],
        )
    if not table.written([action]):
        return None
    return find(PLATFORM_TENANT, day.isoformat())


def _practices(after: Any) -> Iterator[tuple[list[Tenant], dict[str, dict[str, Any]]]]:
    """Practices from where the run stopped, with each one's place in the list."""
    query = table.Query(keys.all_practices(), index="l1")
    start = table.to_raw(after) if after else None
    while True:
        page = query.page(PRACTICES_AT_ONCE, start)
        places = {
            tenant_of(raw["pk"]["S"]).practice: table.from_raw(
                {name: raw[name] for name in ("pk", "sk", "l1pk", "l1sk")}
            )
            for raw in page.items
        }
        yield [Tenant(practice) for practice in places], places
        start = page.last_key
        if start is None:
            return


def _add(one: Run, part: Part, after: dict[str, Any] | None) -> None:
    """Keep a part, and with it the place and all parts' sums, in one transaction."""
    item = one.item
    total = Part(
        PLATFORM_TENANT,
        int(item.accounts) + part.accounts,
        int(item.transactions) + part.transactions,
        Counter(item.counts) + part.counts,
        list(item.balances) if part.tenant != PLATFORM_TENANT else part.balances,
        # An item has room for so many; each practice's part has its own.
        [*item.failures, *part.failures][:FAILURES_KEPT],
    )
    values = {**storing.plain(total.values()), "held_until": to_text(now() + HELD)}
    if after:
        values["after"] = storing.as_json(after)
    actions = [table.change(item, one.by, set_=values)]
    if part.tenant != PLATFORM_TENANT and (part.accounts or part.failures or part.counts):
        actions.append(_part_action(one, part, FINISHED))
    table.transact(actions)
    one.item = _again(one)


def _part_action(one: Run, part: Part, state: str, after: str = "") -> table.Action:
    """A practice's part of the run, written anew each time; ``after``: the last account so far."""
    day, instant = one.day.isoformat(), now()
    place = {"after": {"account": after}} if after else {}
    known = find(part.tenant, day)
    if known:
        values = {
            **storing.plain({**part.values(), **place}),
            "state": state,
            "started_at": to_text(one.item.started_at),
            "finished_at": to_text(instant),
        }
        return table.change(known, one.by, set_=values, remove=[] if after else ["after"])
    made = storing.new_run(part.tenant, day, one.by, state)
    made.started_at, made.finished_at = one.item.started_at, instant
    for name, value in {**part.values(), **place}.items():
        setattr(made, name, value)
    return table.put_new(made)


def _again(one: Run) -> RunItem:
    found = find(PLATFORM_TENANT, one.day.isoformat())
    if found is None:
        raise AssertionError("a run is never deleted")
    return found


def _leave(one: Run) -> RunItem:
    """There is no time left: whoever comes next may go on at once."""
    table.transact([table.change(one.item, one.by, remove=["held_until"])])
    return _again(one)


def _finish(one: Run) -> RunItem:
    values = {"state": FINISHED, "finished_at": to_text(now())}
    action = table.change(one.item, one.by, set_=values, remove=["after", "held_until"])
    table.transact([action])
    item = _again(one)
    _tell(item)
    return item


def _tell(item: RunItem) -> None:
    """What alarms and graphs go by."""
    count("ReconciliationsFinished")
    count("ReconciliationFailures", len(item.failures))
    pressing = sum(int(n) for kind, n in item.counts.items() if kind != Kind.IN_FLIGHT)
    count("ReconciliationDifferences", pressing)
    for kind in Kind:
        with single_metric(
            name="ReconciliationDifferences",
            unit=MetricUnit.Count,
            value=int(item.counts.get(kind, 0)),
            namespace="Consulta",
        ) as metric:
            metric.add_dimension("class", str(kind))
    facts = {"day": item.item_id, "differences": pressing, "failures": len(item.failures)}
    (logger.error if pressing or item.failures else logger.info)("reconciled", extra=facts)


# ---------------------------------------------------------------- one practice, and the platform


def _practice(one: Run, tenant: Tenant) -> Part | None:
    """Each account of a practice, from where it was left, and what is in suspense in its books.

    None where there is no time left: how far it has come is kept.
    """
    part, last = _begun(one, tenant)
    scope = f"practice:{tenant.practice}"
    ledger = _guarded(one, part, scope, lambda: ledger_side.balances(tenant, now() - YOUNG))
    for name, look in _accounts(one, tenant):
        if name <= last:
            continue
        if last:
            table.transact([_part_action(one, part, RUNNING, last)])
            if not one.time_left():
                return None
        _look(one, part, name, look, ledger)
        last = name
    if ledger:
        _guarded(one, part, scope, lambda: _suspense(one, part, ledger))
    return part


def _begun(one: Run, tenant: Tenant) -> tuple[Part, str]:
    """A practice's part as far as an invocation before has come, and its last account."""
    known = find(tenant, one.day.isoformat())
    if not known or known.state != RUNNING or known.started_at != one.item.started_at:
        return Part(tenant), ""
    part = Part(
        tenant,
        int(known.accounts),
        int(known.transactions),
        Counter(known.counts),
        list(known.balances),
        list(known.failures),
    )
    return part, str(known.after["account"])


def _accounts(one: Run, tenant: Tenant) -> list[tuple[str, AccountLook]]:
    """How each account of a practice is looked at, in the order of their names."""
    found: list[tuple[str, AccountLook]] = []
    for payee in _payees(tenant):
        if payee.stripe_account:
            look = functools.partial(accounts.connected, tenant, payee, one.check)
            found.append((f"{Provider.STRIPE}:{payee.stripe_account}", look))
        if payee.mercadopago_user:
            look = functools.partial(accounts.seller, payee, one.check)
            found.append((f"{Provider.MERCADOPAGO}:{payee.mercadopago_user}", look))
    return sorted(found, key=lambda account: account[0])


def _payees(tenant: Tenant) -> list[PayeeItem]:
    rows = table.Query(tenant.listing(PAYEE), index="walk").all()
    wanted = [tenant.item(PAYEE, raw["walksk"]["S"]) for raw in rows]
    return [PayeeItem.read(raw) for raw in table.batch_get_raw(wanted).values()]


def _suspense(one: Run, part: Part, ledger: Balances) -> None:
    found = accounts.suspended(part.tenant, ledger)
    scope = f"practice:{part.tenant.practice}"
    open_ones = storing.open_of(scope)
    storing.store(scope, found, open_ones, one.day, one.by, gone=lambda _: one.is_latest)
    part.counts.update(str(difference.kind) for difference in found)


def _platform(one: Run) -> Part:
    """The platform's own balance at Stripe, which every practice's charges may move."""
    part = Part(PLATFORM_TENANT)

    def ledger() -> Balances:
        moment = now() - YOUNG
        total = ledger_side.balances(PLATFORM_TENANT, moment)
        for tenants, _ in _practices(None):
            for tenant in tenants:
                one.check()
                total.plus(ledger_side.balances(tenant, moment))
        return total

    def tenants() -> Iterator[Tenant]:
        yield PLATFORM_TENANT
        for some, _ in _practices(None):
            yield from some

    total = _guarded(one, part, "platform", ledger)
    look = functools.partial(accounts.platform, tenants, one.check)
    _look(one, part, f"{Provider.STRIPE}:platform", look, total)
    return part


def _look(
    one: Run,
    part: Part,
    scope: str,
    look: AccountLook,
    ledger: Balances | None,
) -> None:
    """One account: compared, stored, and read again where we lack something."""

    def reconcile() -> None:
        open_ones = storing.open_of(scope)
        until = one.until
        oldest = min([one.low, *(item.at for item in open_ones if item.at)])
        low = max(oldest, until - FARTHEST) if one.is_latest else one.low
        seen = look(low, until, ledger if one.is_latest else None)
        part.accounts += 1
        part.transactions += seen.transactions
        part.balances += [accounts.shown(proof) for proof in seen.proofs]

        def gone(item: Any) -> bool:
            return low <= item.at <= until if item.at else one.is_latest

        open_found = storing.store(scope, seen.differences, open_ones, one.day, one.by, gone=gone)
        part.counts.update(str(difference.kind) for difference in open_found)
        _read_again(one, scope, open_found)

    _guarded(one, part, scope, reconcile)
    one.looked += 1


def _guarded[T](one: Run, part: Part, scope: str, do: Callable[[], T]) -> T | None:
    """An account's trouble is told, and holds up no other."""
    try:
        return do()
    except OutOfTime:
        if one.looked:
            # The next invocation begins with it.
            raise
        why = "too_long"
    except AccountUnreachable:
        why = "account_unreachable"
    except Problem as problem:
        why = problem.type
    except Exception as error:  # noqa: BLE001  # one account's surprise must not hold up all others
        failure("an account was not reconciled", error, scope=scope)
        why = "internal"
    logger.warning("not reconciled", extra={"scope": scope, "why": why})
    part.failures.append({"account": scope, "why": why})
    return None


def _read_again(one: Run, scope: str, found: list[Difference]) -> None:
    """What we lack goes into the queue as if it had been told, each object once."""
    wanted = {one_.event for one_ in found if one_.event and one_.kind is not Kind.UNKNOWN}
    provider = scope.partition(":")[0]
    replay.send(
        _message(provider, event, one.day) for event in sorted(wanted, key=lambda e: e.object_id)
    )


def _message(provider: str, event: Event, day: date) -> replay.Message:
    return {
        "provider": provider,
        "event_id": f"reconcile-{event.object_id}-{day.isoformat()}",
        "type": event.type,
        "live": settings.load(Mode).live_mode,
        "account": event.account,
        "object_id": event.object_id,
        "api_version": "",
        "received_at": to_text(now()),
        # Another run of the same day asks again.
        "force": True,
    }
