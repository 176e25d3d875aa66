"""Payments and refunds of the Checkout API.

The card token decides the outcome: tok_approved, tok_in_process, tok_rejected, or tok_ with a
rejection's status_detail, as tok_cc_rejected_insufficient_amount; a suffix after a hyphen is free.
Pix, OXXO and boleto stay pending until POST /_control/payments/{id}/approve.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from local.simulators.mercadopago.bodies import PaymentCreate, PaymentUpdate, RefundCreate
from local.simulators.mercadopago.errors import bad_request, payment_not_found
from local.simulators.mercadopago.state import (
    PLATFORM_ID,
    SITES,
    Object,
    Seller,
    State,
    stamp,
)

FEE_RATE = Decimal("0.0349")  # the simulator's price list: 3.49 % of every sale, paid by the seller
REFUND_DAYS = 180
RELEASE_DAYS = 14
# payment_method_id -> payment_type_id, status_detail while pending, refundable, expires after
VOUCHERS = {
    "pix": ("bank_transfer", "pending_waiting_transfer", True, timedelta(days=1)),
    "oxxo": ("ticket", "pending_waiting_payment", False, timedelta(days=3)),
    "bolbradesco": ("ticket", "pending_waiting_payment", False, timedelta(days=3)),
}
CARDS = ("visa", "master", "amex", "elo", "debvisa", "debmaster")
# How long after it is made a Pix code may end.
PIX_LEAST, PIX_MOST = timedelta(minutes=30), timedelta(days=30)
# A picture of one pixel, in place of the code's.
_QR_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
_PENDING = ("pending", "in_process", "authorized")


def create(state: State, seller: Seller, body: PaymentCreate, *, on_page: bool = False) -> Object:
    """A payment; ``on_page``: made on a preference's page, which has set when a Pix code ends."""
    currency, decimals = SITES[seller.site]
    _check(seller, body, decimals)
    if not on_page:
        _check_expiration(body)
    status, detail = _outcome(body)
    created = datetime.now(UTC)
    voucher = VOUCHERS.get(body.payment_method_id)
    payment_id = state.next_id()
    payment: Object = {
        "id": payment_id,
        "additional_info": body.additional_info or {},
        "authorization_code": None,
        "binary_mode": body.binary_mode,
        "call_for_authorize_id": None,
        "captured": body.capture and status == "approved",
        "card": {} if voucher else {"first_six_digits": "503175", "last_four_digits": "0604"},
        "collector_id": seller.user_id,
        "coupon_amount": 0,
        "currency_id": currency,
        "date_approved": None,
        "date_created": stamp(created),
        "date_last_updated": stamp(created),
        "date_of_expiration": body.date_of_expiration
        or (stamp(created + voucher[3]) if voucher else None),
        "description": body.description,
        "external_reference": body.external_reference,
        "fee_details": [],
        "installments": body.installments or 1,
        "issuer_id": body.issuer_id,
        "live_mode": False,
        "marketplace_owner": PLATFORM_ID if seller.user_id != PLATFORM_ID else None,
        "metadata": body.metadata,
        "money_release_date": None,
        "money_release_status": "pending",
        "notification_url": body.notification_url,
        "operation_type": "regular_payment",
        "order": body.order or {},
        "payer": {"id": "9000001", "type": "guest"} | body.payer.model_dump(exclude_none=True),
        "payment_method": {"id": body.payment_method_id, "issuer_id": body.issuer_id},
        "payment_method_id": body.payment_method_id,
        "payment_type_id": voucher[0] if voucher else "credit_card",
        "processing_mode": "aggregator",
        "refunds": [],
        "shipping_amount": 0,
        "sponsor_id": body.sponsor_id,
        "statement_descriptor": body.statement_descriptor,
        "status": status,
        "status_detail": detail,
        "taxes_amount": 0,
        "transaction_amount": body.transaction_amount,
        "transaction_amount_refunded": Decimal(0),
        "transaction_details": {
            "external_resource_url": None,
            "financial_institution": None,
            "installment_amount": Decimal(0),
            "net_received_amount": Decimal(0),
            "overpaid_amount": Decimal(0),
            "payment_method_reference_id": None,
            "total_paid_amount": body.transaction_amount,
        },
    }
    if voucher:
        _add_voucher(payment)
    if body.application_fee:
        # Kept until approval, when the fees are known.
        payment["fee_details"] = [_fee("application_fee", body.application_fee)]
    if status == "approved":
        _approve(payment, decimals)
    state.keep(state.payments, payment_id, payment)
    state.notify_payment(payment, "payment.created")
    return payment


def _check(seller: Seller, body: PaymentCreate, decimals: int) -> None:
    amount = body.transaction_amount
    if amount <= 0 or amount != round(amount, decimals):
        raise bad_request(4037, "Invalid transaction_amount")
    if body.payment_method_id not in (*CARDS, *VOUCHERS):
        raise bad_request(3028, "Invalid payment_method_id")
    if body.payment_method_id in CARDS:
        if body.token is None:
            raise bad_request(4000, "token attribute can't be null")
        if body.installments is None:
            raise bad_request(4004, "installments attribute can't be null")
        if body.installments < 1:
            raise bad_request(4033, "Invalid installments")
        if not body.token.startswith("tok_"):
            raise bad_request(2006, "Card Token not found")
    elif not body.capture:
        raise bad_request(2077, "Deferred capture not supported")
    if body.application_fee is not None:
        if seller.user_id == PLATFORM_ID:
            raise bad_request(2059, "You cannot use application_fee with this payment")
        if body.application_fee < 0:
            raise bad_request(4039, "application_fee cannot be a negative value")
        if body.application_fee > amount:
            raise bad_request(4038, "application_fee cannot be bigger than transaction_amount")


def _check_expiration(body: PaymentCreate) -> None:
    """A Pix code ends between 30 minutes and 30 days after it is made."""
    if body.date_of_expiration is None:
        return
    left = datetime.fromisoformat(body.date_of_expiration) - datetime.now(UTC)
    if body.payment_method_id == "pix" and not PIX_LEAST <= left <= PIX_MOST:
        raise bad_request(23, "date_of_expiration must be between 30 minutes and 30 days from now")


def _outcome(body: PaymentCreate) -> tuple[str, str]:
    if body.payment_method_id in VOUCHERS:
        return "pending", VOUCHERS[body.payment_method_id][1]
    name = (body.token or "").removeprefix("tok_").partition("-")[0]
    if name == "approved":
        return ("approved", "accredited") if body.capture else ("authorized", "pending_capture")
    if name == "in_process":
        return "in_process", "pending_review_manual"
    if name == "rejected":
        return "rejected", "cc_rejected_other_reason"
    if name.startswith("cc_rejected_"):
        return "rejected", name
    raise bad_request(2006, "Card Token not found")


def _add_voucher(payment: Object) -> None:
    reference = f"{payment['id']:020d}"
    payment["transaction_details"]["payment_method_reference_id"] = reference
    if payment["payment_method_id"] == "pix":
        data = {
            "qr_code": f"00020126580014br.gov.bcb.pix{reference}",
            "qr_code_base64": _QR_PNG,
            "ticket_url": f"https://www.mercadopago.com/payments/{payment['id']}/ticket",
        }
        payment["point_of_interaction"] = {"type": "PIX", "transaction_data": data}


def _fee(kind: str, amount: Decimal) -> Object:
    return {"type": kind, "amount": amount, "fee_payer": "collector"}


def _approve(payment: Object, decimals: int, approved: datetime | None = None) -> None:
    """Mercado Pago's own fee comes off first, then the marketplace's."""
    approved = approved or datetime.now(UTC)
    amount = payment["transaction_amount"]
    own = (amount * FEE_RATE).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    fees = [_fee("mercadopago_fee", own)]
    fees += [fee for fee in payment["fee_details"] if fee["type"] == "application_fee"]
    payment |= {
        "captured": True,
        "date_approved": stamp(approved),
        "fee_details": fees,
        "money_release_date": stamp(approved + timedelta(days=RELEASE_DAYS)),
        "status": "approved",
        "status_detail": "accredited",
    }
    payment["transaction_details"]["net_received_amount"] = amount - sum(f["amount"] for f in fees)


def _decimals(payment: Object) -> int:
    return next(d for currency, d in SITES.values() if currency == payment["currency_id"])


def approve(state: State, payment: Object, approved: datetime | None = None) -> Object:
    """The voucher is paid, or the review ends well."""
    if payment["status"] not in _PENDING:
        raise bad_request(2063, "The action requested is not valid for the current payment state")
    _approve(payment, _decimals(payment), approved)
    state.notify_payment(payment, "payment.updated")
    return payment


def release(state: State, payment: Object) -> Object:
    """The day has come on which the seller may use the money; the provider tells of it."""
    if payment["money_release_date"] is None:
        raise bad_request(2063, "The action requested is not valid for the current payment state")
    released = min(datetime.fromisoformat(payment["money_release_date"]), datetime.now(UTC))
    payment |= {"money_release_status": "released", "money_release_date": stamp(released)}
    state.notify_payment(payment, "payment.updated")
    return payment


def set_status(state: State, payment: Object, status: str, detail: str) -> Object:
    """Anything else that the provider or a bank may decide: rejected, charged_back …"""
    payment |= {"status": status, "status_detail": detail}
    state.notify_payment(payment, "payment.updated")
    return payment


def update(state: State, payment: Object, body: PaymentUpdate) -> Object:
    if body.status == "cancelled":
        if payment["status"] not in _PENDING:
            raise bad_request(
                2063, "The action requested is not valid for the current payment state"
            )
        return set_status(state, payment, "cancelled", "by_collector")
    if body.capture:
        if payment["status"] != "authorized":
            raise bad_request(
                2063, "The action requested is not valid for the current payment state"
            )
        if body.transaction_amount is not None:
            if not 0 < body.transaction_amount <= payment["transaction_amount"]:
                raise bad_request(2072, "Invalid value for transaction_amount")
            payment["transaction_amount"] = body.transaction_amount
        return approve(state, payment)
    for name, value in body.model_dump(exclude_none=True, exclude={"capture", "status"}).items():
        payment[name] = value
    state.notify_payment(payment, "payment.updated")
    return payment


def refund(state: State, payment: Object, body: RefundCreate) -> Object:
    """A full refund without an amount, else a part; at most 180 days after the approval."""
    _check_refundable(payment, body)
    remaining = payment["transaction_amount"] - payment["transaction_amount_refunded"]
    amount = remaining if body.amount is None else body.amount
    if amount <= 0 or amount != round(amount, _decimals(payment)):
        raise bad_request(4040, "Invalid refund amount")
    if amount > remaining:
        raise bad_request(4041, "The refund amount is greater than what is left to refund")
    collector = str(payment["collector_id"])
    made = {
        "id": state.next_id(),
        "adjustment_amount": 0,
        "amount": amount,
        "amount_refunded_to_payer": amount,
        "date_created": stamp(),
        "labels": [],
        "metadata": {},
        "partition_details": [],
        "payment_id": payment["id"],
        "reason": None,
        "refund_mode": "standard",
        "source": {"id": collector, "name": "Seller", "type": "collector"},
        "status": "approved",
        "unique_sequence_number": None,
    }
    payment["refunds"].append(made)
    payment["transaction_amount_refunded"] += amount
    if amount == remaining:
        payment |= {"status": "refunded", "status_detail": "refunded"}
    else:
        payment["status_detail"] = "partially_refunded"
    state.notify_payment(payment, "payment.updated")
    return made


def _check_refundable(payment: Object, body: RefundCreate) -> None:
    if payment["status"] != "approved":
        raise bad_request(2063, "The action requested is not valid for the current payment state")
    approved = datetime.fromisoformat(payment["date_approved"])
    if datetime.now(UTC) - approved > timedelta(days=REFUND_DAYS):
        raise bad_request(2024, "Payment too old to be refunded")
    voucher = VOUCHERS.get(payment["payment_method_id"])
    if voucher and not voucher[2]:
        if body.amount is not None:
            raise bad_request(
                3024, "Not valid action - partial refund unsupported for this transaction"
            )
        raise bad_request(2084, "This transaction does not support to be refunded")


def search(state: State, seller: Seller, query: dict[str, str]) -> Object:
    """The seller's own payments by external_reference, status and a range of dates, newest first.

    begin_date and end_date are ISO 8601 or NOW-30DAYS, NOW-1MONTH …; `range` names the date field.
    """
    field = query.get("range", "date_created")
    begin, end = (_moment(query.get(name)) for name in ("begin_date", "end_date"))
    equal = ("external_reference", "id", "payment_method_id", "status")
    handled = {*equal, "begin_date", "criteria", "end_date", "limit", "offset", "range", "sort"}
    if unknown := sorted(set(query) - handled):
        raise bad_request(8, f"This simulator cannot search by {', '.join(unknown)}")
    found = [
        payment
        for payment in reversed(state.payments.values())
        if payment["collector_id"] == seller.user_id
        and all(str(payment[name]) == query[name] for name in equal if name in query)
        and _within(payment.get(field), begin, end)
    ]
    if query.get("criteria") == "asc":
        found.reverse()
    limit, offset = int(query.get("limit", 30)), int(query.get("offset", 0))
    if not 0 <= limit <= 1000:
        raise bad_request(1000, "Number of rows exceeded the limits")
    paging = {"total": len(found), "limit": limit, "offset": offset}
    return {"paging": paging, "results": found[offset : offset + limit]}


_UNITS = {"MINUTE": 1 / 1440, "HOUR": 1 / 24, "DAY": 1, "MONTH": 30, "YEAR": 365}


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    if relative := re.fullmatch(rf"NOW(?:-(\d+)({'|'.join(_UNITS)})S?)?", text):
        count, unit = relative.groups()
        return datetime.now(UTC) - timedelta(days=int(count) * _UNITS[unit] if count else 0)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise bad_request(23, f"The following parameters must be valid date: {text}") from None


def _within(stamped: str | None, begin: datetime | None, end: datetime | None) -> bool:
    if begin is None and end is None:
        return True
    if stamped is None:
        return False
    moment = datetime.fromisoformat(stamped)
    return (begin is None or moment >= begin) and (end is None or moment <= end)


def find(state: State, caller: Seller, payment_id: str) -> Object:
    payment = state.visible(caller, payment_id)
    if payment is None:
        raise payment_not_found()
    return payment
