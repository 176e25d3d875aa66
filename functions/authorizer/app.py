"""Lambda authorizer of the HTTP API: payload 2.0, simple responses, no identity source.

It lets everything through, a bad token marked as bad: the function that is called then answers with
problem+json (docs/decisions/0005).
"""

from typing import Any

from consulta.core.observe import observed
from consulta.people.authorization import context_of


def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Who is calling, as ids, or why nobody is."""
    header = (event.get("headers") or {}).get("authorization")
    return {"isAuthorized": True, "context": context_of(header)}


lambda_handler = observed(handle)
