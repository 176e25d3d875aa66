"""DynamoDB stream event sources that fail, retry and give up as AWS's do."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ministack.core.arn import ArnParseError, parse_arn
from ministack.core.responses import request_scope
from ministack.services import dynamodb, lambda_svc

Json = dict[str, Any]
LONGEST_PAUSE_SECONDS = 1.0


@dataclass
class Retry:
    """Where one event source stands with the batch that it could not deliver."""

    attempts: int = 0
    batch_size: int | None = None
    """Records to offer next, when the failing batch was cut; None for the configured size."""


_retries: dict[str, Retry] = {}


def honour_stream_failure_settings() -> None:
    """Gap: a failing stream batch is retried for ever, whatever the event source says.

    ``batchItemFailures`` is ignored (the failed records are lost), and so are
    MaximumRetryAttempts, BisectBatchOnFunctionError and the OnFailure destination. Replaced by
    a poller that follows the Lambda developer guide ("Configuring error handling controls",
    "Configuring partial batch response with DynamoDB"); each event source has a thread of its
    own, so that one that retries does not hold up the others.
    """
    lambda_svc._poll_dynamodb_streams = _poll_streams


def _poll_streams() -> bool:
    """Start a delivery for every event source that has records and none under way."""
    started = False
    for mapping, function, table in _stream_event_sources():
        identifier = mapping["UUID"]
        if lambda_svc._esm_inflight.get(identifier):
            continue
        if _position(mapping, table) < dynamodb.stream_end_position(table):
            lambda_svc._dispatch_esm_batch(identifier, _deliver, mapping, function, table)
            started = True
    return started


def _stream_event_sources() -> Iterator[tuple[Json, Json, str]]:
    """Yield (event source mapping, function, table) inside the scope of its account and region."""
    for account, region, mapping in lambda_svc._iter_all_esms():
        with request_scope(account, region):
            try:
                source = parse_arn(mapping.get("EventSourceArn", ""))
            except ArnParseError:  # a self-managed Kafka source has none
                continue
            stream = lambda_svc._dynamodb_stream_table_from_arn_spec(source)
            if source.service != "dynamodb" or stream is None or not mapping.get("Enabled", True):
                continue
            table = dynamodb._tables.get(stream[0])
            function, _ = lambda_svc._get_func_record_for_qualifier(
                mapping["FunctionName"], mapping.get("Qualifier")
            )
            if (
                function is not None
                and table
                and table.get("LatestStreamArn") == mapping["EventSourceArn"]
            ):
                yield mapping, function, stream[0]


def _position(mapping: Json, table: str) -> int:
    """The next record's absolute position; LATEST was anchored when the source was created."""
    lambda_svc._init_stream_position(
        mapping["UUID"], mapping["EventSourceArn"], mapping.get("StartingPosition", "LATEST")
    )
    position: int = lambda_svc._dynamodb_stream_positions[mapping["UUID"]]
    return max(position, int(dynamodb.stream_start_position(table)))


def _deliver(mapping: Json, function: Json, table: str) -> None:
    """Offer one batch once, then move on, cut it, or pause before it is offered again."""
    position = _position(mapping, table)
    retry = _retries.setdefault(mapping["UUID"], Retry())
    read = dynamodb.stream_records_since(
        table, position, retry.batch_size or mapping.get("BatchSize", 100)
    )
    batch = lambda_svc._apply_filter_criteria(read, mapping)
    if not batch:
        _advance(mapping, position + len(read))
        return
    result = lambda_svc._execute_function(function, {"Records": batch})
    failed = _first_failure(mapping, batch, result)
    if failed is None:
        mapping["LastProcessingResult"] = f"OK - {len(batch)} records"
        _advance(mapping, position + len(read))
        return
    mapping["LastProcessingResult"] = "FAILED"
    if failed > 0:  # what stands before the first failure is done
        _advance(mapping, position + read.index(batch[failed]))
        _pause(_retries[mapping["UUID"]])
        return
    if mapping.get("BisectBatchOnFunctionError") and len(batch) > 1:
        # Cutting a batch does not count as an attempt.
        middle = batch[len(batch) // 2]
        _retries[mapping["UUID"]] = Retry(retry.attempts, read.index(middle))
        return
    condition = _gives_up(mapping, retry, batch)
    if condition is None:
        _pause(retry)
        return
    lambda_svc._send_ddb_stream_failure_record(
        mapping, function, batch, mapping["EventSourceArn"], result, condition
    )
    _advance(mapping, position + len(read))


def _first_failure(mapping: Json, batch: list[Json], result: Json) -> int | None:
    """The index of the first record to offer again; None when all are done.

    An identifier that is missing or unknown fails the whole batch, as on AWS.
    """
    if result.get("error"):
        return 0
    if "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or []):
        return None
    answer = result.get("body")
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return None
    numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
    failed = [failure.get("itemIdentifier") for failure in failures]
    return min(numbers.index(number) if number in numbers else 0 for number in failed)


def _gives_up(mapping: Json, retry: Retry, batch: list[Json]) -> str | None:
    """Why the batch goes to the failure destination now; None while it may be retried.

    -1, also the default of both settings, means without a limit.
    """
    most_attempts = int(mapping.get("MaximumRetryAttempts", -1))
    if 0 <= most_attempts <= retry.attempts:
        return "RetryAttemptsExhausted"
    longest = int(mapping.get("MaximumRecordAgeInSeconds", -1))
    created = float(batch[0]["dynamodb"]["ApproximateCreationDateTime"])
    if 0 <= longest < time.time() - created:
        return "MaxRecordAgeExceeded"
    return None


def _advance(mapping: Json, position: int) -> None:
    """Record that everything before the position is done, and start afresh from there."""
    _retries[mapping["UUID"]] = Retry()
    with lambda_svc._dynamodb_stream_positions_lock:
        lambda_svc._dynamodb_stream_positions[mapping["UUID"]] = position


def _pause(retry: Retry) -> None:
    """Count an attempt and wait a little longer after each."""
    retry.attempts += 1
    time.sleep(min(0.2 * retry.attempts, LONGEST_PAUSE_SECONDS))
