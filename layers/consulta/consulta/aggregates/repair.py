"""The repair queue: keys of items whose records could not be processed, settled from the items.

A message is ``{"pk": "P#prac_…#APPOINTMENT#appt_…"}`` and nothing else.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from consulta.aggregates import current, engine
from consulta.aggregates.contributions import contributes
from consulta.aggregates.walk_state import NewerGeneration
from consulta.core.errors import Busy
from consulta.core.keys import Key, Tenant, tenant_of
from consulta.core.observe import failure

# Of the function's 60 s. Practices whose turn does not come in time come again.
BUDGET_S = 40.0


class NotAKey(ValueError):
    """A message that names no item with figures."""


def repair(records: Sequence[dict[str, Any]]) -> list[str]:
    """Settle each key. Gives the ids of the messages that are to come again.

    A message that fails until the queue gives it up ends among the dead letters, for a person.
    """
    failed: list[str] = []
    end = time.monotonic() + BUDGET_S
    parts: dict[Tenant, dict[str, list[str]]] = {}
    for record in records:
        try:
            pk = _key_of(record["body"])
        except NotAKey as error:
            failure("a message names no item", error, message_id=record["messageId"])
            failed.append(record["messageId"])
        else:
            part = parts.setdefault(tenant_of(pk), {})
            part.setdefault(pk, []).append(record["messageId"])
    for tenant, messages in parts.items():
        try:
            if (left := end - time.monotonic()) <= 0:
                raise Busy
            deadline_s = min(engine.DEADLINE_S, left)
            unsettled: Sequence[str] = current.settle(tenant, messages, deadline_s=deadline_s)
        except (Busy, BotoCoreError, ClientError, NewerGeneration) as error:
            failure("a practice's repairs are to come again", error, practice=tenant.practice)
            unsettled = list(messages)
        failed += [message for pk in unsettled for message in messages[pk]]
    return failed


def _key_of(body: str) -> str:
    try:
        pk = str(json.loads(body)["pk"])
    except (ValueError, KeyError, TypeError):
        raise NotAKey("not a key") from None
    if not contributes(Key(pk)):
        raise NotAKey("not the key of an item with figures")
    return pk
