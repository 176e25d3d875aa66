"""IAM: what a call is about, and a record of what was allowed and what was refused."""

import json
import os
from pathlib import Path
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import sts


def check_batches_as_what_they_hold() -> None:
    """Gap: SQS's batch calls are checked as actions of their own, which AWS does not have.

    SendMessageBatch takes ``sqs:SendMessage`` and so on (SQS developer guide, "Amazon SQS API
    permissions").
    """
    extract = iam_actions.extract_iam_action

    def extract_single(service: str, *request: Any, **named: Any) -> str | None:
        action: str | None = extract(service, *request, **named)
        return action.removesuffix("Batch") if action and service == "sqs" else action

    iam_actions.extract_iam_action = extract_single


def check_schedules_in_their_group() -> None:
    """Gap: a call about a schedule is checked as if the schedule were in the default group.

    On AWS the group is part of the schedule's ARN (service authorization reference, EventBridge
    Scheduler), so that a role can be confined to one.
    """
    extract = iam_actions.extract_resource_arn

    def extract_with_group(
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
        region: str,
        account: str,
    ) -> str:
        arn: str = extract(service, method, path, headers, body, query, region, account)
        if service != "scheduler" or ":schedule/default/" not in arn:
            return arn
        named = json.loads(body or b"{}").get("GroupName") or query.get("groupName") or "default"
        group = named[0] if isinstance(named, list) else named
        return arn.replace(":schedule/default/", f":schedule/{group}/")

    iam_actions.extract_resource_arn = extract_with_group


def check_whom_a_mail_is_from() -> None:
    """Gap: SES's SendEmail is checked as if it were about nothing, and ses:FromAddress is unknown.

    On AWS it is about the sender's identity (service authorization reference, Amazon SES).
    """
    extract = iam_actions.extract_resource_arn
    context = iam_actions.request_tag_context

    def extract_with_sender(
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
        region: str,
        account: str,
    ) -> str:
        arn: str = extract(service, method, path, headers, body, query, region, account)
        sender = iam_actions._query_param(query, "Source") if service == "ses" else ""
        return f"arn:aws:ses:{region}:{account}:identity/{sender}" if sender else arn

    def context_with_sender(
        service: str, action: str, body: bytes, query: dict[str, Any]
    ) -> dict[str, Any]:
        found: dict[str, Any] = context(service, action, body, query)
        sender = iam_actions._query_param(query, "Source") if service == "ses" else ""
        return found | {"ses:FromAddress": sender} if sender else found

    iam_actions.extract_resource_arn = extract_with_sender
    iam_actions.request_tag_context = context_with_sender


def write_down_what_iam_decides() -> None:
    """Gap: nobody hears of a refused call but its caller, who may well go on without.

    On AWS, CloudTrail has it. Here each decision about a role's call is a line of the file that the
    environment names as IAM_DECISIONS, written when it is made for the first time:
    {"role", "session", "action", "resource", "allowed"}; a function's session bears its name.
    There is no such file while IAM is not enforced.
    """
    if "IAM_DECISIONS" not in os.environ:
        return
    enforce = iam_evaluator.enforce
    written: set[str] = set()
    record = Path(os.environ["IAM_DECISIONS"])

    def enforce_and_write(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        denied = enforce(access_key_id, iam_action, service, region, resource_arn, service_context)
        caller = sts._sessions.get(access_key_id, {}).get("Arn", "")
        if denied or caller:
            role, _, session = caller.partition(":assumed-role/")[2].partition("/")
            decision = {
                "role": role,
                "session": session,
                "action": iam_action,
                "resource": resource_arn,
                "allowed": not denied,
            }
            line = json.dumps(decision) + "\n"
            if line not in written:
                written.add(line)
                with record.open("a") as decisions:
                    decisions.write(line)
        return denied

    iam_evaluator.enforce = enforce_and_write
