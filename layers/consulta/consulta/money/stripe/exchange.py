"""What a charge, its refunds and its disputes came to where Stripe settled in another currency.

Stripe converts a charge into the currency of the balance that it settles in, at a rate of its own.
Every balance that takes part has balance transactions in its own currency, and these are read here:
the charge's, its transfer's and that of the application fee, which Stripe converts once more where
the platform keeps another currency. Source: https://docs.stripe.com/currencies/conversions,
https://docs.stripe.com/connect/currencies.

A destination charge may settle in its own currency on the platform and still be converted for the
payee: the transfer is in the charge's currency, and only the payment that it makes on the connected
account says into which one, and at what rate.

Amounts are in minor units of each transaction's own currency.
"""

from dataclasses import replace
from typing import Any

from consulta.core.errors import ProviderFailed
from consulta.money.books.ledger import Leg
from consulta.money.currencies import from_stripe
from consulta.money.provider import Exchange, Legs, ProviderPayment, ProviderRefund
from consulta.money.stripe.client import client, translated

_EXPAND = ["balance_transaction"]


def told(
    reading: ProviderPayment, intent: dict[str, Any], refunds: list[dict[str, Any]], account: str
) -> ProviderPayment:
    """A reading with what it came to in the other currency; ``account``: of a direct charge.

    The same reading where neither balance has another currency than the charge. Raises
    ProviderFailed, NotFound.
    """
    charge = intent["latest_charge"]
    if not account and not charge.get("transfer"):
        # Half of it is told: it counts as settled with its transfer, which tells the payee's.
        return replace(reading, balance_transaction="")
    exchange = _direct(charge) if account else _destination(charge)
    if exchange is None:
        return reading
    raw = {refund["id"]: refund for refund in refunds}
    made = tuple(_refunded(one, raw[one.id], account) for one in reading.refunds)
    return replace(reading, exchange=exchange, refunds=made)


def leg_of(transaction: dict[str, Any]) -> Leg:
    """What a balance transaction did to its balance; our own commission is part of the net."""
    currency = transaction["currency"].upper()
    fee = sum(d["amount"] for d in transaction["fee_details"] if d["type"] != "application_fee")
    return Leg(
        currency, from_stripe(transaction["net"] + fee, currency), from_stripe(fee, currency)
    )


def _options(account: str) -> dict[str, str]:
    return {"stripe_account": account} if account else {}


def _transaction(transaction_id: str, account: str) -> dict[str, Any]:
    with translated("balance_transactions.retrieve"):
        found = client().v1.balance_transactions.retrieve(transaction_id, {}, _options(account))
    return dict(found.to_dict())


def _commission(charge: dict[str, Any]) -> tuple[Leg | None, int]:
    """Our application fee, as it came to the platform's balance, and what of it went back."""
    if not charge.get("application_fee"):
        return None, 0
    expand = [*_EXPAND, "refunds.data.balance_transaction"]
    with translated("application_fees.retrieve"):
        found = client().v1.application_fees.retrieve(charge["application_fee"], {"expand": expand})
    fee = found.to_dict()
    went = [leg_of(made["balance_transaction"]) for made in fee["refunds"]["data"]]
    return leg_of(fee["balance_transaction"]), -sum(leg.net for leg in went)


def _exchange(
    charge: dict[str, Any], commission: Leg | None, returned: int, platform: Leg, payee: Leg
) -> Exchange:
    settlement = charge["balance_transaction"]
    kept, currency = leg_of(settlement), settlement["currency"].upper()
    return Exchange(
        currency=currency,
        amount=from_stripe(settlement["amount"], currency),
        fee=kept.fee,
        rate=str(settlement["exchange_rate"]),
        commission=commission.net if commission else 0,
        platform=platform,
        payee=payee,
        commission_returned=returned,
    )


def _direct(charge: dict[str, Any]) -> Exchange:
    """On the payee's own account; our share comes from there, and may be converted once more."""
    payee = leg_of(charge["balance_transaction"])
    commission, returned = _commission(charge)
    platform = commission or Leg(payee.currency, 0)
    return _exchange(charge, commission, returned, platform, replace(payee, fee=0))


def _destination(charge: dict[str, Any]) -> Exchange | None:
    """On the platform, which passes it on: what came, less what went, and our share of that.

    None where neither has another currency than the charge.
    """
    came = leg_of(charge["balance_transaction"])
    with translated("transfers.retrieve"):
        found = client().v1.transfers.retrieve(charge["transfer"], {"expand": _EXPAND})
    transfer = found.to_dict()
    brought = _received(transfer)
    payee = leg_of(brought)
    if came.currency == payee.currency == charge["currency"].upper():
        return None
    commission, returned = _commission(charge)
    went = leg_of(transfer["balance_transaction"])
    if {came.currency, went.currency, (commission or came).currency} != {came.currency}:
        raise ProviderFailed
    net = came.net + went.net + (commission.net if commission else 0)
    platform = Leg(came.currency, net)
    if came.currency == charge["currency"].upper():
        return _of_payee(brought, commission, returned, platform)
    return _exchange(charge, commission, returned, platform, payee)


def _of_payee(
    brought: dict[str, Any], commission: Leg | None, returned: int, platform: Leg
) -> Exchange:
    """Converted for the payee alone; the provider's fee is the platform's, in its own currency."""
    payee = leg_of(brought)
    return Exchange(
        currency=payee.currency,
        amount=from_stripe(brought["amount"], payee.currency),
        fee=0,
        rate=str(brought["exchange_rate"]),
        commission=commission.net if commission else 0,
        platform=platform,
        payee=payee,
        commission_returned=returned,
    )


def _received(transfer: dict[str, Any]) -> dict[str, Any]:
    """The balance transaction of what a transfer came to at its destination."""
    account = str(transfer["destination"])
    with translated("charges.retrieve"):
        found = client().v1.charges.retrieve(
            transfer["destination_payment"], {"expand": _EXPAND}, _options(account)
        )
    return dict(found.to_dict()["balance_transaction"])


def _taken_back(reversal: dict[str, Any]) -> Leg:
    """What the reversal of a transfer took from its destination."""
    with translated("transfers.retrieve"):
        transfer = client().v1.transfers.retrieve(reversal["transfer"])
    account = str(transfer.destination)
    with translated("refunds.retrieve"):
        found = client().v1.refunds.retrieve(
            reversal["destination_payment_refund"], {"expand": _EXPAND}, _options(account)
        )
    return leg_of(found.to_dict()["balance_transaction"])


# ---------------------------------------------------------------- refunds


def _refunded(made: ProviderRefund, raw: dict[str, Any], account: str) -> ProviderRefund:
    came_back = 0
    if made.failed_by:
        told = leg_of(_transaction(made.failed_by, account))
        came_back = told.net - told.fee
    return replace(made, legs=_refund(made, raw, account), came_back=came_back)


def _refund(made: ProviderRefund, raw: dict[str, Any], account: str) -> Legs | None:
    """None until the provider has told its balance transaction."""
    if not made.balance_transaction:
        return None
    transaction = _transaction(made.balance_transaction, account)
    told = leg_of(transaction)
    # What the provider takes for a refund, if anything, is lost with it.
    took = Leg(told.currency, told.net - told.fee)
    if account:
        return Legs(payee=took, paid=-from_stripe(transaction["amount"], took.currency))
    if not raw.get("transfer_reversal"):
        return Legs(platform=took, paid=-took.net)
    reversal = _reversal(raw)
    came_back = leg_of(reversal["balance_transaction"])
    if came_back.currency != took.currency:
        raise ProviderFailed
    platform = Leg(took.currency, took.net + came_back.net)
    return Legs(platform, _taken_back(reversal), -took.net)


def _reversal(raw: dict[str, Any]) -> dict[str, Any]:
    with translated("refunds.retrieve"):
        found = client().v1.refunds.retrieve(
            raw["id"], {"expand": ["transfer_reversal.balance_transaction"]}
        )
    return dict(found.to_dict()["transfer_reversal"])


# ---------------------------------------------------------------- disputes' transfers


def recovered(reversal: dict[str, Any]) -> Legs:
    """What the reversal of a transfer did to both balances."""
    came = leg_of(_transaction(reversal["balance_transaction"], ""))
    return Legs(came, _taken_back(reversal))


def given_back(transfer: dict[str, Any]) -> Legs:
    """What a transfer of its own did to both balances."""
    went = leg_of(_transaction(transfer["balance_transaction"], ""))
    return Legs(went, leg_of(_received(transfer)))
