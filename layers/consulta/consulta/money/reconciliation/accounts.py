"""One account's look: both sides read, compared, and the balance proven."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.time import now
from consulta.money.accounts.payout_effects import PLATFORM_TENANT, Holder
from consulta.money.books import ledger
from consulta.money.disputes.effects import known as known_dispute
from consulta.money.paying import orders
from consulta.money.reconciliation import ledger_side, mercadopago_side, stripe_side
from consulta.money.reconciliation.ledger_side import Balances
from consulta.money.reconciliation.matching import (
    IN_FLIGHT,
    Cause,
    Difference,
    Event,
    Fact,
    Kind,
    Posted,
    Proof,
    match,
)
from consulta.money.records import (
    PAYMENT,
    PAYOUT,
    POSTING,
    PayeeItem,
    PaymentItem,
    PayoutItem,
    PostingItem,
    Provider,
    RefundState,
)

DEADLINE_S = 10.0
# Raises OutOfTime where the invocation ends.
Check = Callable[[], None]


@dataclass(slots=True)
class Look:
    """What one account's look came to."""

    differences: list[Difference]
    proofs: list[Proof] = field(default_factory=list)
    transactions: int = 0


# ---------------------------------------------------------------- Stripe


def connected(
    tenant: Tenant,
    payee: PayeeItem,
    check: Check,
    low: datetime,
    high: datetime,
    balances: Balances | None,
) -> Look:
    """A connected account's own balance."""
    holder = Holder(tenant, payee.item_id, str(payee.stripe_account))
    return _stripe(holder, lambda: [tenant], check, low, high, balances)


def platform(
    tenants: Callable[[], Iterable[Tenant]],
    check: Check,
    low: datetime,
    high: datetime,
    balances: Balances | None,
) -> Look:
    """The platform's own balance, which every practice's postings may move."""
    holder = Holder(PLATFORM_TENANT, ledger.PLATFORM, "")
    return _stripe(holder, tenants, check, low, high, balances)


def _stripe(
    holder: Holder,
    tenants: Callable[[], Iterable[Tenant]],
    check: Check,
    low: datetime,
    high: datetime,
    balances: Balances | None,
) -> Look:
    moment = now()
    # The balance is of this moment: what explains it has to be read until now.
    books = stripe_side.Books(holder, low, moment if balances else high, check)
    at_provider = books.balances() if balances else {}
    facts = books.facts()
    ours = {item.posting_key: item for item in _under(facts)}
    for tenant in tenants():
        check()
        between = ledger_side.between(tenant, low, books.high, holder.name)
        ours |= {item.posting_key: item for item in between}
    keys = {fact.key for fact in facts}
    posted = [
        movement
        for item in ours.values()
        for movement in ledger_side.movements(item)
        if movement.account == holder.name
        and (movement.key in keys or not _is_there(books, movement))
    ]
    facts = _with_suspense(facts, {movement.key for movement in posted})
    found = match(facts, posted, moment)
    proofs = []
    if balances:
        since = _since(balances.until, ours.values(), holder.name)
        proofs = _proofs(holder.name, at_provider, balances, since, found)
    stable = [one for one in found if one.at is None or one.at <= high]
    stable += [*_payouts(books, moment), *_disputes(books, moment)]
    practice = holder.tenant.practice if holder.account else ""
    stable += _unproven(proofs, practice)
    return Look(stable, proofs, books.transactions)


def _since(moment: datetime, ours: Iterable[PostingItem], account: str) -> Counter[str]:
    """What was posted after the ledger's balances were added up, as far as it has been read."""
    sums: Counter[str] = Counter()
    for item in ours:
        if item.occurred_at >= moment:
            for movement in ledger_side.movements(item):
                if movement.account == account:
                    sums[movement.currency] += movement.net
    return sums


def _under(facts: Iterable[Fact]) -> list[PostingItem]:
    places = {
        (Tenant(fact.practice) if fact.practice else PLATFORM_TENANT, fact.key, fact.currency)
        for fact in facts
    }
    return ledger_side.under(sorted(places, key=lambda place: place[1]))


def _is_there(books: stripe_side.Books, posting: Posted) -> bool:
    """Whether the provider has it after all: told late, it is older than what was listed."""
    account, _, transaction = posting.key.partition(":")
    if not transaction.startswith("txn_"):
        return False
    return books.knows(transaction, "" if account == Provider.STRIPE else account)


def _with_suspense(facts: list[Fact], known: set[str]) -> list[Fact]:
    """Mark charges whose money is in suspense: they never settle, and one of the two is enough."""
    places = {}
    for fact in facts:
        if fact.key not in known and fact.event and fact.event.type == "charge.updated":
            account = fact.event.account or str(Provider.STRIPE)
            tenant = Tenant(fact.practice) if fact.practice else PLATFORM_TENANT
            name = f"{account}:{fact.event.object_id}:suspense"
            places[fact] = tenant.item(POSTING, name)
    there = table.batch_get_raw(list(places.values())) if places else {}
    return [replace(fact, suspended=True) if places.get(fact) in there else fact for fact in facts]


def _payouts(books: stripe_side.Books, moment: datetime) -> Iterator[Difference]:
    holder = books.holder
    for seen in books.payouts():
        key = f"{holder.name}:{seen.id}"
        item = table.get(PayoutItem, holder.tenant.item(PAYOUT, seen.id))
        made = Difference(
            Kind.IN_FLIGHT,
            Cause.STATUS,
            holder.name,
            f"{key}:status",
            seen.currency,
            seen.amount,
            seen.amount,
            0,
            seen.at,
            seen.id,
            holder.tenant.practice if holder.account else "",
            later=Kind.MISSING_HERE,
            event=Event("payout.updated", seen.id, holder.account),
        )
        if item is None and moment - seen.at >= IN_FLIGHT:
            made = replace(made, kind=Kind.MISSING_HERE)
        if item is None or item.place != seen.place:
            yield made
        if seen.paid_out not in (None, seen.amount):
            yield replace(
                made,
                kind=Kind.AMOUNT,
                cause=Cause.PAYOUT_SUM,
                key=f"{key}:sum",
                found=int(seen.paid_out or 0),
                later=None,
            )


def _disputes(books: stripe_side.Books, moment: datetime) -> Iterator[Difference]:
    del moment
    account = books.holder.account
    for seen in books.disputes():
        practice = books.holder.tenant.practice if account else seen.practice
        item = known_dispute(Tenant(practice), Provider.STRIPE, seen.id)
        if item is None or item.status != seen.status:
            yield Difference(
                Kind.IN_FLIGHT,
                Cause.STATUS,
                books.holder.name,
                f"{books.holder.name}:{seen.id}:status",
                seen.currency,
                int(item.amount) if item else 0,
                seen.amount,
                0,
                seen.at,
                seen.id,
                practice,
                seen.payment,
                later=Kind.MISSING_HERE,
                event=Event("charge.dispute.updated", seen.id, account),
            )


# ---------------------------------------------------------------- Mercado Pago


def seller(
    payee: PayeeItem, check: Check, low: datetime, high: datetime, balances: Balances | None
) -> Look:
    """A seller's payments; the provider tells no balance, so that only ours is shown."""
    books, moment, tenant = mercadopago_side.Books(payee, low, high, check), now(), payee.tenant
    facts = books.facts()
    ours = {item.posting_key: item for item in _under(facts)}
    between = ledger_side.between(tenant, low, high, books.user)
    ours |= {item.posting_key: item for item in between}
    posted = [movement for item in ours.values() for movement in ledger_side.movements(item)]
    # A payment that has changed since is in no list of the time: it is asked for by itself.
    keys = {fact.key for fact in facts}
    alone = {p.key.split(":")[1] for p in posted if p.key not in keys and p.key.startswith("mp:")}
    asked = {p.key for p in posted} - keys
    for provider_id in sorted(alone):
        facts += [fact for fact in books.of_payment(provider_id) if fact.key in asked]
    facts = _with_external(tenant, facts, {p.key for p in posted})
    found = match(facts, posted, moment)
    proofs = [
        Proof(
            account,
            currency,
            None,
            amount,
            0,
            balances.unsettled[account, currency],
        )
        for (account, currency), amount in sorted((balances or Balances()).settled.items())
        if balances and account == books.user
    ]
    return Look(found, proofs, books.transactions)


def _with_external(tenant: Tenant, facts: list[Fact], known: set[str]) -> list[Fact]:
    """Mark refunds that we did not ask for: they carry no metadata, but we know our own."""
    marked = []
    for fact in facts:
        is_new = fact.key not in known and ":refund:" in fact.key
        marked.append(
            replace(fact, external=True) if is_new and _is_external(tenant, fact) else fact
        )
    return marked


def _is_external(tenant: Tenant, fact: Fact) -> bool:
    payment = table.get(PaymentItem, tenant.item(PAYMENT, fact.payment))
    ours = orders.refunds_of(payment) if payment else []
    return not any(
        refund.provider_id == fact.about
        or (
            refund.provider_id is None
            and refund.state == RefundState.REQUESTED
            and int(refund.amount) == -fact.net
        )
        for refund in ours
    )


# ---------------------------------------------------------------- balances and suspense


def _proofs(
    account: str,
    at_provider: dict[str, int],
    balances: Balances,
    since: Counter[str],
    found: list[Difference],
) -> list[Proof]:
    currencies = {currency for name, currency in balances.settled if name == account}
    currencies |= set(since)
    return [
        Proof(
            account,
            currency,
            at_provider.get(currency, 0),
            balances.settled[account, currency] + since[currency],
            sum(one.net for one in found if one.currency == currency),
            balances.unsettled[account, currency],
        )
        for currency in sorted({*currencies, *at_provider})
    ]


def _unproven(proofs: list[Proof], practice: str) -> list[Difference]:
    return [
        Difference(
            Kind.IN_FLIGHT,
            Cause.BALANCE,
            proof.account,
            "balance",
            proof.currency,
            proof.ledger + proof.explained,
            int(proof.provider or 0),
            proof.left,
            None,
            practice=practice,
            later=Kind.AMOUNT,
        )
        for proof in proofs
        if proof.left
    ]


def suspended(tenant: Tenant, balances: Balances) -> list[Difference]:
    """Any balance in a suspense account."""
    return [
        Difference(
            Kind.UNKNOWN,
            Cause.SUSPENSE,
            ledger.SUSPENSE,
            f"{book}/{ledger.SUSPENSE}:{payment or '-'}",
            currency,
            0,
            -amount,
            0,
            None,
            practice=tenant.practice,
            payment=payment,
        )
        for (book, payment, currency), amount in sorted(balances.suspense.items())
        if amount
    ]


def shown(proof: Proof) -> dict[str, Any]:
    """A proof as a run's item has it."""
    return {
        "account": proof.account,
        "currency": proof.currency,
        "provider": proof.provider,
        "ledger": proof.ledger,
        "explained": proof.explained,
        "unsettled": proof.unsettled,
    }
