"""The functions' log lines as they come, read from the local CloudWatch Logs."""

import time
from collections.abc import Iterator

import boto3

from local.environment import endpoint

POLL_SECONDS = 1.0
OVERLAP_MS = 5_000
PLATFORM_LINES = ("START RequestId", "END RequestId", "REPORT RequestId")


def follow(port: int) -> Iterator[tuple[str, str]]:
    """Yield (log group, line) for every line written from now on, for ever.

    Each invocation writes a stream of its own, so a stream that was seen has no more to say.
    """
    logs = boto3.client("logs", endpoint_url=endpoint(port))
    seen: dict[str, int] = {}
    since = int(time.time() * 1000)
    while True:
        for page in logs.get_paginator("describe_log_groups").paginate():
            for group in page["logGroups"]:
                name = group["logGroupName"]
                new = [
                    event
                    for event in logs.filter_log_events(logGroupName=name, startTime=since)[
                        "events"
                    ]
                    if event["logStreamName"] not in seen
                ]
                for event in new:
                    seen[event["logStreamName"]] = event["timestamp"]
                    if not event["message"].startswith(PLATFORM_LINES):
                        yield name, event["message"].rstrip()
        since = max(since, int(time.time() * 1000) - OVERLAP_MS)
        seen = {stream: written for stream, written in seen.items() if written >= since}
        time.sleep(POLL_SECONDS)
