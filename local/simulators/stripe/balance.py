"""Balance transactions, and how a charge settles into them.

With asynchronous capture (Stripe's default) a charge's balance_transaction, transfer and
application_fee are null when it succeeds; `settle` fills them a moment later and tells it by
transfer.created, application_fee.created and charge.updated.
Source: https://docs.stripe.com/payments/payment-intents/asynchronous-capture.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from local.simulators.stripe.objects import new, now, page
from local.simulators.stripe.state import APPLICATION, Call, Object, State

# The simulator's price list, for every currency: 2.9 % + 30 minor units, and 15.00 per dispute.
FEE_RATE = Decimal("0.029")
FEE_FIXED = 30
DISPUTE_FEE = 1500
AVAILABLE_AFTER_S = 2 * 24 * 3600

_CATEGORIES = {
    "application_fee": "platform_earning",
    "application_fee_refund": "platform_earning_refund",
    "payment": "charge",
    "payment_refund": "refund",
    "transfer_refund": "transfer_reversal",
    "adjustment": "dispute",
}


def stripe_fee(amount: int) -> int:
    return int((amount * FEE_RATE).quantize(Decimal(1), ROUND_HALF_UP)) + FEE_FIXED


def fee_detail(kind: str, amount: int, currency: str) -> dict[str, Any]:
    ours = kind == "application_fee"
    return {
        "amount": amount,
        "application": APPLICATION if ours else None,
        "currency": currency,
        "description": "Application fee" if ours else "Stripe processing fees",
        "type": kind,
    }


def post(
    state: State,
    account: str | None,
    kind: str,
    amount: int,
    source: Object,
    *,
    fees: tuple[dict[str, Any], ...] = (),
) -> str:
    """Posts one balance transaction and gives its id: in the currency that the account keeps.

    Source: https://docs.stripe.com/currencies/conversions.
    """
    amount, currency, rate = state.exchanged(account, amount, source["currency"])
    fees = tuple(_fee_exchanged(state, account, detail) for detail in fees)
    fee = sum(detail["amount"] for detail in fees)
    transaction = new(
        "balance_transaction",
        amount=amount,
        available_on=now() + AVAILABLE_AFTER_S,
        balance_type="payments",
        currency=currency,
        description=source.get("description"),
        exchange_rate=float(rate) if rate is not None else None,
        fee=fee,
        fee_details=list(fees),
        net=amount - fee,
        reporting_category=_CATEGORIES.get(kind, kind),
        source=source["id"],
        status="pending",
        type=kind,
    )
    posted: str = state.put(account, transaction)["id"]
    return posted


def _fee_exchanged(state: State, account: str | None, detail: dict[str, Any]) -> dict[str, Any]:
    amount, currency, _ = state.exchanged(account, detail["amount"], detail["currency"])
    return detail | {"amount": amount, "currency": currency}


def make_available(state: State, account: str | None) -> Object:
    """Time passes: what was pending can be paid out, and balance.available tells of it."""
    sums: dict[str, int] = {}
    for transaction in state.all(account, "balance_transaction"):
        transaction["status"] = "available"
        transaction["available_on"] = min(transaction["available_on"], now())
        currency = transaction["currency"]
        sums[currency] = sums.get(currency, 0) + transaction["net"]
    available = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in sums.items()
    ]
    balance = new("balance", available=available, pending=[])
    state.emit(account, "balance.available", balance)
    return balance


def retrieve(state: State, call: Call) -> Object:
    """GET /v1/balance: all transactions of the account, per currency.

    What a payout takes, or brings back, never was pending.
    """
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for transaction in state.all(call.account, "balance_transaction"):
        is_payout = transaction["type"].startswith("payout")
        part = sums["available" if is_payout else transaction["status"]]
        other = sums["pending" if part is sums["available"] else "available"]
        currency = transaction["currency"]
        part[currency] = part.get(currency, 0) + transaction["net"]
        other.setdefault(currency, 0)
    shown = {
        name: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(part.items())
        ]
        for name, part in sums.items()
    }
    return new("balance", **shown)


def settle(state: State, account: str | None, charge_id: str) -> None:
    """Gives a captured charge its balance transaction, transfer and application fee, once."""
    charge = state.find(account, "charge", charge_id)
    if charge is None or not charge["captured"] or charge["balance_transaction"]:
        return
    before = {k: charge[k] for k in ("application_fee", "balance_transaction", "transfer")}
    amount, currency = charge["amount_captured"], charge["currency"]
    fees = [fee_detail("stripe_fee", stripe_fee(amount), currency)]
    if account is not None:
        fees = _direct_fees(state, account, charge, fees)
    charge["balance_transaction"] = post(state, account, "charge", amount, charge, fees=tuple(fees))
    if charge["transfer_data"]:
        _transfer(state, charge)
    changed = {k: v for k, v in before.items() if charge[k] != v}
    state.emit(account, "charge.updated", charge, previous=changed)


def _direct_fees(state: State, account: str, charge: Object, fees: list[Any]) -> list[Any]:
    """A direct charge: who pays Stripe follows the account's controller."""
    controller = state.get(None, "account", account)["controller"]
    if controller["fees"]["payer"] != "account":
        fees = []
    if amount := charge["application_fee_amount"]:
        fees.append(fee_detail("application_fee", amount, charge["currency"]))
        charge["application_fee"] = _application_fee(state, account, charge, charge["id"])["id"]
    return fees


def _application_fee(state: State, account: str, charge: Object, paid_by: str) -> Object:
    fee = new(
        "application_fee",
        account=account,
        amount=charge["application_fee_amount"],
        amount_refunded=0,
        application=APPLICATION,
        charge=paid_by,
        currency=charge["currency"],
        fee_source={"type": "charge", "charge": paid_by},
        originating_transaction=charge["id"] if paid_by != charge["id"] else None,
        refunded=False,
    )
    fee["refunds"] = page(f"/v1/application_fees/{fee['id']}/refunds", [])
    fee["balance_transaction"] = post(state, None, "application_fee", fee["amount"], fee)
    state.put(None, fee)
    state.emit(None, "application_fee.created", fee)
    return fee


def _transfer(state: State, charge: Object) -> None:
    """A destination charge moves its amount (or transfer_data.amount) to the account.

    The whole amount goes, and the application fee comes back out of it. It goes as the platform
    keeps it: where that is another currency, the transfer is in that one.
    """
    destination = charge["transfer_data"]["destination"]
    amount, currency, _ = state.exchanged(
        None, charge["transfer_data"]["amount"] or charge["amount_captured"], charge["currency"]
    )
    transfer = new(
        "transfer",
        amount=amount,
        amount_reversed=0,
        currency=currency,
        destination=destination,
        reversed=False,
        source_transaction=charge["id"],
        source_type="card",
        transfer_group=charge["transfer_group"],
    )
    transfer["reversals"] = page(f"/v1/transfers/{transfer['id']}/reversals", [])
    transfer["balance_transaction"] = post(state, None, "transfer", -amount, transfer)
    payment = destination_payment(state, destination, charge, transfer)
    transfer["destination_payment"] = payment["id"]
    charge["transfer"] = state.put(None, transfer)["id"]
    state.emit(None, "transfer.created", transfer)
    fees: tuple[dict[str, Any], ...] = ()
    if charge["application_fee_amount"]:
        fee = _application_fee(state, destination, charge, payment["id"])
        charge["application_fee"] = payment["application_fee"] = fee["id"]
        payment["application_fee_amount"] = fee["amount"]
        taken, currency, _ = state.exchanged(None, fee["amount"], charge["currency"])
        fees = (fee_detail("application_fee", taken, currency),)
    payment["balance_transaction"] = post(state, destination, "payment", amount, payment, fees=fees)


def destination_payment(state: State, destination: str, charge: Object, transfer: Object) -> Object:
    """The `py_` object that the connected account sees."""
    payment = new(
        "charge",
        amount=transfer["amount"],
        amount_captured=transfer["amount"],
        amount_refunded=0,
        application=APPLICATION,
        billing_details={"address": None, "email": None, "name": None, "phone": None},
        captured=True,
        currency=transfer["currency"],
        disputed=False,
        fraud_details={},
        paid=True,
        payment_method_details={"type": "stripe_account", "stripe_account": {}},
        refunded=False,
        source_transfer=transfer["id"],
        status="succeeded",
        transfer_group=charge["transfer_group"],
    )
    payment["id"] = payment["id"].replace("ch_", "py_")
    return state.put(destination, payment)
