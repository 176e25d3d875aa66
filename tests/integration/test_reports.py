"""Reports from the request to the mail, and the schedules that ask for them."""

import csv
import io
import json
import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import openpyxl
import pypdf
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from consulta.aggregates import walk
from consulta.core import aws, table
from consulta.core.keys import Tenant
from consulta.core.time import now
from consulta.money.records import PAYMENT, REFUND
from consulta.reports import files, requests, worker
from consulta.reports.records import REPORT_SCHEDULE
from tests.unit.aggregates.images import image
from tests.unit.people.calling import Answer, call, handler, signed_in
from tests.unit.scheduling.world import World

BUCKET, API_URL, GROUP = "reports", "https://api.consulta.example", "reports"
BODY = {"from": "2026-11-01", "to": "2026-11-30"}
MAILED = ["ana@example.com", "rui@example.com"]
WEEKLY = {"frequency": "weekly", "time": "08:00", "weekday": 1, "recipients": MAILED}
MONDAY = "2026-11-23T08:00:00Z"


def serving(path: str) -> str:
    """The function behind a path."""
    return "report_schedules" if path.startswith("/v1/report-schedules") else "reports"


class Office:
    """A practice with figures, the services that reports need, and what goes through them."""

    def __init__(self, environment: pytest.MonkeyPatch) -> None:
        sqs = aws.client("sqs")
        self.queue = sqs.create_queue(QueueName="reports")["QueueUrl"]
        arn = "arn:aws:sqs:us-east-1:123456789012:reports"
        values = {
            "REPORTS_BUCKET": BUCKET,
            "REPORTS_QUEUE_URL": self.queue,
            "REPORTS_QUEUE_ARN": arn,
            "SCHEDULE_GROUP": GROUP,
            "SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/schedules",
            "DEAD_LETTERS_ARN": f"{arn}-dead",
            "SENDER_EMAIL": "reports@consulta.example",
            "API_URL": API_URL,
        }
        for name, value in values.items():
            environment.setenv(name, value)
        aws.client("s3", 10).create_bucket(Bucket=BUCKET)
        aws.client("ses").verify_email_identity(EmailAddress="reports@consulta.example")
        aws.client("scheduler").create_schedule_group(Name=GROUP)
        self.world = World()

    @property
    def tenant(self) -> Tenant:
        return self.world.tenant

    def money(self) -> None:
        """Two payments on one day, one of them in dollars, and a refund on another day."""
        items = [
            image(PAYMENT, "pay_1", tenant=self.tenant),
            image(PAYMENT, "pay_2", tenant=self.tenant, currency="USD", captured=12_345),
            image(REFUND, "ref_1", tenant=self.tenant),
        ]
        table.transact([table.put_raw(item) for item in items])
        walk.walk(self.tenant)

    def ask(self, method: str, path: str, body: Any = None, **request: Any) -> Answer:
        context = signed_in("owner", self.world.practice)
        return call(serving(path), method, path, body, context=context, **request)

    def messages(self) -> list[dict[str, Any]]:
        """What the worker is handed: taken off the queue."""
        sqs = aws.client("sqs")
        found = sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [{"messageId": m["MessageId"], "body": m["Body"]} for m in found]

    def schedule(self, **changes: Any) -> str:
        made = self.ask("POST", "/v1/report-schedules", WEEKLY | changes)
        assert made.status == 201
        return str(made.body["id"])

    def fired(self, schedule_id: str, at: str = MONDAY) -> dict[str, Any]:
        """The timer's message, as Scheduler fills it in from the target's input."""
        timer = aws.client("scheduler").get_schedule(Name=schedule_id, GroupName=GROUP)
        body = timer["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", at)
        return {"messageId": "timer", "body": body}

    def report(self, report_id: str) -> dict[str, Any]:
        found = self.ask("GET", f"/v1/reports/{report_id}")
        assert found.status == 200
        return dict(found.body)

    def reports(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/v1/reports").body["items"])

    def stored(self) -> dict[str, bytes]:
        """The bucket's files by their endings."""
        s3 = aws.client("s3", 10)
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]
        assert all(key.startswith(f"{self.world.practice}/rep_") for key in keys)
        return {
            key.rpartition(".")[2]: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
        }


def work(*messages: dict[str, Any]) -> list[str]:
    """Give a batch to the worker; the ids of the messages that come again."""
    context = SimpleNamespace(aws_request_id="aws-1", function_name="test")
    first = {"attributes": {"ApproximateReceiveCount": "1"}}
    records = [first | message for message in messages]
    answer = handler("report_worker")({"Records": records}, context)
    return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]


def mails() -> list[Any]:
    return list(ses_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages)


def mailed_to() -> list[str]:
    return [address for mail in mails() for address in mail.destinations["ToAddresses"]]


def links() -> list[str]:
    return [link for mail in mails() for link in re.findall(rf"{API_URL}(\S+)", mail.body)]


@pytest.fixture
def office(tables: Any, environment: pytest.MonkeyPatch) -> Office:
    return Office(environment)


# ---------------------------------------------------------------- from the request to the mail


def test_a_report_has_the_same_figures_in_all_three_formats(office: Office) -> None:
    office.money()
    asked = office.ask("POST", "/v1/reports", BODY | {"recipients": MAILED})
    path = f"/v1/reports/{asked.body['id']}"
    assert (asked.status, asked.headers["Location"]) == (202, path)
    assert (asked.body["state"], asked.body["files"]) == ("queued", [])
    assert (asked.body["from"], asked.body["to"]) == ("2026-11-01", "2026-11-30")
    assert work(*office.messages()) == []
    ready = office.report(asked.body["id"])
    assert (ready["state"], ready["ready_at"] is not None) == ("ready", True)

    stored = office.stored()
    sizes = {form: len(body) for form, body in stored.items()}
    assert {file["format"]: file["bytes"] for file in ready["files"]} == sizes
    assert set(sizes) == {"csv", "pdf", "xlsx"}
    rows = list(csv.DictReader(io.StringIO(stored["csv"].decode("utf-8-sig"), newline="")))
    assert len(rows) == 60
    sums = {
        (currency, name): sum(Decimal(r[name]) for r in rows if r["currency"] == currency)
        for currency in ("EUR", "USD")
        for name in ("payments", "collected", "refunded", "commission", "fees", "net")
    }
    # 5000 taken with 500 commission and 95 fee; 2000 back with 200 of the commission.
    assert sums == {
        ("EUR", "payments"): 1,
        ("EUR", "collected"): Decimal("50.00"),
        ("EUR", "refunded"): Decimal("20.00"),
        ("EUR", "commission"): Decimal("3.00"),
        ("EUR", "fees"): Decimal("0.95"),
        ("EUR", "net"): Decimal("26.05"),
        ("USD", "payments"): 1,
        ("USD", "collected"): Decimal("123.45"),
        ("USD", "refunded"): 0,
        ("USD", "commission"): Decimal("5.00"),
        ("USD", "fees"): Decimal("0.95"),
        ("USD", "net"): Decimal("117.50"),
    }
    [paid, back] = [r for r in rows if r["currency"] == "EUR" and Decimal(r["net"])]
    assert (paid["day"], paid["net"]) == ("2026-11-20", "44.05")
    assert (back["day"], back["net"]) == ("2026-11-21", "-18.00")

    book = openpyxl.load_workbook(io.BytesIO(stored["xlsx"]))
    text = "\n".join(
        page.extract_text() for page in pypdf.PdfReader(io.BytesIO(stored["pdf"])).pages
    )
    for currency in ("EUR", "USD"):
        shown = [row for row in book[currency].iter_rows(values_only=True) if row[0] is not None]
        days = {f"{row[0]:%Y-%m-%d}": row for row in shown if hasattr(row[0], "year")}
        assert len(days) == 30
        for row in (r for r in rows if r["currency"] == currency):
            amounts = [Decimal(row[name]) for name in ("collected", "refunded", "net")]
            cells = days[row["day"]]
            assert [round(Decimal(str(cells[n])), 2) for n in (2, 3, 6)] == amounts
        assert f"{sums[currency, 'net']:.2f}" in text
    assert "-18.00" in text.replace("\N{MINUS SIGN}", "-")


def test_each_recipient_gets_one_mail_with_a_link_to_each_file(office: Office) -> None:
    office.ask("POST", "/v1/reports", BODY | {"recipients": MAILED})
    work(*office.messages())
    assert mailed_to() == MAILED
    assert {mail.subject for mail in mails()} == {"Revenue report, 2026-11-01 to 2026-11-30"}
    assert all(address not in mail.body for mail in mails() for address in MAILED)
    # Everybody has links of their own.
    assert len(set(links())) == 6


def test_a_message_that_comes_twice_makes_one_report_and_one_mail(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = office.ask("POST", "/v1/reports", BODY | {"recipients": MAILED[:1]})
    [message] = office.messages()
    assert work(message) == []
    before = office.report(asked.body["id"])
    made: list[Any] = []
    monkeypatch.setattr(files, "put", lambda *given: made.append(given))
    assert work(message, message) == []
    assert office.report(asked.body["id"])["version"] == before["version"]
    assert (made, mailed_to(), len(office.reports())) == ([], MAILED[:1], 1)


def test_after_a_mail_that_failed_only_the_others_are_sent(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.ask("POST", "/v1/reports", BODY | {"recipients": MAILED})
    [message] = office.messages()
    real = worker.mail.send

    def refuse_the_second(to: str, *letter: str) -> str:
        if to == MAILED[1]:
            raise ClientError({"Error": {"Code": "Throttling"}}, "SendEmail")
        return real(to, *letter)

    with monkeypatch.context() as patched:
        patched.setattr(worker.mail, "send", refuse_the_second)
        assert work(message) == [message["messageId"]]
    assert mailed_to() == MAILED[:1]
    assert work(message) == []
    assert mailed_to() == MAILED


def test_one_message_that_fails_leaves_the_others_of_its_batch_alone(office: Office) -> None:
    asked = office.ask("POST", "/v1/reports", BODY)
    [message] = office.messages()
    assert work({"messageId": "broken", "body": "no json"}, message) == ["broken"]
    assert office.report(asked.body["id"])["state"] == "ready"


def test_a_key_asks_once(office: Office) -> None:
    first, again = (
        office.ask("POST", "/v1/reports", BODY, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    assert (again.status, again.body) == (202, first.body)
    assert len(office.messages()) == 1


def test_a_report_that_could_not_be_queued_leaves_nothing(office: Office) -> None:
    schedule = office.schedule()
    aws.client("sqs").delete_queue(QueueUrl=office.queue)
    for path, body in (("/v1/reports", BODY), (f"/v1/report-schedules/{schedule}/run", None)):
        refused = office.ask("POST", path, body)
        assert (refused.status, refused.body["type"]) == (503, "urn:consulta:problem:busy")
        assert refused.headers["Retry-After"] == "1"
    assert office.reports() == []


def test_the_same_key_asks_again_after_a_failed_queueing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_message: dict[str, Any]) -> None:
        raise EndpointConnectionError(endpoint_url="sqs")

    key = {"idempotency-key": "monthly"}
    with monkeypatch.context() as patched:
        patched.setattr(requests, "send", refuse)
        assert office.ask("POST", "/v1/reports", BODY, headers=key).status == 503
    asked = office.ask("POST", "/v1/reports", BODY, headers=key)
    assert asked.status == 202
    assert work(*office.messages()) == []
    assert office.report(asked.body["id"])["state"] == "ready"


def test_after_its_last_try_the_report_is_failed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError

    asked = office.ask("POST", "/v1/reports", BODY)
    [message] = office.messages()
    monkeypatch.setattr(worker.revenue, "build", break_down)
    for tries, state in (("2", "queued"), ("3", "failed")):
        again = {**message, "attributes": {"ApproximateReceiveCount": tries}}
        assert work(again) == [message["messageId"]]
        assert office.report(asked.body["id"])["state"] == state


@pytest.mark.parametrize(
    "message",
    [
        {"practice": "prac_01JC0NS0TADEM0000000000009", "report": "rep_01JC0NS0TADEM0000000000000"},
        {"report": "rep_01JC0NS0TADEM0000000000000"},
        {"schedule": "rsch_01JC0NS0TADEM0000000000000", "at": MONDAY},
    ],
)
def test_a_message_about_nothing_is_dropped(office: Office, message: dict[str, str]) -> None:
    body = json.dumps({"practice": office.world.practice} | message)
    assert work({"messageId": "m", "body": body}) == []
    assert (office.reports(), office.stored(), mails()) == ([], {}, [])


def test_another_practices_report_is_not_there(office: Office) -> None:
    asked = office.ask("POST", "/v1/reports", BODY)
    schedule = office.schedule()
    context = signed_in("owner", World().practice)
    path = f"/v1/report-schedules/{schedule}"
    assert call("reports", "GET", asked.headers["Location"], context=context).status == 404
    assert call("report_schedules", "DELETE", path, context=context).status == 404
    assert call("report_schedules", "POST", f"{path}/run", context=context).status == 404
    for listed in ("/v1/reports", "/v1/report-schedules"):
        assert call(serving(listed), "GET", listed, context=context).body["items"] == []


# ---------------------------------------------------------------- the links


def opened(path: str) -> Answer:
    """Whoever has the link may open it: nobody is signed in."""
    return call("reports", "GET", path)


def test_a_mails_link_opens_the_file_for_seven_days(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.ask("POST", "/v1/reports", BODY | {"recipients": MAILED[:1], "formats": ["csv"]})
    work(*office.messages())
    [link] = links()
    found = opened(link)
    assert (found.status, found.headers["Cache-Control"]) == (302, "no-store")
    address = found.headers["Location"]
    assert f"/{office.world.practice}/rep_" in address
    assert re.search(r"revenue-2026-11-01-2026-11-30\.csv", address)
    assert "X-Amz-Expires=900" in address
    # The token is nowhere in the table.
    token = link.rpartition("/")[2]
    assert token not in json.dumps(aws.client("dynamodb").scan(TableName="core")["Items"])

    made = now()
    monkeypatch.setattr(files, "now", lambda: made + timedelta(days=6, hours=23))
    assert opened(link).status == 302
    monkeypatch.setattr(files, "now", lambda: made + timedelta(days=7, seconds=1))
    late, wrong = opened(link), opened(f"{link[:-1]}{'B' if link[-1] == 'A' else 'A'}")
    assert (late.status, wrong.status) == (404, 404)
    assert late.body["detail"] == wrong.body["detail"]


def test_a_token_that_is_too_long_is_refused(office: Office) -> None:
    assert opened(f"/v1/reports/downloads/{'a' * 65}").status == 422


# ---------------------------------------------------------------- schedules


def test_a_schedule_is_a_timer_on_the_practices_clocks(office: Office) -> None:
    made = office.ask("POST", "/v1/report-schedules", WEEKLY)
    schedule = made.body["id"]
    assert (made.status, made.headers["Location"]) == (201, f"/v1/report-schedules/{schedule}")
    assert (made.body["zone"], made.body["weekday"]) == ("Europe/Lisbon", 1)
    timer = aws.client("scheduler").get_schedule(Name=schedule, GroupName=GROUP)
    assert timer["ScheduleExpression"] == "cron(0 8 ? * 2 *)"
    assert timer["ScheduleExpressionTimezone"] == "Europe/Lisbon"
    assert json.loads(timer["Target"]["Input"])["practice"] == office.world.practice
    assert timer["Target"]["DeadLetterConfig"]["Arn"].endswith("-dead")
    assert office.ask("GET", "/v1/report-schedules").body["items"] == [made.body]


def test_a_schedules_message_that_comes_twice_makes_one_report(office: Office) -> None:
    schedule = office.schedule(formats=["csv"])
    message = office.fired(schedule)
    assert work(message) == []
    assert work(message) == []
    [report] = office.reports()
    assert (report["schedule_id"], report["state"]) == (schedule, "ready")
    assert (report["from"], report["to"]) == ("2026-11-16", "2026-11-22")
    assert mailed_to() == MAILED
    assert work(office.fired(schedule, "2026-11-30T08:00:00Z")) == []
    assert [one["from"] for one in office.reports()] == ["2026-11-23", "2026-11-16"]


def test_a_schedule_can_be_run_at_once(office: Office) -> None:
    schedule = office.schedule(formats=["csv"])
    asked = office.ask("POST", f"/v1/report-schedules/{schedule}/run")
    assert (asked.status, asked.body["state"]) == (202, "queued")
    work(*office.messages())
    found = office.report(asked.body["id"])
    assert (found["state"], found["from"]) == ("ready", asked.body["from"])
    assert mailed_to() == MAILED


def test_a_schedule_that_is_deleted_asks_for_nothing(office: Office) -> None:
    schedule = office.schedule()
    late = office.fired(schedule)
    path = f"/v1/report-schedules/{schedule}"
    assert office.ask("DELETE", path).status == 204
    timers = aws.client("scheduler").list_schedules(GroupName=GROUP)["Schedules"]
    assert (timers, office.ask("GET", "/v1/report-schedules").body["items"]) == ([], [])
    assert office.ask("DELETE", path).status == 404
    assert office.ask("POST", f"{path}/run").status == 404
    assert work(late) == []
    assert (office.reports(), mails()) == ([], [])


def test_a_schedule_whose_timer_is_gone_can_be_deleted(office: Office) -> None:
    schedule = office.schedule()
    aws.client("scheduler").delete_schedule(Name=schedule, GroupName=GROUP)
    assert office.ask("DELETE", f"/v1/report-schedules/{schedule}").status == 204


def test_a_schedule_whose_timer_cannot_be_made_is_not_kept(
    office: Office, environment: pytest.MonkeyPatch
) -> None:
    aws.client("scheduler").delete_schedule_group(Name=GROUP)
    assert office.ask("POST", "/v1/report-schedules", WEEKLY).status == 500
    partition = office.tenant.listing(REPORT_SCHEDULE)
    assert list(table.Query(partition, index="l1").all()) == []
