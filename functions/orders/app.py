"""What is owed for one booking or package, and what was paid of it: /v1/orders."""

from consulta.core.http import Api, Id, needs
from consulta.money.paying import order_views
from consulta.money.schema.orders import Order

api = Api("orders")


@api.get("/v1/orders/<order_id>")
@needs("payments:read")
def get(order_id: Id) -> Order:
    """An appointment's or a package's order; patients and experts see their own."""
    return api.ok(order_views.get(api.caller, order_id))


lambda_handler = api.handler
