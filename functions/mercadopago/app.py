"""Sellers' consent to take Mercado Pago payments for them: /v1/mercadopago/connections."""

from consulta.core.http import Api, needs
from consulta.money.mercadopago import connections as mercadopago_connections
from consulta.money.schema.connect import ConnectionIn, ConnectionOut, PayeePath

api = Api("mercadopago")


@api.post("/v1/mercadopago/connections")
@needs("connect:write")
def connect_seller(body: ConnectionIn) -> ConnectionOut:
    """Connect a seller by the code of their consent."""
    made = mercadopago_connections.connect(api.caller, body)
    return api.created(made, f"/v1/mercadopago/connections/{made.payee}")


@api.get("/v1/mercadopago/connections/<payee>")
@needs("connect:read")
def get_connection(payee: PayeePath) -> ConnectionOut:
    """Whose connection it is, and until when."""
    return api.ok(mercadopago_connections.get(api.caller, payee))


@api.delete("/v1/mercadopago/connections/<payee>")
@needs("connect:write")
def disconnect(payee: PayeePath) -> None:
    """Forget the seller."""
    mercadopago_connections.disconnect(api.caller, payee)
    return api.no_content()


lambda_handler = api.handler
