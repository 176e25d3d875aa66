"""The requests behind a dashboard, sent again: what the engine and HTTP take of it, and no more.

As PostgreSQL's statements are prepared once, so are these: signed and written down as they were
sent, they go over connections that are open already, in the same three round trips. What comes back
is parsed as JSON and no further.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import urllib3

from consulta.dashboards.dashboard import READERS

EVENT = "before-send.dynamodb"


class Requests:
    """What a client sends while ``work`` is done, to be sent again."""

    def __init__(self, client: Any, work: Callable[[], object]) -> None:
        self._sent: list[Any] = []
        client.meta.events.register(EVENT, self._note)
        try:
            work()
        finally:
            client.meta.events.unregister(EVENT, self._note)
        endpoint = urlsplit(self._sent[0].url)
        self._http = urllib3.HTTPConnectionPool(
            str(endpoint.hostname), endpoint.port, maxsize=READERS, block=True
        )
        self._pool = ThreadPoolExecutor(READERS)

    def _note(self, request: Any, **_: Any) -> None:
        self._sent.append(request)

    def send(self) -> None:
        """Who it is about, then all reads at once, then the names."""
        first, *together, last = self._sent
        self._ask(first)
        list(self._pool.map(self._ask, together))
        self._ask(last)

    def _ask(self, request: Any) -> Any:
        answer = self._http.urlopen(
            request.method, urlsplit(request.url).path, request.body, dict(request.headers)
        )
        assert answer.status == 200, answer.data
        return json.loads(answer.data)
