"""The scheduled repair: what neither provider's webhooks have told us, asked for.

Every quarter of an hour, resumable and bounded: Stripe's events of the platform, thin ones too,
and of each connected account, Mercado Pago's payments that changed, each since a mark of its own
minus an overlap. What the inbox does not have goes into the queue as if it had come. And payments
that are undecided or unsettled are read again as they come to certain ages, each by the month's
list.

A round goes through the list of all accounts (:func:`consulta.money.accounts.payees.accounts`),
never through practices that have none; its place is kept after each one, so that a round that is
cut off goes on behind the last that was done, and none is left out however many there are.

A mark only moves once all up to it was looked at, so that a run that dies, or a provider that does
not answer, is made up for by the next; whatever is looked at twice is deduped by the inbox.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from consulta.core import keys, table
from consulta.core.errors import NotFound, Problem
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import count, failure, logger
from consulta.core.time import from_text, now, to_epoch, to_text, utc_months
from consulta.money.accounts import payees
from consulta.money.currencies import to_minor
from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.mercadopago import disputes as mercadopago_disputes
from consulta.money.mercadopago import provider as mercadopago_provider
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.paying import effects
from consulta.money.records import PAYMENT, PayeeItem, PaymentItem, Provider, State
from consulta.money.stripe.client import AccountUnreachable, client, translated
from consulta.money.webhooks import event_types
from consulta.money.webhooks.event_types import Work
from consulta.money.webhooks.event_work import CONTESTED
from consulta.money.webhooks.inbox_rows import PLATFORM
from consulta.money.webhooks.replay import Message, send

ROUND = "missed"
# A provider's clock is not ours; what is younger than this may still be on its way.
OVERLAP, GRACE = timedelta(minutes=10), timedelta(minutes=5)
# Where a mark begins, and how far back Stripe can be asked at all.
FIRST, FARTHEST = timedelta(hours=1), timedelta(days=29)
PAGE, PAGES = 100, 10
ACCOUNTS_AT_ONCE = 100
# A payment that is still undecided or unsettled is read again when it is so old.
AGES = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 72, 168))
_STALE: dict[str, Any] = {
    "where": "(#provider = :stripe OR #provider = :mercadopago) AND "
    "(#state IN (:open, :processing) OR (#state = :succeeded AND #settled = :no))",
    "names": {"#provider": "provider", "#state": "state", "#settled": "settled"},
    "values": {
        ":stripe": str(Provider.STRIPE),
        ":mercadopago": str(Provider.MERCADOPAGO),
        ":open": str(State.OPEN),
        ":processing": str(State.PROCESSING),
        ":succeeded": str(State.SUCCEEDED),
        ":no": False,
    },
}


@dataclass(slots=True)
class Repaired:
    """What one run came to."""

    scopes: int = 0
    missed: int = 0
    reread: int = 0
    unsettled: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to when one scope has been looked at.

    ``until`` and ``after`` are there where a look did not reach its end: the window's end, and the
    provider's id behind which it goes on.
    """

    scope: str
    at: datetime
    until: datetime | None = None
    after: str = ""

    @classmethod
    def read(cls, scope: str) -> "Mark":
        """As it is stored; a new one begins an hour ago."""
        instant = now()
        raw = table.get_raw(keys.watermark(f"{ROUND}:{scope}"))
        if raw is None:
            return cls(scope, instant - FIRST)
        known = table.from_raw(raw)
        until = from_text(known["until"]) if known.get("until") else None
        at = max(from_text(known["at"]), instant - FARTHEST)
        return cls(scope, at, until, known.get("after", ""))

    def save(self) -> None:
        """It never goes back: a slow run must not undo a faster one."""
        values = {"at": to_text(self.at), "after": self.after}
        values["until"] = to_text(self.until) if self.until else ""
        action = table.update(
            keys.watermark(f"{ROUND}:{self.scope}"),
            set_=values,
            condition="attribute_not_exists(pk) OR #at <= :at",
            names={"#at": "at"},
            values={":at": values["at"]},
        )
        if not table.written([action]):
            logger.info("another run is ahead", extra={"scope": self.scope})

    def reached(self, until: datetime) -> "Mark":
        """All of the window was looked at."""
        return Mark(self.scope, until)


def run(by: Actor, *, time_left: Callable[[], bool] = lambda: True) -> Repaired:
    """Ask for what was missed, from where the last run stopped to the end of the list."""
    done = Repaired()
    _look(done, f"{Provider.STRIPE}:{PLATFORM}", partial(_stripe, done, ""))
    _look(done, f"{Provider.STRIPE}:thin", partial(_thin, done))
    practice = ""
    for account in payees.accounts(_place(), ACCOUNTS_AT_ONCE):
        if not time_left():
            return _told(done)
        if account.owner.practice != practice:
            practice = account.owner.practice
            _look(done, f"payments:{practice}", partial(_payments, done, Tenant(practice), by))
        _account(done, account)
        _keep_place(account.place)
    _keep_place("")
    return _told(done)


def _place() -> str:
    """Behind which account the last run stopped; "" where it came to the end."""
    raw = table.get_raw(keys.watermark(ROUND))
    after = table.from_raw(raw).get("after") if raw else None
    return after if isinstance(after, str) else ""


def _keep_place(after: str) -> None:
    place = keys.watermark(ROUND)
    table.transact([table.update(place, set_={"after": after}) if after else table.delete(place)])


def _told(done: Repaired) -> Repaired:
    count("EventsMissed", done.missed)
    count("RepairsFailed", done.failed)
    count("UnsettledOverAnHour", done.unsettled)
    return done


def _look(done: Repaired, scope: str, ask: Callable[[Mark], Mark]) -> None:
    """One scope; its trouble holds up no other, and its mark stays where it was."""
    try:
        ask(Mark.read(scope)).save()
        done.scopes += 1
    except (AccountUnreachable, NotFound):
        logger.info("an account is closed to us", extra={"scope": scope})
    except Problem as problem:
        logger.warning("not asked", extra={"scope": scope, "why": problem.type})
        done.failed += 1
    except Exception as error:  # noqa: BLE001  # one account's surprise must not hold up all others
        failure("the repair failed", error, scope=scope)
        done.failed += 1


def _account(done: Repaired, account: payees.Account) -> None:
    """What its provider has to tell of one account."""
    scope = f"{account.provider}:{account.account}"
    if account.provider == Provider.STRIPE:
        _look(done, scope, partial(_stripe, done, account.account))
        return
    payee = payees.find(Tenant(account.owner.practice), account.owner.payee)
    if payee:
        _look(done, scope, partial(_mercadopago, done, payee))


# ---------------------------------------------------------------- Stripe's events


def _stripe(done: Repaired, account: str, mark: Mark) -> Mark:
    """Events of the window, the newest first as Stripe lists them; a long one is gone on with."""
    until, after = mark.until or now() - GRACE, mark.after
    created = {"gte": to_epoch(mark.at - OVERLAP), "lte": to_epoch(until)}
    options = {"stripe_account": account} if account else {}
    for _ in range(PAGES):
        params: dict[str, Any] = {"created": created, "limit": PAGE}
        if after:
            params["starting_after"] = after
        with translated("events.list"):
            page = client().v1.events.list(params, options)
            events = [event.to_dict() for event in page.data]
        _enqueue(done, [_stripe_message(e, account) for e in events if _is_wanted(e["type"])])
        if not (page.has_more and events):
            return mark.reached(until)
        after = events[-1]["id"]
    return replace(mark, until=until, after=after)


def _is_wanted(kind: str) -> bool:
    """What the worker has a use for; all else is not worth a message."""
    return isinstance(event_types.find(Provider.STRIPE, kind), Work)


def _stripe_message(event: dict[str, Any], account: str) -> Message:
    """As the webhook would have put it; the account of one that was asked for is known."""
    subject = (event.get("data") or {}).get("object") or {}
    return {
        "provider": str(Provider.STRIPE),
        "event_id": event["id"],
        "type": event["type"],
        "live": event.get("livemode") is True,
        "account": account,
        "object_id": subject.get("id") or "",
        "api_version": event.get("api_version") or "",
        "received_at": to_text(now()),
    }


def _thin(done: Repaired, mark: Mark) -> Mark:
    """Thin events of the second API, which the list of the first has not: of accounts.

    Those about objects of the first API (``v1.…``) are in that list as well, and are left to it.
    There is no place in the list to go on from: too many for one look are taken in halves.
    """
    until = mark.until or now() - GRACE
    created = {"gte": to_text(mark.at - OVERLAP), "lte": to_text(until)}
    seen, messages = 0, []
    with translated("v2.events.list"):
        listed = client().v2.core.events.list({"created": created, "limit": PAGE})
        for found in listed.auto_paging_iter():
            event, seen = found.to_dict(), seen + 1
            if seen > PAGE * PAGES:
                return replace(mark, until=mark.at + (until - mark.at) / 2)
            if _is_wanted(event["type"]):
                messages.append(_thin_message(event))
    _enqueue(done, messages)
    return mark.reached(until)


def _thin_message(event: dict[str, Any]) -> Message:
    return {
        "provider": str(Provider.STRIPE),
        "event_id": event["id"],
        "type": event["type"],
        "live": event.get("livemode") is True,
        "account": event.get("context") or "",
        "object_id": (event.get("related_object") or {}).get("id") or "",
        "api_version": "",
        "received_at": to_text(now()),
    }


# ---------------------------------------------------------------- Mercado Pago's payments


def _mercadopago(done: Repaired, payee: PayeeItem, mark: Mark) -> Mark:
    """Payments of the seller that changed in the window and are not as we know them.

    There are no events to list, so a change's id is the payment's with the time of the change. A
    payment that changes meanwhile leaves the window and moves the others up: then nothing is
    marked, and the next run looks again.
    """
    until = mark.until or now() - GRACE
    filters: dict[str, Any] = {
        "range": "date_last_updated",
        "begin_date": to_text(mark.at - OVERLAP),
        "end_date": to_text(until),
        "sort": "date_last_updated",
        "criteria": "asc",
        "limit": PAGE,
    }
    total: int | None = None
    for number in range(PAGES):
        token = mercadopago_tokens.access_token(payee.tenant, payee.item_id)
        sdk, options = mercadopago_client.sdk(token), mercadopago_client.options(token)
        wanted = filters | {"offset": number * PAGE}
        listed = mercadopago_client.answer("payment.search", sdk.payment().search, wanted, options)
        told, results = int(listed["paging"]["total"]), listed["results"]
        if total not in (None, told):
            return mark
        total = told
        _enqueue(done, _differing(payee, results))
        if (number + 1) * PAGE >= total:
            return mark.reached(until)
    # Too many for one look: the next one takes the first half of the time.
    return replace(mark, until=mark.at + (until - mark.at) / 2)


def _differing(payee: PayeeItem, results: list[dict[str, Any]]) -> list[Message]:
    tenant, named = payee.tenant, list[tuple[str, dict[str, Any]]]()
    for result in results:
        practice, _, payment_id = (result.get("external_reference") or "").partition(":")
        if practice == tenant.practice and payment_id and "#" not in payment_id:
            named.append((payment_id, result))
    known = table.batch_get_raw([tenant.item(PAYMENT, payment_id) for payment_id, _ in named])
    messages = []
    for payment_id, result in named:
        raw = known.get(tenant.item(PAYMENT, payment_id))
        if raw and not _is_as_known(PaymentItem.read(raw), result):
            # A chargeback goes into the queue as such: the payment alone does not name it.
            chargeback = (
                mercadopago_disputes.of_payment(str(result["id"]), payee)
                if result["status"] in CONTESTED
                else None
            )
            messages.append(_mercadopago_message(str(payee.mercadopago_user), result, chargeback))
    return messages


def _is_as_known(payment: PaymentItem, result: dict[str, Any]) -> bool:
    reading = mercadopago_provider.normalised(result)
    returned = result.get("transaction_amount_refunded") or 0
    return (
        result["status"] not in CONTESTED
        and reading.id == payment.provider_id
        and reading.state == payment.state
        and to_minor(returned, reading.currency) == int(payment.refunded)
    )


def _mercadopago_message(user: str, result: dict[str, Any], chargeback: str | None) -> Message:
    object_id = chargeback or str(result["id"])
    changed = datetime.fromisoformat(result["date_last_updated"])
    return {
        "provider": str(Provider.MERCADOPAGO),
        "event_id": f"search-{object_id}-{int(changed.timestamp() * 1000)}",
        "type": "topic_chargebacks_wh" if chargeback else "payment",
        "live": result.get("live_mode") is True,
        "account": user,
        "object_id": object_id,
        "api_version": "",
        "received_at": to_text(now()),
    }


# ---------------------------------------------------------------- what is new of it


def _enqueue(done: Repaired, messages: list[Message]) -> None:
    """Put into the queue what the inbox has never seen."""
    rows = {keys.inbox(m["provider"], m["account"] or PLATFORM, m["event_id"]): m for m in messages}
    known = table.batch_get_raw(list(rows)) if rows else {}
    done.missed += send(message for key, message in rows.items() if key not in known)


# ---------------------------------------------------------------- payments that stay as they are


def _payments(done: Repaired, tenant: Tenant, by: Actor, mark: Mark) -> Mark:
    """Read again what came to one of the ages since the mark and is undecided or unsettled."""
    until = now()
    for age in AGES:
        low, high = mark.at - age, until - age
        for month in utc_months(low, high):
            query = table.Query(
                tenant.listing_by(PAYMENT, "MONTH", month),
                index="l1",
                low=to_text(low),
                high=to_text(high),
                **_STALE,
            )
            for raw in query.all():
                _again(done, PaymentItem.read(raw), by)
    return mark.reached(until)


def _again(done: Repaired, payment: PaymentItem, by: Actor) -> None:
    """One payment. What cannot be asked for now is asked for at its next age."""
    if not payment.provider_id and not payment.checkout:
        return
    try:
        payment = effects.reread(payment, by)
        done.reread += 1
    except Problem as problem:
        logger.warning("not read again", extra={"payment": payment.item_id, "why": problem.type})
        done.failed += 1
    except Exception as error:  # noqa: BLE001  # one payment's surprise must not hold up all others
        failure("a payment was not read again", error, payment=payment.item_id)
        done.failed += 1
    if payment.state == State.SUCCEEDED and not payment.settled:
        logger.error("unsettled for over an hour", extra={"payment": payment.item_id})
        done.unsettled += 1
