"""Merchant orders of Mercado Pago: which payments were made on one preference.

Source: https://www.mercadopago.com/developers/en/reference/merchant_orders. An order is told of
before each of its payments may be, and names all of them; the payments themselves are read.
"""

from consulta.money.mercadopago.provider import call
from consulta.money.records import PayeeItem


def payments_of(order_id: str, payee: PayeeItem) -> tuple[str, ...]:
    """The ids of an order's payments, the first one first. Raises NotFound, ProviderFailed."""
    order = call("merchant_order.get", payee, "", "merchant_order", "get", order_id)
    return tuple(str(made["id"]) for made in order.get("payments") or [])
