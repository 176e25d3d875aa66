"""A practice whose providers can be turned back: what tests of many paths from one point need.

The tables are moto's, with DynamoDB's conditions; :func:`saved` and :func:`restored` put the whole
of them, and what the providers know, back to where they were, so that each path starts the same.
"""

import pickle
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.dynamo_type import LimitedSizeDict

from consulta.core import aws, table
from consulta.core.ids import new_id
from consulta.core.item import Item
from consulta.core.keys import Tenant
from consulta.money.accounts import connect
from consulta.money.disputes import effects as dispute_effects
from consulta.money.disputes.records import DISPUTE, DisputeItem
from consulta.money.records import (
    PAYEE,
    PAYMENT,
    PAYOUT,
    POSTING,
    REFUND,
    PayeeItem,
    PaymentItem,
    PayoutItem,
    PostingItem,
    RefundItem,
)
from consulta.money.stripe import payouts as stripe_payouts
from consulta.money.stripe.accounts import ProviderAccount
from consulta.money.stripe.payouts import ProviderPayout, Transaction
from consulta.money.webhooks import inbox
from consulta.money.webhooks.inbox import InboxState
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from tests.conftest import CORE
from tests.integration import scripted_provider
from tests.integration.scripted_provider import ScriptedProvider
from tests.integration.test_disputes import Bank

ACCOUNT = "acct_1"
REGION = "us-east-1"


@dataclass
class Providers:
    """All that providers, payers and banks know; the tests say what happens to it."""

    stripe: ScriptedProvider
    mercadopago: ScriptedProvider
    bank: Bank
    payouts: dict[str, ProviderPayout] = field(default_factory=dict)
    funds: list[Transaction] = field(default_factory=list)
    account: ProviderAccount | None = None
    # How many refunds were made: their ids must be the same on every path.
    refunds: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Payouts, balances and accounts are read from here; payments and disputes are already."""
        # Each copy of an item is weighed anew, attribute by attribute: a third of all time. None of
        # ours comes near DynamoDB's 400 KB.
        monkeypatch.setattr(LimitedSizeDict, "__setitem__", dict.__setitem__)
        monkeypatch.setattr(scripted_provider, "ids", SimpleNamespace(new_id=self._new_id))
        monkeypatch.setattr(dispute_effects, "disputes_for", lambda _: self.bank)
        monkeypatch.setattr(stripe_payouts, "read_payout", lambda found, _: self.payouts[found])
        monkeypatch.setattr(stripe_payouts, "transactions", lambda *_: iter([list(self.funds)]))
        monkeypatch.setattr(connect.stripe_accounts, "read_account", lambda _: self.account)

    def _new_id(self, prefix: str) -> str:
        self.refunds += prefix == "re"
        return f"re_made_{self.refunds}" if prefix == "re" else new_id(prefix)

    def __getstate__(self) -> dict[str, Any]:
        """What can be turned back; everything in it is a value."""
        return {
            "stripe": vars(self.stripe),
            "mercadopago": vars(self.mercadopago),
            "bank": vars(self.bank),
            "payouts": self.payouts,
            "funds": self.funds,
            "account": self.account,
            "refunds": self.refunds,
        }

    def saved(self) -> bytes:
        """All of it, to be put back by :meth:`restore`."""
        return pickle.dumps(self.__getstate__())

    def restore(self, saved: bytes) -> None:
        """Everything as it was."""
        state = pickle.loads(saved)
        for name in ("stripe", "mercadopago", "bank"):
            vars(getattr(self, name)).update(state[name])
        self.payouts, self.funds = state["payouts"], state["funds"]
        self.account, self.refunds = state["account"], state["refunds"]


def payout(payout_id: str, amount: int = 9000, status: str = "pending") -> ProviderPayout:
    """A payout of the practice's account."""
    return ProviderPayout(
        id=payout_id,
        amount=amount,
        fee=0,
        currency="EUR",
        status=status,
        method="standard",
        automatic=True,
        made_at=datetime(2026, 11, 20, tzinfo=UTC),
        arrives_on=date(2026, 11, 23),
        failure_code="",
        transaction=f"txn_{payout_id}",
        failure_transaction="",
    )


def account(**changes: Any) -> ProviderAccount:
    """The practice's account as Stripe has it."""
    made = ProviderAccount(
        id=ACCOUNT,
        controller={"losses": {"payments": "application"}, "fees": {"payer": "application"}},
        details_submitted=True,
        charges_enabled=True,
        payouts_enabled=True,
        requirements_due=False,
    )
    return replace(made, **changes)


# ---------------------------------------------------------------- the tables, there and back


def saved() -> dict[str, bytes]:
    """Every row of every table."""
    tables = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables
    return {name: pickle.dumps(dict(found.items)) for name, found in tables.items()}


def restored(rows: dict[str, bytes]) -> None:
    """The tables as they were. What the stream has told stays told."""
    tables = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables
    for name, found in tables.items():
        found.items.clear()
        found.items.update(pickle.loads(rows[name]))


# ---------------------------------------------------------------- what is there at the end


def listed(tenant: Tenant, entity: str) -> list[str]:
    """The ids of all of a kind."""
    return [raw["walksk"]["S"] for raw in table.Query(tenant.listing(entity), index="walk").all()]


def everything() -> dict[str, list[Any]]:
    """What is in the core table, by kind."""
    found: dict[str, list[Any]] = defaultdict(list)
    for raw in aws.client("dynamodb").scan(TableName=CORE, ConsistentRead=True)["Items"]:
        entity = raw.get("entity", {}).get("S", "")
        if entity in MODELS:
            found[entity].append(MODELS[entity].read(raw))
    return found


def balances(found: list[PostingItem]) -> dict[tuple[str, str, str], int]:
    """Every account that is not at zero; asserts that each posting balances in each book."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for posting in found:
        books: Counter[str] = Counter()
        for entry in posting.entries:
            amount = int(entry["debit"]) - int(entry["credit"])
            books[entry["book"]] += amount
            sums[entry["book"], entry["account"], posting.currency] += amount
        assert not any(books.values()), posting.posting_key
    return {place: amount for place, amount in sums.items() if amount}


MODELS: dict[str, type[Item]] = {
    PAYMENT: PaymentItem,
    REFUND: RefundItem,
    POSTING: PostingItem,
    DISPUTE: DisputeItem,
    PAYOUT: PayoutItem,
    PAYEE: PayeeItem,
    APPOINTMENT: AppointmentItem,
}

# Left out of what is compared, since it tells when we looked and not how things are: times,
# versions, ``declined`` (refusals that we saw) and ``hold_extended`` (a challenge that we saw).
OF_PAYMENT = [
    "state",
    "amount",
    "currency",
    "captured",
    "refunded",
    "reserved",
    "disputed",
    "earned",
    "settled",
    "fee",
    "commission",
    "commission_returned",
    "tax_withheld",
    "charge_id",
    "method",
    "failure_code",
    "requires_action",
    "provider_id",
]
OF_REFUND = ["provider_id", "amount", "state", "reason", "commission", "from_revenue"]
OF_DISPUTE = ["status", "amount", "held", "withdrawn", "reinstated", "fee", "lost", "lost_by_payee"]
OF_PAYEE = ["charges_enabled", "payouts_enabled", "requirements_due", "details_submitted"]


@dataclass(frozen=True)
class End:
    """How things are. ``entries``: each posting by its key, our own ids in it replaced."""

    items: dict[str, Any]
    balances: dict[tuple[str, str, str], int]
    entries: dict[str, Any]


def end() -> End:
    """All that the tests compare."""
    found, names, items = everything(), dict[str, str](), dict[str, Any]()
    appointments = {appointment.item_id: appointment for appointment in found[APPOINTMENT]}
    refunds: dict[str, list[Any]] = defaultdict(list)
    for refund in found[REFUND]:
        names[refund.item_id] = f"refund of {refund.provider_id}"
        # What failed, and was never heard of before, is not written at all.
        if refund.state != "failed":
            values = tuple(getattr(refund, name) for name in OF_REFUND)
            refunds[refund.payment_id].append(values)
    for payment in found[PAYMENT]:
        shown = appointments[str(payment.appointment_id)]
        items[payment.item_id] = {
            **{name: getattr(payment, name) for name in OF_PAYMENT},
            "refunds": sorted(refunds[payment.item_id]),
            "shown": (str(shown.status), str(shown.payment_status)),
        }
    for dispute in found[DISPUTE]:
        names[dispute.item_id] = f"dispute {dispute.provider_id}"
        items[str(dispute.provider_id)] = {
            **{name: getattr(dispute, name) for name in OF_DISPUTE},
            "recovered": int(dispute.recovered) - int(dispute.returned),
        }
    for made in found[PAYOUT]:
        items[made.item_id] = (made.status, made.place, int(made.amount), made.failure_code)
    for payee in found[PAYEE]:
        items[payee.item_id] = {name: getattr(payee, name) for name in OF_PAYEE}
    every = found[POSTING]
    return End(items, balances(every), {_named(p.posting_key, names): _entries(p) for p in every})


def _named(key: str, names: dict[str, str]) -> str:
    """A posting's key with the providers' ids instead of ours, which differ from path to path."""
    for ours, theirs in names.items():
        if ours in key:
            # What was lost is posted under the dispute's version as it was then.
            return key.replace(ours, theirs).partition(":lost:")[0]
    return key


def _entries(posting: PostingItem) -> Any:
    return posting.event, sorted(
        (e["book"], e["account"], int(e["debit"]), int(e["credit"])) for e in posting.entries
    )


def deliver(message: dict[str, Any]) -> None:
    """An event reaches the worker, which must be able to deal with it."""
    state = inbox.handle(message)
    assert state in (InboxState.DONE, InboxState.IGNORED), (message["type"], state)
