"""Several sessions of one service, bought together: /v1/packages."""

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, Limit, needs
from consulta.money.appointments import packages as sold
from consulta.scheduling import packages
from consulta.scheduling.schema.packages import (
    PackageDetail,
    PackageFilter,
    PackagePage,
    PackageRequest,
)

api = Api("packages")


@api.post("/v1/packages")
@needs("packages:write")
def create(body: PackageRequest, idempotency_key: IdempotencyKey = None) -> PackageDetail:
    """Buy a package: it can be used once it is paid, or at once where a member confirms it."""
    package = packages.create(api.caller, body, idempotency_key)
    return api.created(package, f"/v1/packages/{package.id}")


@api.get("/v1/packages")
@needs("packages:read")
def page(
    wanted: Annotated[PackageFilter, Query()], limit: Limit = 20, cursor: Cursor = None
) -> PackagePage:
    """The newest first; patients and experts see their own. A page may be short and still go on."""
    return api.ok(packages.listing(api.caller, wanted, limit, cursor))


@api.get("/v1/packages/<package_id>")
@needs("packages:read")
def get(package_id: Id) -> PackageDetail:
    """One package, with the appointments that used it."""
    return api.ok(packages.get(api.caller, package_id))


@api.post("/v1/packages/<package_id>/cancel")
@needs("packages:write")
def cancel(package_id: Id) -> PackageDetail:
    """End a package; what is paid for unused sessions goes back by the policy of the purchase."""
    return api.ok(sold.cancel(api.caller, package_id))


lambda_handler = api.handler
