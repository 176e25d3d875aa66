"""Logger, metrics and Sentry on every function, through one decorator.

A log line has ids, counts and names of things, never what a person typed or is called: exceptions
are logged as their type and where they were raised, without their text, which may quote an item.
"""

import functools
import gc
import sys
import traceback
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from consulta.core import settings

Handler = Callable[[Any, Any], Any]

logger = Logger()
metrics = EphemeralMetrics(namespace="Consulta")
# Of the whole stack, whichever function it is that counts: one alarm each.
_troubles = EphemeralMetrics(namespace="Consulta")


def count(name: str, value: float = 1, unit: MetricUnit = MetricUnit.Count) -> None:
    """Add to a metric of this invocation."""
    metrics.add_metric(name=name, unit=unit, value=value)


def trouble(name: str, value: float = 1) -> None:
    """Count what a person has to look at; the template has an alarm for each such name."""
    _troubles.add_metric(name=name, unit=MetricUnit.Count, value=value)


def where(error: BaseException) -> dict[str, Any]:
    """An exception without its text: type and frames (file, line, function)."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "error": type(error).__name__,
        "frames": [f"{f.filename.rsplit('consulta/', 1)[-1]}:{f.lineno}:{f.name}" for f in frames],
    }


def failure(message: str, error: BaseException, **ids: str) -> None:
    """Log and count a failure of our own, and hand it to Sentry where that is set up."""
    logger.error(message, extra={**where(error), **ids})
    count("Failures")
    if "sentry_sdk" in sys.modules:
        sys.modules["sentry_sdk"].capture_exception(error)


def _scrub(event: Any, hint: Any) -> Any:  # noqa: ARG001  # Sentry's signature
    """What Sentry may see of an exception: type and frames, no text, variables or request."""
    for entry in event.get("exception", {}).get("values", []):
        entry["value"] = ""
    for part in ("request", "user", "extra", "breadcrumbs"):
        event.pop(part, None)
    return event


@functools.cache
def _start_sentry() -> None:
    """Once per environment, only where a DSN is set: its import costs a cold start 100 ms."""
    runtime = settings.load(settings.Runtime)
    if not runtime.sentry_dsn:
        return
    import sentry_sdk  # noqa: PLC0415
    from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration  # noqa: PLC0415

    sentry_sdk.init(
        dsn=runtime.sentry_dsn,
        environment=runtime.stage,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=_scrub,
        integrations=[AwsLambdaIntegration(timeout_warning=True)],
    )


def observed(handler: Handler) -> Handler:
    """Wrap a Lambda handler: request ids on log lines, metrics flushed, failures reported.

    The event itself is never logged. An exception goes on, so that Lambda retries or parks the
    event as the template says.
    """
    # What has been imported by now stays. Left out of the collector's rounds, it costs a cold start
    # a tenth less.
    gc.freeze()

    @functools.wraps(handler)
    def wrapper(event: Any, context: Any) -> Any:
        _start_sentry()
        logger.structure_logs(append=True, request_id=getattr(context, "aws_request_id", ""))
        try:
            return handler(event, context)
        except Exception as error:  # the last place that can count it; it is raised again
            failure("the invocation failed", error)
            raise
        finally:
            if metrics.metric_set:
                # Not a default dimension: tests run several functions in one process, and
                # Powertools warns of a default that changes.
                metrics.add_dimension("function", getattr(context, "function_name", "local"))
                metrics.flush_metrics()
            if _troubles.metric_set:
                _troubles.flush_metrics()

    return wrapper
