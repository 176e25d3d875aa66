"""/v1/reports and /v1/report-schedules."""

from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Path

from consulta.core.http import PUBLIC, Api, Cursor, IdempotencyKey, Limit, needs
from consulta.reports import files, requests, schedules
from consulta.reports.schema import (
    Report,
    ReportPage,
    ReportRequest,
    ReportSchedule,
    ReportSchedulePage,
    ReportScheduleRequest,
)

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
def download(token: Annotated[str, Path(max_length=64)]) -> Response[None]:
    return api.found(files.open_link(token))


@api.get("/v1/reports/<report_id>", summary="One report, with its files once they are ready")
@needs("reports:read")
def get_report(report_id: str) -> Report:
    return api.ok(requests.get(api.caller, report_id))


@api.post("/v1/report-schedules", summary="Report at a time, again and again")
@needs("reports:write")
def create_schedule(body: ReportScheduleRequest) -> ReportSchedule:
    schedule = schedules.create(api.caller, body)
    return api.created(schedule, f"/v1/report-schedules/{schedule.id}")


@api.get("/v1/report-schedules", summary="The practice's schedules")
@needs("reports:read")
def list_schedules(limit: Limit = 20, cursor: Cursor = None) -> ReportSchedulePage:
    return api.ok(schedules.page(api.caller, limit, cursor))


@api.post("/v1/report-schedules/<schedule_id>/run", summary="Do now what the schedule does")
@needs("reports:write")
def run_schedule(schedule_id: str) -> Report:
    report = schedules.run(api.caller, schedule_id)
    return api.accepted(report, f"/v1/reports/{report.id}")


@api.delete("/v1/report-schedules/<schedule_id>", summary="Stop a schedule")
@needs("reports:write")
def delete_schedule(schedule_id: str) -> Response[None]:
    schedules.delete(api.caller, schedule_id)
    return api.no_content()


lambda_handler = api.handler
