"""Cached AWS clients, made where they are first used and never on import."""

import os
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.loaders import Loader
from botocore.model import MapShape, Shape
from botocore.parsers import JSONParser, ResponseParser, ResponseParserFactory
from botocore.session import get_session

# Lambda's own time is short: a client that waits 60 s (botocore's default) outlives its caller.
CONNECT_TIMEOUT_S = 1
READ_TIMEOUT_S = 2
RETRIES = 4
USER_AGENT = "consulta"
# As many as the readers of one answer (dashboards/analytics/asked.py): botocore would keep ten and
# open the others anew.
CONNECTIONS = 24


class _ItemParser(JSONParser):
    """DynamoDB's answers, with items as they came.

    botocore looks for ten members in every value of every item, which took a third of a dashboard's
    time. Only binary values have to be decoded: an answer with something of their name is left to
    botocore. Its stubs know none of these methods; a botocore without them would do it all itself.
    """

    def _handle_json_body(self, raw_body: bytes, shape: Shape) -> Any:
        self._as_is = b'"B"' not in raw_body and b'"BS"' not in raw_body
        return super()._handle_json_body(raw_body, shape)  # type: ignore[misc]

    def _handle_map(self, shape: MapShape, value: dict[str, Any]) -> dict[str, Any]:
        if self._as_is and shape.value.name == "AttributeValue":
            return value
        parsed: dict[str, Any] = super()._handle_map(shape, value)  # type: ignore[misc]
        return parsed


class _Parsers(ResponseParserFactory):
    def create_parser(self, protocol_name: str) -> ResponseParser:
        return _ItemParser() if protocol_name == "json" else super().create_parser(protocol_name)


class _Models(Loader):
    """Descriptions of services, of which every folder is taken to have one.

    botocore looks into all of its 900 folders before it loads the one that is asked for.
    """

    def list_available_services(self, type_name: str) -> list[str]:
        del type_name
        return self._folders

    @cached_property
    def _folders(self) -> list[str]:
        there = [path for path in self.search_paths if Path(path).is_dir()]
        return sorted({each.name for path in there for each in os.scandir(path)})


@cache
def _session() -> boto3.Session:
    session = get_session()
    session.register_component("data_loader", _Models())
    session.register_component("response_parser_factory", _Parsers())
    return boto3.Session(botocore_session=session)


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
    return _session().client(
        service,  # type: ignore[call-overload]  # boto3-stubs lists literals only
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=min(CONNECT_TIMEOUT_S, read_timeout),
            read_timeout=read_timeout,
            retries={"mode": "standard", "max_attempts": retries},
            # botocore's own is put together anew, twice, for every call.
            user_agent=USER_AGENT,
            max_pool_connections=CONNECTIONS,
            # S3's presigned addresses would still be made by version 2, which newer regions refuse.
            signature_version="s3v4" if service == "s3" else None,
        ),
    )


def reset() -> None:
    """Forget every client: for tests, and after a SnapStart restore."""
    client.cache_clear()
    _session.cache_clear()
