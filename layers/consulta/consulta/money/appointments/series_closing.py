"""Series as a caller has them: scheduling begins, and here they go on, as cancelling moves money.

The first occurrences are done in the request; a worker, told by the bus, does the rest.
"""

from collections.abc import Callable
from time import monotonic

from consulta.core.errors import Busy, ProviderFailed
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.observe import logger
from consulta.money.appointments import closing
from consulta.scheduling import series, series_changes, series_jobs
from consulta.scheduling.schema.appointments import CancelReason
from consulta.scheduling.schema.series import (
    Scope,
    Series,
    SeriesPatch,
    SeriesPreview,
    SeriesRequest,
)

# One run of the worker; a longer series takes several.
IN_WORKER = 30
# A request begins no further occurrence after that: what is contended takes seconds.
REQUEST_S = 10.0


def create(by: Principal, body: SeriesRequest, key: str | None) -> Series:
    """Book a series. Raises as :func:`consulta.scheduling.series.create` does."""
    return _begun(by, series.create(by, body, key))


def move(
    by: Principal, series_id: str, body: SeriesPatch, if_match: str | None, key: str | None
) -> Series | SeriesPreview:
    """Move occurrences. Raises as :func:`consulta.scheduling.series_changes.move` does."""
    moved = series_changes.move(by, series_id, body, if_match, key)
    return moved if isinstance(moved, SeriesPreview) else _begun(by, moved)


def cancel(
    by: Principal,
    series_id: str,
    scope: Scope,
    first: str | None,
    reason: CancelReason,
    if_match: str | None,
) -> Series:
    """Cancel occurrences. Raises as :func:`consulta.scheduling.series_changes.cancel` does."""
    series_changes.cancel(by, series_id, scope, first, reason, if_match)
    return _begun(by, series_id)


def _begun(by: Principal, series_id: str) -> Series:
    end = monotonic() + REQUEST_S
    try:
        series_jobs.run(
            by.tenant,
            series_id,
            by.request_id,
            cancel=closing.cancel,
            time_left=lambda: monotonic() < end,
        )
    except (Busy, ProviderFailed):
        # It is begun, and the worker goes on with it.
        logger.warning("a series' first steps were left to the worker", extra={"item": series_id})
    return series.get(by, series_id)


def work(
    tenant: Tenant, series_id: str, request_id: str, time_left: Callable[[], bool] = lambda: True
) -> bool:
    """The worker's part; False where it has to be told again, which this has seen to.

    Raises Busy, ProviderFailed: the message comes again.
    """
    finished = series_jobs.run(
        tenant,
        series_id,
        request_id,
        cancel=closing.cancel,
        most=IN_WORKER,
        time_left=time_left,
    )
    if not finished:
        series_jobs.go_on(tenant, series_id, IN_WORKER, request_id)
    return finished
