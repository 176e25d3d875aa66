"""Google Meet links: conferenceData.createRequest, which Google answers at once or a little later.

Source: https://developers.google.com/workspace/calendar/api/guides/create-events#conferencing.
"""

import secrets
import string
from typing import Any

from local.simulators.google.errors import bad_request
from local.simulators.google.state import Object

SOLUTION = "hangoutsMeet"
MODES = ("success", "pending", "failure")


def attach(body: Object, sent: Any, mode: str) -> None:
    """What conferenceDataVersion=1 does with the conferenceData that was sent; None removes it."""
    if sent is None:
        body.pop("conferenceData", None)
        body.pop("hangoutLink", None)
        return
    known = body.get("conferenceData", {})
    request = sent.get("createRequest")
    if request is not None and not request.get("requestId"):
        raise bad_request("Missing conference create request id.", "required")
    if request is None or request["requestId"] == _request_id(known):
        if not known or sent.get("conferenceId") not in (None, known.get("conferenceId")):
            raise bad_request("Invalid conference data.", "invalid")
        return
    if request.get("conferenceSolutionKey", {}).get("type") != SOLUTION:
        raise bad_request("Invalid conference type value.", "invalid")
    body.pop("hangoutLink", None)
    body["conferenceData"] = {
        "createRequest": {
            "requestId": request["requestId"],
            "conferenceSolutionKey": {"type": SOLUTION},
            "status": {"statusCode": "failure" if mode == "failure" else "pending"},
        }
    }
    if mode == "success":
        settle(body)


def _request_id(conference: Object) -> Any:
    return conference.get("createRequest", {}).get("requestId")


def settle(body: Object) -> bool:
    """Completes a pending conference; true where there was one."""
    conference = body.get("conferenceData", {})
    status = conference.get("createRequest", {}).get("status", {})
    if status.get("statusCode") != "pending":
        return False
    status["statusCode"] = "success"
    code = "-".join(_letters(count) for count in (3, 4, 3))
    link = f"https://meet.google.com/{code}"
    conference |= {
        "entryPoints": [
            {"entryPointType": "video", "uri": link, "label": link.removeprefix("https://")}
        ],
        "conferenceSolution": {
            "key": {"type": SOLUTION},
            "name": "Google Meet",
            "iconUri": "https://fonts.gstatic.com/s/i/productlogos/meet_2020q4/v6/icon.png",
        },
        "conferenceId": code,
    }
    body["hangoutLink"] = link
    return True


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(count))
