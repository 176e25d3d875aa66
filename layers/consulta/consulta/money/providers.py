"""Which adapter serves which provider. Their SDKs are imported when the first one is used."""

from functools import cache
from importlib import import_module

from consulta.money.provider import DisputeProvider, PaymentProvider
from consulta.money.records import Provider

_ADAPTERS = {
    Provider.STRIPE: ("consulta.money.stripe.provider", "StripeProvider"),
    Provider.MERCADOPAGO: ("consulta.money.mercadopago.provider", "MercadoPagoProvider"),
}


@cache
def provider_for(name: str) -> PaymentProvider:
    """The adapter of a provider. Raises ValueError for ``manual``, which has none, and others."""
    if name not in _ADAPTERS:
        raise ValueError(f"{name} is no payment provider with an adapter")
    module, adapter = _ADAPTERS[Provider(name)]
    found: PaymentProvider = getattr(import_module(module), adapter)()
    return found


_DISPUTES = {
    Provider.STRIPE: ("consulta.money.stripe.disputes", "StripeDisputes"),
    Provider.MERCADOPAGO: ("consulta.money.mercadopago.disputes", "MercadoPagoDisputes"),
}


@cache
def disputes_for(name: str) -> DisputeProvider:
    """What a provider tells of disputes. Raises ValueError for ``manual`` and others."""
    if name not in _DISPUTES:
        raise ValueError(f"{name} has no disputes")
    module, adapter = _DISPUTES[Provider(name)]
    found: DisputeProvider = getattr(import_module(module), adapter)()
    return found
