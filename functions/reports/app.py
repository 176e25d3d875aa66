"""Reports on demand, and their files: /v1/reports."""

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path

from consulta.core.http import PUBLIC, Api, Cursor, IdempotencyKey, Limit, any_query, needs
from consulta.reports import files, requests
from consulta.reports.schema import Report, ReportPage, ReportRequest

api = Api("reports")


@api.post("/v1/reports", summary="Ask for a report")
@needs("reports:write")
def request_report(body: ReportRequest, idempotency_key: IdempotencyKey = None) -> Report:
    report = requests.request(api.caller, body, idempotency_key)
    return api.accepted(report, f"/v1/reports/{report.id}")


@api.get("/v1/reports", summary="The practice's reports, newest first")
@needs("reports:read")
def list_reports(limit: Limit = 20, cursor: Cursor = None) -> ReportPage:
    return api.ok(requests.page(api.caller, limit, cursor))


@api.get("/v1/reports/downloads/<token>", summary="Open a mail's link")
@needs(PUBLIC)
@any_query  # what mail goes through may add some
def download(token: Annotated[str, Path(max_length=64)]) -> Response[None]:
    return api.found(files.open_link(token))


@api.get("/v1/reports/<report_id>", summary="One report, with its files once they are ready")
@needs("reports:read")
def get_report(report_id: str) -> Report:
    return api.ok(requests.get(api.caller, report_id))


lambda_handler = api.handler
