"""The local AWS against plain MiniStack: each patch is still needed, and works.

When a test says that plain MiniStack no longer has a gap, the patch can go. The second part
holds what the project relies on without a patch.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from local import processes
from local.aws import MINISTACK_VERSION
from local.environment import ministack_environment
from tests.integration.gaps_stack import ORIGIN, Aws, start, until


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

    assert fastest(plain) > 0.050
    assert fastest(patched) < 0.050


def test_functions_share_an_unpacked_layer(patched: Aws, plain: Aws) -> None:
    def folders(aws: Aws) -> set[str]:
        return {aws.invoke(name)["layer"] for name in ("Echo", "Other")}

    assert len(folders(plain)) == 2
    assert len(folders(patched)) == 1


def test_functions_do_not_see_the_developers_packages(patched: Aws, plain: Aws) -> None:
    assert plain.invoke("Other")["sees_pytest"]
    assert not patched.invoke("Other")["sees_pytest"]


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
    sender, recipient = "no-reply@example.com", ["someone@example.com"]
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
    (messages,) = mailbox.values()  # by account
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
