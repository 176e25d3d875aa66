"""What the record of IAM's decisions has, and which refusals the tests themselves cause."""

import json
from typing import Any

from local.stack import DEFAULT_FOLDER, decisions

FOLDER = DEFAULT_FOLDER / "e2e"

OUTSIDER = "outsider"
"""The session in which a test tries what a role must not do."""

ON_PURPOSE: set[tuple[str, str]] = set()
"""(role, action) that a test took away from a function."""


def decided() -> list[dict[str, Any]]:
    """Each different decision so far (local/aws/permissions.py)."""
    return [json.loads(line) for line in decisions(FOLDER).read_text().splitlines()]


def unexpected() -> list[dict[str, Any]]:
    """The calls of functions that were refused, but for those a test wanted refused."""
    return [
        decision
        for decision in decided()
        if not decision["allowed"]
        and decision["session"] != OUTSIDER
        and (decision["role"], decision["action"]) not in ON_PURPOSE
    ]
