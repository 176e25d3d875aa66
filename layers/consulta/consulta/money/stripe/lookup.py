"""From whatever object an event of Stripe is about to our payment: by the metadata that we gave.

Events travel through the queue as ids, so that a charge or a refund first has to tell its intent.
"""

from dataclasses import dataclass, replace
from typing import Any

from consulta.money.books import ledger
from consulta.money.currencies import from_stripe
from consulta.money.records import PaymentItem
from consulta.money.stripe.client import client, translated


@dataclass(frozen=True, slots=True)
class Found:
    """A payment intent, and the practice and payment in its metadata (empty: not ours).

    Of a transfer, ``unexplained`` is whether something was reversed that was neither a refund nor
    asked for by us; of an application fee, ``returned`` is what of it went back, in ``parts``.
    """

    intent: str
    practice: str
    payment: str
    unexplained: bool = False
    returned: int = 0
    parts: int = 0


def find(object_id: str, account: str) -> Found | None:
    """The intent behind an intent's, charge's, refund's or Checkout session's id.

    ``account`` is the event's connected account, or "".

    None where there is none, and for what a destination charge leaves on the connected account
    (``py_…`` with a source transfer): it is told by the platform's own events, and would count
    twice. Raises NotFound, ProviderFailed.
    """
    options = {"stripe_account": account} if account else {}
    kind = object_id.partition("_")[0]
    with translated("lookup"):
        api = client().v1
        if kind == "pi":
            return _of(api.payment_intents.retrieve(object_id, {}, options).to_dict())
        if kind in ("ch", "py"):
            expand = {"expand": ["payment_intent"]}
            charge = api.charges.retrieve(object_id, expand, options).to_dict()
            return None if charge.get("source_transfer") else _of(charge.get("payment_intent"))
        if kind == "cs":
            return _of_session(
                api.checkout.sessions.retrieve(object_id, {"expand": ["payment_intent"]}, options)
            )
        if kind in ("re", "pyr"):  # of a card's charge, and of any other method's
            refund = api.refunds.retrieve(object_id, {"expand": ["payment_intent"]}, options)
            return _of(refund.to_dict().get("payment_intent"))
    return None


def _of(intent: dict[str, Any] | None) -> Found | None:
    if not intent:
        return None
    metadata = intent.get("metadata") or {}
    return Found(intent["id"], metadata.get("practice", ""), metadata.get("payment", ""))


def _of_session(session: Any) -> Found:
    """By its own metadata; ``intent`` is "" as long as nobody has tried to pay on the page."""
    raw = session.to_dict()
    metadata, intent = raw.get("metadata") or {}, raw.get("payment_intent") or {}
    ids = metadata.get("practice", ""), metadata.get("payment", "")
    return Found(intent.get("id", ""), *ids)


def behind_transfer(transfer_id: str) -> Found | None:
    """The intent of the destination charge that a transfer was made with.

    None for a transfer of its own, such as what is given back after a dispute: that is posted when
    it is made. Raises NotFound, ProviderFailed.
    """
    with translated("transfers.retrieve"):
        transfer = client().v1.transfers.retrieve(transfer_id).to_dict()
    found = find(transfer.get("source_transaction") or "", "")
    if found is None:
        return None
    reversals = (transfer.get("reversals") or {}).get("data") or []
    unexplained = any(not (r.get("source_refund") or _is_asked(r)) for r in reversals)
    return replace(found, unexplained=unexplained)


def _is_asked(made: dict[str, Any]) -> bool:
    return bool((made.get("metadata") or {}).get("op_id"))


def behind_fee(fee_id: str) -> Found | None:
    """The intent of the charge that an application fee was taken from. Errors as above."""
    with translated("application_fees.retrieve"):
        fee = client().v1.application_fees.retrieve(fee_id).to_dict()
    # A destination charge is ours; its fee names what the connected account got of it, too.
    ours = fee.get("originating_transaction")
    charge, account = (ours, "") if ours else (fee["charge"], fee["account"])
    found = find(charge, account)
    if found is None:
        return None
    returned = from_stripe(fee["amount_refunded"], fee["currency"].upper())
    return replace(found, returned=returned, parts=len(fee["refunds"]["data"]))


def fee_problem(found: Found, payment: PaymentItem) -> str:
    """Why a person has to look at what went back of a fee, or "".

    Due is its part of all that was refunded or is on its way; each part may be rounded by one.
    """
    captured, commission = int(payment.captured or 0), int(payment.commission or 0)
    gone = int(payment.refunded or 0) + int(payment.reserved or 0)
    due = ledger.commission_to_return(commission, captured, gone, 0, 0) if captured else 0
    most = max(due, int(payment.commission_returned or 0)) + found.parts
    return "external_fee_refund" if found.returned > most else ""
