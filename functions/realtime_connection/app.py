"""The WebSocket API's routes: $connect with a ticket, $disconnect, and whatever a client sends.

Clients have nothing to say. A frame, such as a ping, only keeps the connection from being idle.
"""

import json
from typing import Any

from consulta.core.errors import Forbidden
from consulta.core.observe import observed
from consulta.realtime import connections, tickets

OK = {"statusCode": 200}


def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """One event of one connection. $connect without a good ticket is answered with 403."""
    context = event["requestContext"]
    connection_id = str(context["connectionId"])
    if context["eventType"] == "CONNECT":
        return _connect(event, connection_id)
    if context["eventType"] == "DISCONNECT":
        connections.close(connection_id)
    return OK


def _connect(event: dict[str, Any], connection_id: str) -> dict[str, Any]:
    ticket = (event.get("queryStringParameters") or {}).get("ticket") or ""
    try:
        tickets.admit(ticket, connection_id)
    except Forbidden as problem:
        return {
            "statusCode": problem.status,
            "headers": {"Content-Type": "application/problem+json"},
            "body": json.dumps({"status": problem.status, "title": problem.title}),
        }
    return OK


lambda_handler = observed(handle)
