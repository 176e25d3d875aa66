"""/v1/dashboard: what the caller sees first."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Header, Query

from consulta.core.http import Api, NotModified, needs
from consulta.dashboards import dashboard
from consulta.dashboards.schema import Dashboard

api = Api("dashboard")

Sections = Annotated[
    str | None,
    Query(max_length=100, description="Only these: stats,upcoming,…", pattern=r"^[a-z,]+$"),
]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=200)]


@api.get("/v1/dashboard", summary="The caller's dashboard, by role and by how far they are set up")
@needs("dashboard:read")
def get_dashboard(sections: Sections = None, if_none_match: IfNoneMatch = None) -> Dashboard:
    found = dashboard.build(api.caller, dashboard.asked_for(sections))
    tag = dashboard.etag(found)
    if if_none_match == tag:
        raise NotModified(tag)
    return api.ok(found, headers={"ETag": tag}, max_age=dashboard.max_age(found))


lambda_handler = api.handler
