"""Reports at a time, again and again: /v1/report-schedules."""

from aws_lambda_powertools.event_handler import Response

from consulta.core.http import Api, Cursor, Limit, needs
from consulta.reports import schedules
from consulta.reports.schema import (
    Report,
    ReportSchedule,
    ReportSchedulePage,
    ReportScheduleRequest,
)

api = Api("report_schedules")


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
