"""Cached AWS clients, made where they are first used and never on import."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# Lambda's own time is short: a client that waits 60 s (botocore's default) outlives its caller.
CONNECT_TIMEOUT_S = 1
READ_TIMEOUT_S = 2
RETRIES = 4


@cache
def client(
    service: str,
    read_timeout: float = READ_TIMEOUT_S,
    retries: int = RETRIES,
    endpoint: str | None = None,
) -> Any:
    """The botocore client of ``service``; one per service and settings in this environment.

    ``endpoint`` is for what has an address of its own, as each WebSocket API has.
    """
    return boto3.client(
        service,  # type: ignore[call-overload]  # boto3-stubs lists literals only
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=min(CONNECT_TIMEOUT_S, read_timeout),
            read_timeout=read_timeout,
            retries={"mode": "standard", "max_attempts": retries},
            # S3's presigned addresses would still be made by version 2, which newer regions refuse.
            signature_version="s3v4" if service == "s3" else None,
        ),
    )


def reset() -> None:
    """Forget every client: for tests, and after a SnapStart restore."""
    client.cache_clear()
