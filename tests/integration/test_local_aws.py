"""The local AWS against plain MiniStack: each patch is still needed, and works.

When a test says that plain MiniStack no longer has a gap, the patch can go. The second part
holds what the project relies on without a patch.
"""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import httpx
import jwt
import pytest
from botocore.exceptions import ClientError

from local import processes
from local.aws import MINISTACK_VERSION
from local.environment import endpoint, ministack_environment
from local.processes import Service
from tests.integration.gaps_stack import (
    DEFAULT_ORIGIN,
    ORIGIN,
    ROOT,
    STACK,
    Aws,
    free_port,
    start,
    until,
)


@pytest.fixture(scope="module", autouse=True)
def _no_real_account() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in ministack_environment(1, Path(), Path(), auth=False).items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    folder = tmp_path_factory.mktemp("patched")
    try:
        yield start("local.aws", folder)
    finally:
        processes.stop_all(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    folder = tmp_path_factory.mktemp("plain")
    try:
        yield start("ministack", folder)
    finally:
        processes.stop_all(folder)


def test_the_patches_are_for_the_version_that_is_pinned() -> None:
    assert version("ministack") == MINISTACK_VERSION


# --- gaps, and their patches --------------------------------------------------------------------


def test_sam_resolves_what_the_stack_was_given(patched: Aws, plain: Aws) -> None:
    def origins(aws: Aws) -> list[str]:
        answer = aws.client("cloudformation").get_template(
            StackName=STACK, TemplateStage="Processed"
        )
        body = answer["TemplateBody"]["Resources"]["Api"]["Properties"]["Body"]
        return list(body["x-amazon-apigateway-cors"]["allowOrigins"])

    assert origins(plain) == [DEFAULT_ORIGIN]
    assert origins(patched) == [ORIGIN]


def test_an_http_api_has_the_routes_of_its_openapi_body(patched: Aws, plain: Aws) -> None:
    assert plain.api("/webhooks/echo").status_code == 404
    assert patched.api("/webhooks/echo").status_code == 200
    preflight = patched.api("/webhooks/echo", method="OPTIONS", headers={"origin": ORIGIN})
    assert preflight.headers["access-control-allow-origin"] == ORIGIN


def test_cookies_are_a_list_of_the_event_and_no_header(patched: Aws, plain: Aws) -> None:
    url = plain.hand_made_api("Echo")
    event = httpx.get(url, headers={"cookie": "a=1; b=2"}).json()["event"]
    assert "cookies" not in event
    event = patched.api("/webhooks/echo", headers={"cookie": "a=1; b=2"}).json()["event"]
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]


def test_a_body_that_is_no_text_comes_in_base64(patched: Aws, plain: Aws) -> None:
    sent = {"content": b'{"name": "\xff"}', "headers": {"content-type": "application/json"}}
    event = httpx.request("GET", plain.hand_made_api("Echo"), **sent).json()["event"]
    assert (event["body"], event["isBase64Encoded"]) == (
        '{"name": "\N{REPLACEMENT CHARACTER}"}',
        False,
    )
    event = patched.api("/webhooks/echo", **sent).json()["event"]
    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == sent["content"]
    sent["content"] = '{"name": "Ángela"}'
    event = patched.api("/webhooks/echo", **sent).json()["event"]
    assert (event["body"], event["isBase64Encoded"]) == (sent["content"], False)


def test_the_http_api_answers_at_the_root(patched: Aws, plain: Aws) -> None:
    plain.hand_made_api("Echo")
    assert httpx.get(f"{plain.url}/webhooks/echo").status_code == 404
    answer = httpx.get(f"{patched.url}/v1/echo/a%20b?x=1").json()
    assert answer["event"]["rawPath"] == "/v1/echo/a b"
    assert answer["event"]["rawQueryString"] == "x=1"
    preflight = httpx.options(f"{patched.url}/v1/echo/a", headers={"origin": ORIGIN})
    assert preflight.headers["access-control-allow-origin"] == ORIGIN


def test_reported_stream_failures_are_retried_and_then_sent_away(patched: Aws, plain: Aws) -> None:
    names = ["one", "bad", "ignored", "two"]
    for aws in (patched, plain):
        aws.offer("PartialTable", "PartialMapping", names)
    failure = until(lambda: patched.messages("Failures"))[0]
    assert failure["DDBStreamBatchInfo"]["batchSize"] == 2
    assert failure["requestContext"]["condition"] == "RetryAttemptsExhausted"
    # The failed record and what follows it, once more; what the filter drops, never.
    assert patched.printed("Partial") == [["one", "bad", "two"], ["bad", "two"]]
    # Plain MiniStack takes the batch for done: the failed record is lost.
    assert until(lambda: plain.printed("Partial")) == [["one", "bad", "two"]]
    assert plain.messages("Failures") == []


def test_a_failing_stream_batch_is_cut_until_only_the_bad_record_is_lost(
    patched: Aws, plain: Aws
) -> None:
    names = ["one", "two", "three", "bad-four"]
    for aws in (patched, plain):
        aws.offer("BisectedTable", "BisectedMapping", names)
    failure = until(lambda: patched.messages("Failures"))[0]
    assert failure["DDBStreamBatchInfo"]["batchSize"] == 1
    assert patched.printed("Bisected")[-1] == ["bad-four"]
    assert {"one", "two", "three"} <= {n for batch in patched.printed("Bisected") for n in batch}
    # Without the patch, MaximumRetryAttempts of 0 or not, the whole batch comes again and again.
    until(lambda: len(plain.printed("Bisected")) > 1)
    assert {tuple(batch) for batch in plain.printed("Bisected")} == {tuple(names)}


def test_a_schedule_keeps_to_its_time_zone(patched: Aws, plain: Aws) -> None:
    zone = "America/Sao_Paulo"
    soon = datetime.now(UTC) + timedelta(seconds=2)
    expression = f"at({soon.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M:%S})"
    for aws in (patched, plain):
        aws.client("scheduler").create_schedule(
            Name="report",
            ScheduleExpression=expression,
            ScheduleExpressionTimezone=zone,
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={
                "Arn": aws.outputs["ScheduledArn"],
                "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
                "Input": '{"due": "<aws.scheduler.scheduled-time>"}',
            },
        )
    (event,) = until(lambda: patched.printed("Scheduled"))
    assert event == {"due": f"{soon:%Y-%m-%dT%H:%M:%SZ}"}
    assert patched.client("scheduler").list_schedules(NamePrefix="report")["Schedules"] == []
    # Read as UTC, it lay three hours back when it was created, and fires with the first sweep.
    (event,) = until(lambda: plain.printed("Scheduled"))
    assert event == {"due": "<aws.scheduler.scheduled-time>"}


def test_a_silent_function_answers_at_once(patched: Aws, plain: Aws) -> None:
    def fastest(aws: Aws) -> float:
        seconds = []
        for _ in range(8):
            began = time.perf_counter()
            aws.client("lambda").invoke(FunctionName=aws.outputs["Other"], Payload=b"{}")
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    # By comparison, in one run: the wait that the patch takes away is 50 ms.
    assert fastest(patched) + 0.030 < fastest(plain)


def test_functions_share_an_unpacked_layer(patched: Aws, plain: Aws) -> None:
    def folders(aws: Aws) -> set[str]:
        return {aws.invoke(name)["layer"] for name in ("Echo", "Other")}

    assert len(folders(plain)) == 2
    assert len(folders(patched)) == 1


def test_functions_do_not_see_the_developers_packages(patched: Aws, plain: Aws) -> None:
    assert plain.invoke("Other")["sees_pytest"]
    assert not patched.invoke("Other")["sees_pytest"]


def signed_up(aws: Aws, email: str) -> Any:
    """A confirmed account, by the code that was mailed; gives the client."""
    people = aws.client("cognito-idp")
    account = {"ClientId": aws.outputs["App"], "Username": email}
    people.sign_up(
        **account, Password="Password-123", UserAttributes=[{"Name": "email", "Value": email}]
    )
    people.confirm_sign_up(**account, ConfirmationCode=mailed_codes(aws, email)[-1])
    return people


def mailed_codes(aws: Aws, email: str) -> list[str]:
    mailbox = httpx.get(f"{aws.url}/_ministack/ses/messages").json()["messages"]
    messages = [m for messages in mailbox.values() for m in messages if email in m["To"]]
    return [re.findall(r"[0-9]{6}", m["BodyText"])[0] for m in messages]


def sign_in(aws: Aws, email: str) -> dict[str, Any]:
    answer: dict[str, Any] = aws.client("cognito-idp").initiate_auth(
        ClientId=aws.outputs["App"],
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": "Password-123"},
    )
    return answer


def test_refresh_tokens_are_rotated_and_good_once(patched: Aws, plain: Aws) -> None:
    def refresh(aws: Aws, token: str) -> dict[str, Any]:
        people = aws.client("cognito-idp")
        answer = people.get_tokens_from_refresh_token(
            ClientId=aws.outputs["App"], RefreshToken=token
        )
        return dict(answer["AuthenticationResult"])

    def session(access_token: str) -> str:
        claims = jwt.decode(access_token, options={"verify_signature": False})
        return str(claims["origin_jti"])

    for aws in (patched, plain):
        signed_up(aws, "rotated@example.com")
    first = sign_in(plain, "rotated@example.com")["AuthenticationResult"]
    assert "RefreshToken" not in refresh(plain, first["RefreshToken"])

    people = patched.client("cognito-idp")
    first = sign_in(patched, "rotated@example.com")["AuthenticationResult"]
    second = refresh(patched, first["RefreshToken"])
    again = refresh(patched, first["RefreshToken"])
    given = {r["RefreshToken"] for r in (first, second, again)}
    assert len(given) == 3
    assert {session(r["AccessToken"]) for r in (first, second, again)} == {
        session(first["AccessToken"])
    }
    time.sleep(1.1)
    with pytest.raises(people.exceptions.RefreshTokenReuseException):
        refresh(patched, first["RefreshToken"])
    assert refresh(patched, second["RefreshToken"])["RefreshToken"] not in given


def test_mailed_codes_are_random_and_checked(patched: Aws, plain: Aws) -> None:
    email = "mailed@example.com"
    for aws in (patched, plain):
        people, account = aws.client("cognito-idp"), {"ClientId": aws.outputs["App"]}
        account["Username"] = email
        people.sign_up(**account, Password="Password-123")
        people.resend_confirmation_code(**account)
        people.forgot_password(**account)
    assert mailed_codes(plain, email) == ["123456", "123456", "654321"]
    plain.client("cognito-idp").confirm_sign_up(
        ClientId=plain.outputs["App"], Username=email, ConfirmationCode="000000"
    )

    people, account = patched.client("cognito-idp"), {"ClientId": patched.outputs["App"]}
    account["Username"] = email
    _, second, reset = mailed_codes(patched, email)
    wrong = next(code for code in ("000000", "000001", "000002") if code not in (second, reset))
    with pytest.raises(people.exceptions.CodeMismatchException):
        people.confirm_sign_up(**account, ConfirmationCode=wrong)
    with pytest.raises(people.exceptions.CodeMismatchException):
        people.confirm_forgot_password(**account, ConfirmationCode=wrong, Password="Password-456")
    people.confirm_sign_up(**account, ConfirmationCode=second)
    people.confirm_forgot_password(**account, ConfirmationCode=reset, Password="Password-456")
    with pytest.raises(people.exceptions.ExpiredCodeException):
        people.confirm_forgot_password(**account, ConfirmationCode=reset, Password="Password-789")
    user = people.admin_get_user(UserPoolId=patched.outputs["People"], Username=email)
    assert {"Name": "email_verified", "Value": "true"} in user["UserAttributes"]


def test_a_step_of_signing_in_needs_the_steps_before_it(patched: Aws, plain: Aws) -> None:
    def answer(aws: Aws, session: str, password: str = "Password-456") -> dict[str, Any]:
        result: dict[str, Any] = aws.client("cognito-idp").respond_to_auth_challenge(
            ClientId=aws.outputs["App"],
            ChallengeName="NEW_PASSWORD_REQUIRED",
            Session=session,
            ChallengeResponses={"USERNAME": "steps@example.com", "NEW_PASSWORD": password},
        )
        return result

    for aws in (patched, plain):
        aws.client("cognito-idp").admin_create_user(
            UserPoolId=aws.outputs["People"],
            Username="steps@example.com",
            TemporaryPassword="Password-123",
            MessageAction="SUPPRESS",
        )
    assert "AuthenticationResult" in answer(plain, "made-up" * 4)
    refused = patched.client("cognito-idp").exceptions.NotAuthorizedException
    with pytest.raises(refused):
        answer(patched, "made-up" * 4)
    session = sign_in(patched, "steps@example.com")["Session"]
    assert "AuthenticationResult" in answer(patched, session)
    with pytest.raises(refused):
        answer(patched, session)


def test_a_reference_to_a_secret_is_its_arn(patched: Aws, plain: Aws) -> None:
    for aws, by_arn in ((plain, False), (patched, True)):
        secret = aws.client("secretsmanager").describe_secret(SecretId=aws.outputs["Secret"])
        assert (aws.outputs["Secret"] == secret["ARN"]) is by_arn


def enforcing(module: str, folder: Path) -> Aws:
    """A MiniStack that enforces IAM, with nothing deployed into it."""
    port = free_port()
    for name in ("tmp", "layers"):
        (folder / name).mkdir()
    environment = ministack_environment(port, folder / "tmp", folder / "layers", auth=True)
    environment["IAM_DECISIONS"] = str(folder / "iam.jsonl")
    aws = Aws(endpoint(port), {})
    health = f"{aws.url}/_ministack/health"
    processes.start(folder, [Service("aws", (module,), environment, health)], ROOT)
    return aws


def in_the_role(aws: Aws, service: str) -> Any:
    """A client that may send messages, mail from one address, and name schedules in one group."""
    iam, arn = aws.client("iam"), "arn:aws:iam::000000000000:role/narrow"
    sender = {"StringEquals": {"ses:FromAddress": "a@example.com"}}
    schedules = "arn:aws:scheduler:us-east-1:000000000000:schedule/ours/*"
    identities = "arn:aws:ses:us-east-1:000000000000:identity/*"
    allow: list[dict[str, Any]] = [
        {"Action": "scheduler:CreateSchedule", "Resource": schedules},
        {"Action": "ses:SendEmail", "Resource": identities, "Condition": sender},
        {"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:000000000000:q"},
    ]
    if not any(role["Arn"] == arn for role in iam.list_roles()["Roles"]):
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
        document = {"Version": "2012-10-17", "Statement": [trust]}
        iam.create_role(RoleName="narrow", AssumeRolePolicyDocument=json.dumps(document))
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | a for a in allow]}
        policy = json.dumps(document)
        iam.put_role_policy(RoleName="narrow", PolicyName="p", PolicyDocument=policy)
    given = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return boto3.client(
        service,
        endpoint_url=aws.url,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def refused(call: Callable[[Any, str], None], client: Any, named: str) -> bool:
    try:
        call(client, named)
    except ClientError as error:
        return error.response["Error"]["Code"].startswith("AccessDenied")
    return False


def test_iam_knows_groups_senders_and_batches_and_writes_down_what_it_decides(
    tmp_path: Path,
) -> None:
    found: dict[str, list[bool]] = {}
    for module in ("ministack", "local.aws"):
        folder = tmp_path / module
        folder.mkdir()
        try:
            aws = enforcing(module, folder)
            aws.client("scheduler").create_schedule_group(Name="ours")
            queue = aws.client("sqs").create_queue(QueueName="q")["QueueUrl"]
            aws.client("ses").verify_email_identity(EmailAddress="a@example.com")
            aws.client("ses").verify_email_identity(EmailAddress="b@example.com")
            scheduler, ses = in_the_role(aws, "scheduler"), in_the_role(aws, "ses")
            found[module] = [
                *(refused(schedule, scheduler, group) for group in ("ours", "default")),
                *(refused(mail, ses, sender) for sender in ("a@example.com", "b@example.com")),
                refused(send_batch, in_the_role(aws, "sqs"), queue),
            ]
        finally:
            processes.stop_all(folder)
    assert found == {"ministack": [True] * 5, "local.aws": [False, True, False, True, False]}
    assert not (tmp_path / "ministack" / "iam.jsonl").exists()
    lines = (tmp_path / "local.aws" / "iam.jsonl").read_text().splitlines()
    decided = [json.loads(line) for line in lines]
    assert [d["allowed"] for d in decided] == [True, False, True, False, True]
    assert {d["role"] for d in decided} == {"narrow"}
    assert decided[1]["resource"].endswith(":schedule/default/s")


def schedule(client: Any, group: str) -> None:
    client.create_schedule(
        Name="s",
        GroupName=group,
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:sqs:us-east-1:000000000000:q",
            "RoleArn": "arn:aws:iam::000000000000:role/narrow",
        },
    )


def send_batch(client: Any, queue: str) -> None:
    client.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "{}"}])


def mail(client: Any, sender: str) -> None:
    client.send_email(
        Source=sender,
        Destination={"ToAddresses": ["c@example.com"]},
        Message={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}},
    )


# --- relied on without a patch ------------------------------------------------------------------


def test_an_authorizer_without_identity_source_decides_on_every_request(patched: Aws) -> None:
    contexts = [
        httpx.get(f"{patched.url}/v1/echo/a", headers=headers).json()["event"]["requestContext"]
        for headers in ({}, {}, {"authorization": "Bearer x"})
    ]
    seen = [context["authorizer"]["lambda"] for context in contexts]
    assert [context["token"] for context in seen] == ["none", "none", "Bearer x"]
    assert len({context["decision"] for context in seen}) == 3
    open_route = httpx.get(f"{patched.url}/webhooks/echo").json()["event"]
    assert "authorizer" not in open_route["requestContext"]


def test_queue_messages_are_filtered_retried_one_by_one_and_end_as_dead_letters(
    patched: Aws,
) -> None:
    names = ["one", "bad", "ignored"]
    entries = [
        {
            "Id": n,
            "MessageBody": json.dumps({"pk": n, "kind": "other" if n == "ignored" else "work"}),
        }
        for n in names
    ]
    patched.client("sqs").send_message_batch(QueueUrl=patched.outputs["Work"], Entries=entries)
    (dead,) = until(lambda: patched.messages("DeadLetters"))
    assert dead["pk"] == "bad"
    delivered = [name for batch in patched.printed("Worker") for name in batch]
    assert sorted(delivered) == ["bad", "bad", "one"]


def test_a_schedule_of_the_template_is_there(patched: Aws) -> None:
    scheduler = patched.client("scheduler")
    names = [s["Name"] for s in scheduler.list_schedules()["Schedules"]]
    schedules = [scheduler.get_schedule(Name=name) for name in names]
    assert "rate(1 minute)" in [schedule["ScheduleExpression"] for schedule in schedules]


def test_secrets_keep_the_value_that_was_put(patched: Aws) -> None:
    secrets = patched.client("secretsmanager")
    arn = secrets.create_secret(Name="provider", SecretString="{}")["ARN"]
    secrets.put_secret_value(SecretId=arn, SecretString='{"api_key": "k"}')
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == '{"api_key": "k"}'


def test_a_key_decrypts_in_the_same_context_only(patched: Aws) -> None:
    kms = patched.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    context = {"practice": "a"}
    encrypted = kms.encrypt(KeyId=key, Plaintext=b"token", EncryptionContext=context)
    blob = encrypted["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"token"
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        kms.decrypt(CiphertextBlob=blob, EncryptionContext={"practice": "b"})


def test_mail_of_a_verified_sender_is_in_the_mailbox(patched: Aws) -> None:
    ses = patched.client("ses")
    # The code mails of the user pool's tests are in the same mailbox.
    sender, recipient = "no-reply@example.com", ["reader@example.com"]
    content = {"Subject": {"Data": "old"}, "Body": {"Text": {"Data": "a link"}}}
    with pytest.raises(ses.exceptions.MessageRejected):
        ses.send_email(
            Source="x@example.org", Destination={"ToAddresses": recipient}, Message=content
        )
    ses.verify_email_identity(EmailAddress=sender)
    ses.send_email(Source=sender, Destination={"ToAddresses": recipient}, Message=content)
    patched.client("sesv2").send_email(
        FromEmailAddress=sender,
        Destination={"ToAddresses": recipient},
        Content={"Simple": content | {"Subject": {"Data": "new"}}},
    )
    mailbox = httpx.get(f"{patched.url}/_ministack/ses/messages").json()["messages"]
    (received,) = mailbox.values()  # by account
    messages = [message for message in received if message["To"] == recipient]
    assert [message["Subject"] for message in messages] == ["old", "new"]
    assert {message["BodyText"] for message in messages} == {"a link"}


def test_a_presigned_link_gives_the_file(patched: Aws) -> None:
    s3 = patched.client("s3")
    s3.put_object(Bucket="layers", Key="report.pdf", Body=b"%PDF", ContentType="application/pdf")
    link = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "layers", "Key": "report.pdf"}, ExpiresIn=60
    )
    answer = httpx.get(link)
    assert answer.content == b"%PDF"
    assert answer.headers["content-type"] == "application/pdf"
