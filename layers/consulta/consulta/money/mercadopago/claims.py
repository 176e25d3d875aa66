"""Claims at Mercado Pago: a buyer's complaint, which the provider mediates.

Source: https://www.mercadopago.com/developers/en/reference/claims/_claim_resource/get. The SDK has
no method for them.
"""

from consulta.money.mercadopago import client as mercadopago_client
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.records import PayeeItem


def payment_of(claim_id: str, payee: PayeeItem) -> str | None:
    """The provider's payment that a claim is about; None where it is about something else.

    By the seller's token. Raises NotFound, ProviderFailed.
    """
    token = mercadopago_tokens.access_token(payee.tenant, payee.item_id)
    raw = mercadopago_client.answer(
        "claim.get",
        mercadopago_client.resource(token).read,
        "/post-purchase/v1/claims/",
        claim_id,
        mercadopago_client.options(token),
    )
    about_payment = raw.get("resource") == "payment" and raw.get("resource_id")
    return str(raw["resource_id"]) if about_payment else None
