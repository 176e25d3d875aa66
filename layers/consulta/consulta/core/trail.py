"""What no item's change shows, for the audit: sign-ins, denials, exports, readings of notes.

The message waits in the audit's queue until it has its row. Ids only: never what people are called.
"""

import json
from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from consulta.core import aws, ids, settings
from consulta.core.errors import Busy
from consulta.core.item import Actor
from consulta.core.observe import failure
from consulta.core.time import now, to_text


class TrailSettings(settings.Settings):
    """Where the audit's messages go; empty where there is no audit."""

    audit_queue_url: str = ""


def record(
    kind: str,
    practice: str,
    *,
    by: str,
    request_id: str,
    origin: str = "",
    facts: Mapping[str, str] | None = None,
) -> bool:
    """Tell the audit of ``practice`` that ``by`` did something (``sign_in``, ``denied`` …).

    False where the queue did not take it: its callers go on, since a sign-in must not fail for it.
    What reveals something calls :func:`insist`.
    """
    queue = settings.load(TrailSettings).audit_queue_url
    if not queue:
        return True
    message = {
        "event": kind,
        "id": ids.new_id("evt"),
        "at": to_text(now()),
        "practice": practice,
        "by": by,
        "origin": origin,
        "request_id": request_id,
        "facts": dict(facts or {}),
    }
    try:
        aws.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(message))
    except (BotoCoreError, ClientError) as error:
        failure("the audit was not told", error, kind=kind)
        return False
    return True


def insist(what: str, kind: str, practice: str, by: Actor, **facts: str) -> None:
    """Tell the audit before something is revealed: notes, messages, exports, an account.

    Raises Busy where it cannot be told: then ``what`` must not happen.
    """
    told = record(kind, practice, by=by.id, request_id=by.request_id, origin=by.origin, facts=facts)
    if not told:
        raise Busy(f"{what} cannot be recorded now, try again")
