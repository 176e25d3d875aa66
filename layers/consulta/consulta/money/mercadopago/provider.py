"""Payments through Mercado Pago, as :class:`consulta.money.provider.PaymentProvider`.

The charge is made with the seller's own token; our commission is its ``application_fee``. Our ids
travel as ``external_reference`` = ``<practice>:<payment>``. The provider speaks in decimals of
major units, and the seller's country decides the currency.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from consulta.core.errors import Invalid, ProviderFailed
from consulta.money import currencies
from consulta.money.currencies import to_decimal, to_minor
from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.mercadopago.client import WrongState, answer
from consulta.money.provider import (
    CheckoutPage,
    Operation,
    PaymentDetails,
    PixCode,
    ProviderPayment,
    ProviderRefund,
)
from consulta.money.records import PayeeItem, PaymentItem, Provider, RefundState, State

PAGE = 50
PIX = "pix"

# Whatever else it may answer counts as processing: nothing is done until the status is known.
_STATES = {
    "approved": State.SUCCEEDED,
    "authorized": State.AUTHORIZED,
    # Declined: a new submission may follow, so for us it is still open.
    "rejected": State.OPEN,
    "cancelled": State.CANCELLED,
    "canceled": State.CANCELLED,
    # Paid; what happened since is told by refunds and disputes.
    "in_mediation": State.SUCCEEDED,
    "refunded": State.SUCCEEDED,
    "charged_back": State.SUCCEEDED,
}
_REFUND_STATES = {
    "approved": RefundState.SUCCEEDED,
    "rejected": RefundState.FAILED,
    "cancelled": RefundState.FAILED,
}


def reference(payment: PaymentItem) -> str:
    """Our ids, as the provider's ``external_reference``."""
    return f"{payment.tenant.practice}:{payment.item_id}"


class MercadoPagoProvider:
    """See :class:`consulta.money.provider.PaymentProvider`."""

    name = Provider.MERCADOPAGO

    def start(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> ProviderPayment:
        """A payment by card token or voucher; it is decided at once or pending.

        Raises Invalid where ``details`` lack what it needs or the currency is not one of its own,
        Conflict where the payee has not connected.
        """
        currency = str(payment.currency)
        _check(currency, details)
        body: dict[str, Any] = {
            "transaction_amount": to_decimal(int(payment.amount), currency),
            "payment_method_id": details.method,
            "payer": {"email": details.payer_email},
            "installments": details.installments,
            # Neutral on purpose: a service's name is health data.
            "description": f"Payment {payment.item_id}",
            "external_reference": reference(payment),
            "metadata": metadata_of(payment, operation),
        }
        if details.token:
            body["token"] = details.token
        if details.method == PIX and payment.payable_until:
            body["date_of_expiration"] = stamp(payment.payable_until)
        if payment.commission:
            body["application_fee"] = to_decimal(int(payment.commission), currency)
        made = call("payment.create", payee, operation.key, "payment", "create", body)
        return normalised(made)

    def read(
        self,
        provider_id: str,
        payee: PayeeItem,
        *,
        exchanged: bool | None = None,  # noqa: ARG002  # it exchanges nothing for sellers
    ) -> ProviderPayment:
        """The payment, with its refunds, by the seller's token."""
        return normalised(call("payment.get", payee, "", "payment", "get", provider_id))

    def capture(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Nothing is only authorized here: what needs approval is approved first, then paid."""
        del operation
        return self.read(provider_id, payee)

    def cancel(self, operation: Operation, provider_id: str, payee: PayeeItem) -> ProviderPayment:
        """Cancel a pending payment; where its state no longer allows it, what it is by now."""
        body = {"status": "cancelled"}
        try:
            changed = call(
                "payment.cancel", payee, operation.key, "payment", "update", provider_id, body
            )
        except WrongState:
            return self.read(provider_id, payee)
        return normalised(changed)

    def refund(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, amount: int
    ) -> ProviderRefund:
        """Give it back. A refund carries no metadata here: one may be under way per payment.

        Repeated under the same key it is answered 200 with no body; then the refund is looked up.
        """
        currency, provider_id = str(payment.currency), str(payment.provider_id)
        whole = amount == payment.captured
        body = None if whole else {"amount": to_decimal(amount, currency)}
        made = call(
            "refund.create", payee, operation.key, "refund", "create", provider_id, body
        ) or self._latest_refund(provider_id, payee, amount, currency)
        return _refund(made, currency, operation.id)

    def find(self, payment: PaymentItem, payee: PayeeItem) -> tuple[ProviderPayment, ...]:
        """Every payment made for ours, by ``external_reference``: ask before a late retry."""
        filters = {"external_reference": reference(payment), "limit": PAGE}
        listed = call("payment.search", payee, "", "payment", "search", filters)
        return tuple(normalised(found) for found in listed["results"])

    def _latest_refund(
        self, provider_id: str, payee: PayeeItem, amount: int, currency: str
    ) -> dict[str, Any]:
        listed = call("refund.list", payee, "", "refund", "list_all", provider_id)
        same = [made for made in listed if to_minor(made["amount"], currency) == amount]
        if not same:
            raise ProviderFailed
        return max(same, key=lambda made: datetime.fromisoformat(made["date_created"]))

    def start_checkout(
        self, operation: Operation, payment: PaymentItem, payee: PayeeItem, details: PaymentDetails
    ) -> CheckoutPage:
        """A preference, by the seller's token."""
        from consulta.money.mercadopago import checkout as mercadopago_checkout  # noqa: PLC0415  # only where pages are used

        return mercadopago_checkout.start(operation, payment, payee, details)

    def read_checkout(
        self,
        payment: PaymentItem,
        payee: PayeeItem,
        since: datetime,  # noqa: ARG002  # found by our reference, however old it is
    ) -> CheckoutPage | None:
        """The preference, with every payment that was made on it."""
        from consulta.money.mercadopago import checkout as mercadopago_checkout  # noqa: PLC0415

        preference = mercadopago_checkout.find(payment, payee)
        if preference is None:
            return None
        return mercadopago_checkout.page_of(preference, self.find(payment, payee))

    def expire_checkout(self, payment: PaymentItem, payee: PayeeItem, page: CheckoutPage) -> None:
        """End the preference, and any other that a lost answer has left behind for ours."""
        from consulta.money.mercadopago import checkout as mercadopago_checkout  # noqa: PLC0415

        mercadopago_checkout.expire(payment, payee, page.id)


def call(name: str, payee: PayeeItem, key: str, resource: str, method: str, *arguments: Any) -> Any:
    """One call of the SDK in the seller's name; see :func:`mercadopago_client.answer`."""
    token = mercadopago_tokens.access_token(payee.tenant, payee.item_id)
    made = getattr(getattr(mercadopago_client.sdk(token), resource)(), method)
    return answer(name, made, *arguments, mercadopago_client.options(token, key))


def metadata_of(payment: PaymentItem, operation: Operation) -> dict[str, str]:
    """Our ids, beside the reference."""
    return {
        "practice": payment.tenant.practice,
        "payment": payment.item_id,
        "op_id": operation.id,
    }


def stamp(moment: datetime) -> str:
    """An instant as the provider takes it: ``yyyy-MM-ddTHH:mm:ss.SSS±HH:MM``."""
    return moment.isoformat(timespec="milliseconds")


def _check(currency: str, details: PaymentDetails) -> None:
    if currency not in currencies.MERCADOPAGO:
        raise Invalid.of("body.provider", f"Mercado Pago does not take {currency}")
    for name in ("method", "payer_email"):
        if not getattr(details, name):
            raise Invalid.of(f"body.{name}", "Mercado Pago needs it", "missing")


# ---------------------------------------------------------------- the provider's shapes in ours


def normalised(raw: dict[str, Any]) -> ProviderPayment:
    """A payment as the provider has it, in our words."""
    currency = raw["currency_id"]
    status, detail = raw["status"], raw.get("status_detail") or ""
    state = _STATES.get(status, State.PROCESSING)
    challenge = detail == "pending_challenge"
    amount = to_minor(raw["transaction_amount"], currency)
    paid = state is State.SUCCEEDED
    practice, payment = _ids(raw)
    fees = raw.get("fee_details") or []
    return ProviderPayment(
        id=str(raw["id"]),
        state=State.OPEN if challenge else state,
        amount=amount,
        currency=currency,
        captured=amount if paid else 0,
        account=str(raw["collector_id"]),
        practice=practice,
        payment=payment,
        operation=(raw.get("metadata") or {}).get("op_id", ""),
        method=raw.get("payment_method_id") or "",
        failure_code=detail if status == "rejected" else "",
        charge=str(raw["id"]),
        action_url=_action_url(raw),
        pix=_pix(raw) if state is State.PROCESSING else None,
        requires_action=challenge or detail.startswith("pending_waiting"),
        paid_at=datetime.fromisoformat(raw["date_approved"])
        if paid and raw.get("date_approved")
        else None,
        fee=_sum(_own_fees(fees), currency) if paid else None,
        commission=_sum(_of_type(fees, "application_fee"), currency) if paid else None,
        tax_withheld=_withheld(raw, currency),
        release_at=_moment(raw.get("money_release_date")) if paid else None,
        released=paid and raw.get("money_release_status") == "released",
        balance_transaction=str(raw["id"]) if paid else "",
        refunds=tuple(_refund(made, currency) for made in raw.get("refunds") or []),
        raw={"status": status, "status_detail": detail},
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _ids(raw: dict[str, Any]) -> tuple[str, str]:
    practice, _, payment = (raw.get("external_reference") or "").partition(":")
    if practice and payment:
        return practice, payment
    metadata = raw.get("metadata") or {}
    return metadata.get("practice", ""), metadata.get("payment", "")


def _action_url(raw: dict[str, Any]) -> str:
    """Where the payer goes on: a voucher, a transfer's page, a 3-D Secure challenge."""
    interaction = (raw.get("point_of_interaction") or {}).get("transaction_data") or {}
    found = (
        interaction.get("ticket_url")
        or (raw.get("transaction_details") or {}).get("external_resource_url")
        or (raw.get("three_ds_info") or {}).get("external_resource_url")
    )
    return found or ""


def _pix(raw: dict[str, Any]) -> PixCode | None:
    shown = (raw.get("point_of_interaction") or {}).get("transaction_data") or {}
    if not shown.get("qr_code"):
        return None
    image, ends = shown.get("qr_code_base64"), raw.get("date_of_expiration")
    return PixCode(
        shown["qr_code"],
        f"data:image/png;base64,{image}" if image else "",
        datetime.fromisoformat(ends) if ends else None,
    )


def _of_type(entries: Iterable[dict[str, Any]], kind: str) -> list[Any]:
    return [entry["amount"] for entry in entries if entry["type"] == kind]


def _own_fees(entries: Iterable[dict[str, Any]]) -> list[Any]:
    """The provider's, as far as the seller pays them."""
    return [
        entry["amount"]
        for entry in entries
        if entry["type"] != "application_fee" and entry.get("fee_payer", "collector") == "collector"
    ]


def _sum(values: Iterable[Any], currency: str) -> int:
    return to_minor(sum((Decimal(str(value)) for value in values), Decimal(0)), currency)


def _withheld(raw: dict[str, Any], currency: str) -> int:
    """Taxes that the provider keeps back from the seller, where it says so."""
    return _sum(
        (
            (entry.get("amounts") or {}).get("original") or 0
            for entry in raw.get("charges_details") or []
            if entry.get("type") == "tax"
            and (entry.get("accounts") or {}).get("from") == "collector"
        ),
        currency,
    )


def _refund(made: dict[str, Any], currency: str, operation: str = "") -> ProviderRefund:
    return ProviderRefund(
        id=str(made["id"]),
        amount=to_minor(made["amount"], currency),
        state=_REFUND_STATES.get(made.get("status") or "", RefundState.REQUESTED),
        operation=operation,
        balance_transaction=str(made["id"]),
    )
