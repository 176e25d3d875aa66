"""Receipts of payments: /v1/payments/{id}/receipt."""

from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from consulta.core.http import Api, Download, Id, needs
from consulta.reports import receipts
from consulta.reports.receipt_schema import Receipt

api = Api("receipts")
PDF = "application/pdf"
ANSWERS: dict[int, OpenAPIResponse] = {
    200: {
        "description": "The receipt, in the form that was asked for",
        "content": {
            "application/json": {"model": Receipt},
            PDF: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

Form = Annotated[
    Literal["json", "pdf"] | None,
    Query(alias="format", description="Without it, what Accept asks for; JSON is the default"),
]


@api.get("/v1/payments/<payment_id>/receipt", responses=ANSWERS)
@needs("payments:read")
def receipt(payment_id: Id, form: Form = None) -> Receipt:
    """What was paid, when and how; 409 before anything was. It is no fiscal invoice."""
    made = receipts.of(api.caller, payment_id)
    asked = (api.current_event.headers.get("accept") or "").lower()
    if form == "pdf" or (form is None and PDF in asked and "application/json" not in asked):
        # Loaded only where it is asked for: drawing costs more than all the rest.
        from consulta.reports.render_receipt import render_receipt  # noqa: PLC0415

        raise Download(render_receipt(made), PDF, f"{made.number}.pdf")
    return api.ok(made)


lambda_handler = api.handler
