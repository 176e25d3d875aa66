"""/v1/dashboard: what the caller sees first."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, IfNoneMatch, needs
from consulta.dashboards import dashboard
from consulta.dashboards.schema import Dashboard

api = Api("dashboard")

Sections = Annotated[
    str | None,
    Query(
        max_length=120,
        pattern=r"^[a-z,]+$",
        description="Only these: stats,upcoming,…; or all, with those that come only when named",
    ),
]
After = Annotated[
    str | None,
    Query(
        pattern=r"^[a-z]{2,8}_[0-9A-HJKMNP-TV-Z]{26}:[1-9][0-9]{0,8}$",
        description="Id and version from the answer of a change, appt_01J…:7: wait up to two "
        "seconds until the figures have it",
    ),
]


@api.get("/v1/dashboard", summary="The caller's dashboard, by role and by how far they are set up")
@needs("dashboard:read")
def get_dashboard(
    sections: Sections = None, after: After = None, if_none_match: IfNoneMatch = None
) -> Dashboard:
    wanted = dashboard.asked_for(sections)
    found = dashboard.build(api.caller, wanted, after)
    tag, max_age = dashboard.etag(found), dashboard.max_age(found)
    return api.unless_known(found, tag, if_none_match, max_age)


lambda_handler = api.handler
