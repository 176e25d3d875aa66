"""Request bodies as pydantic models: unknown names are refused, as the provider does (code 8).

Fields: https://www.mercadopago.com/developers/en/reference/payments/_payments/post and
https://www.mercadopago.com/developers/en/reference/preferences/_checkout_preferences/post.
Amounts are decimals in major units.
"""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from local.simulators.mercadopago.errors import MercadoPagoError, bad_request

# Looser than RFC 5322: demo addresses under .test or .local are as good as others.
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Identification(_Body):
    type: str
    number: str


class Payer(_Body):
    email: Email
    id: str | None = None
    type: Literal["customer", "guest", "registered"] | None = None
    entity_type: Literal["individual", "association"] | None = None
    first_name: str | None = None
    last_name: str | None = None
    identification: Identification | None = None
    phone: dict[str, Any] | None = None
    address: dict[str, Any] | None = None


class PaymentCreate(_Body):
    transaction_amount: Decimal
    payment_method_id: str
    payer: Payer
    token: str | None = None
    installments: int | None = None
    additional_info: dict[str, Any] | None = None
    application_fee: Decimal | None = None
    binary_mode: bool = False
    callback_url: str | None = None
    campaign_id: int | None = None
    capture: bool = True
    coupon_amount: Decimal | None = None
    coupon_code: str | None = None
    date_of_expiration: str | None = None
    description: str | None = None
    differential_pricing_id: int | None = None
    external_reference: str | None = None
    issuer_id: str | None = None
    metadata: dict[str, Any] = {}
    notification_url: str | None = None
    order: dict[str, Any] | None = None
    point_of_interaction: dict[str, Any] | None = None
    processing_mode: str | None = None
    sponsor_id: int | None = None
    statement_descriptor: str | None = None
    three_d_secure_mode: Literal["not_supported", "optional", "mandatory"] | None = None
    transaction_details: dict[str, Any] | None = None


class PaymentUpdate(_Body):
    status: Literal["cancelled"] | None = None
    capture: bool | None = None
    transaction_amount: Decimal | None = None
    date_of_expiration: str | None = None
    metadata: dict[str, Any] | None = None
    external_reference: str | None = None
    description: str | None = None


class RefundCreate(_Body):
    amount: Decimal | None = None


class Token(_Body):
    grant_type: Literal["authorization_code", "refresh_token", "client_credentials"]
    client_id: str
    client_secret: str
    code: str | None = None
    redirect_uri: str | None = None
    refresh_token: str | None = None
    code_verifier: str | None = None
    test_token: bool | str | None = None


class Item(_Body):
    title: str
    quantity: int
    unit_price: Decimal
    id: str | None = None
    currency_id: str | None = None
    description: str | None = None
    picture_url: str | None = None
    category_id: str | None = None


class PreferenceCreate(_Body):
    items: list[Item]
    additional_info: str | None = None
    auto_return: Literal["approved", "all"] | None = None
    back_urls: dict[str, str] | None = None
    binary_mode: bool = False
    date_of_expiration: str | None = None
    expiration_date_from: str | None = None
    expiration_date_to: str | None = None
    expires: bool = False
    external_reference: str | None = None
    marketplace: str | None = None
    marketplace_fee: Decimal = Decimal(0)
    metadata: dict[str, Any] = {}
    notification_url: str | None = None
    payer: dict[str, Any] | None = None
    payment_methods: dict[str, Any] | None = None
    shipments: dict[str, Any] | None = None
    statement_descriptor: str | None = None
    tracks: list[dict[str, Any]] | None = None


class PreferenceUpdate(_Body):
    items: list[Item] | None = None
    back_urls: dict[str, str] | None = None
    auto_return: Literal["approved", "all"] | None = None
    date_of_expiration: str | None = None
    expiration_date_from: str | None = None
    expiration_date_to: str | None = None
    expires: bool | None = None
    external_reference: str | None = None
    metadata: dict[str, Any] | None = None
    payment_methods: dict[str, Any] | None = None


_MISSING = {
    "transaction_amount": 4002,
    "payment_method_id": 4001,
    "payer": 4006,
    "payer.email": 4050,
}
_INVALID = {"transaction_amount": 4003, "installments": 4005, "payer.email": 4050, "amount": 4040}


def read[Body: _Body](model: type[Body], raw: bytes) -> Body:
    """The body as its model. Errors: 400 with code 8 (unknown names), 1, or the field's own."""
    try:
        data = json.loads(raw or b"{}", parse_float=Decimal)
    except ValueError:
        raise bad_request(1, "Params Error: the body is not valid JSON") from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _as_provider_error(error) from None


def _as_provider_error(error: ValidationError) -> MercadoPagoError:
    found = [(".".join(str(part) for part in e["loc"]), e["type"]) for e in error.errors()]
    if unknown := [name for name, kind in found if kind == "extra_forbidden"]:
        return bad_request(
            8, f"The name of the following parameters is wrong : [{', '.join(unknown)}]"
        )
    name, kind = found[0]
    if kind == "missing":
        return bad_request(_MISSING.get(name, 1), f"{name} attribute can't be null")
    if name == "payer.email":
        return bad_request(4050, "payer.email must be a valid email")
    return bad_request(_INVALID.get(name, 1), f"Invalid {name}")
