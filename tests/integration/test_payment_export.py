"""Exports of payments: asked for, read in parts, resumed, and the same in both formats."""

import csv
import io
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from consulta.core import aws, table
from consulta.core.item import Actor
from consulta.core.time import from_text, to_text
from consulta.money.paying.orders import make_payment
from consulta.reports import payment_export
from tests.faults import Crash, Fault, Faults
from tests.integration import test_reports
from tests.integration.test_reports import BUCKET, WEEKLY, Office, mails, work
from tests.template import resources
from tests.unit.people.calling import Answer, call, signed_in

office = test_reports.office

BY = Actor("person-1", "request-1")
BODY: dict[str, Any] = {"kind": "payments", "from": "2026-10-01", "to": "2026-11-30"}
MONEY = ("amount", "captured", "refunded", "commission", "fee", "tax_withheld", "net")


def pay(office: Office, at: str = "2026-11-20T10:00:00Z", **values: Any) -> str:
    """A payment as it is stored, made at an instant."""
    patient = values.pop("patient_id", None) or office.world.patient()
    instant, state = from_text(at), values.pop("state", "succeeded")
    item = make_payment(
        office.tenant,
        BY,
        **{
            "appointment_id": "appt_1",
            "order_id": "ord_1",
            "patient_id": patient,
            "expert_id": "exp_1",
            "service_id": "srv_1",
            "payee_id": office.world.practice,
            "provider": "stripe",
            "amount": 5000,
            "captured": 5000,
            "currency": "EUR",
            "commission": 500,
            "fee": 95,
            "zone": "Europe/Lisbon",
            "paid_at": instant,
            "local_date": at[:10],
        }
        | values,
    )
    item.state, item.created_at = state, instant
    place = f"{to_text(instant)}#{item.item_id}"
    item.l1pk = office.tenant.listing_by("PAYMENT", "MONTH", at[:7])
    item.l1sk = item.l2sk = item.l3sk = place
    table.transact([table.put_new(item)])
    return str(item.item_id)


def ask(office: Office, role: str = "owner", **changes: Any) -> Answer:
    context = signed_in(role, office.world.practice)
    return call("reports", "POST", "/v1/reports", BODY | changes, context=context)


def shown(office: Office, report: str, role: str = "owner") -> Any:
    context = signed_in(role, office.world.practice)
    return call("reports", "GET", f"/v1/reports/{report}", context=context).body


def until_ready(office: Office, report: str) -> Any:
    """Hand on each message until none comes any more."""
    for _ in range(20):
        messages = office.messages()
        if not messages:
            break
        assert work(*messages) == []
    return shown(office, report)


def made(office: Office, role: str = "owner", **changes: Any) -> list[dict[str, str]]:
    """The CSV's rows of an export."""
    asked = ask(office, role, **changes)
    assert asked.status == 202, asked.body
    assert until_ready(office, asked.body["id"])["state"] == "ready"
    return rows(office)


def rows(office: Office) -> list[dict[str, str]]:
    stored = office.stored()["csv"]
    assert stored.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(stored.decode("utf-8-sig"), newline="")))


def sheet(office: Office) -> list[dict[str, Any]]:
    book = openpyxl.load_workbook(io.BytesIO(office.stored()["xlsx"]))
    head, *cells = book.active.iter_rows(values_only=True)
    return [dict(zip(map(str, head), line, strict=True)) for line in cells]


def keys() -> list[str]:
    s3 = aws.client("s3", 10)
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


# ---------------------------------------------------------------- what is in it


def test_one_row_for_each_payment(office: Office) -> None:
    patient = office.world.patient("Inês Carvalho")
    first = pay(
        office,
        "2026-11-20T23:30:00Z",
        patient_id=patient,
        method="card",
        provider_id="pi_1",
        refunded=2000,
        commission_returned=200,
        platform_pays_fees=True,
        tax=935,
    )
    second = pay(office, "2026-10-02T10:00:00Z", currency="CLP", provider="mercadopago")
    found = made(office)
    assert [row["payment_id"] for row in found] == [second, first]
    row = found[1]
    assert (row["created_at"], row["paid_on"]) == ("2026-11-20T23:30:00+00:00", "2026-11-20")
    assert (row["status"], row["method"]) == ("partially_refunded", "card")
    assert (row["patient_id"], row["patient_name"]) == (patient, "Inês Carvalho")
    assert [row[name] for name in MONEY] == [
        "50.00",
        "50.00",
        "20.00",
        "5.00",
        "0.95",
        "0.00",
        # 50 − 20 − (5 − 2): the platform pays the provider.
        "27.00",
    ]
    assert (row["tax"], row["fee_paid_by"]) == ("9.35", "platform")
    # In October Lisbon's clocks are an hour ahead, and pesos have no decimals.
    assert found[0]["created_at"] == "2026-10-02T11:00:00+01:00"
    assert (found[0]["amount"], found[0]["net"]) == ("5000", "4405")


def test_both_formats_hold_the_same(office: Office) -> None:
    for n in range(7):
        pay(office, f"2026-11-{n + 10}T10:00:00Z", currency=["EUR", "CLP", "KWD"][n % 3], fee=n)
    pay(office, "2026-11-21T10:00:00Z", state="open", captured=0, paid_at=None, local_date=None)
    plain = made(office)
    excel = sheet(office)
    assert len(plain) == len(excel) == 8
    for text, cells in zip(plain, excel, strict=True):
        assert list(text) == list(cells)
        for name, cell in cells.items():
            match cell:
                case None:
                    assert text[name] == ""
                case datetime() if name == "paid_on":
                    assert text[name] == cell.date().isoformat()
                case datetime():
                    assert datetime.fromisoformat(text[name]).replace(tzinfo=None) == cell
                case int() | float():
                    assert Decimal(text[name]) == Decimal(str(cell)), name
                case _:
                    assert text[name] == cell
    formats = {
        row[9].value: row[10].number_format
        for row in openpyxl.load_workbook(io.BytesIO(office.stored()["xlsx"])).active.iter_rows(
            min_row=2
        )
    }
    assert formats == {"EUR": "#,##0.00", "CLP": "#,##0", "KWD": "#,##0.000"}


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "\u2028-2", "＝1"])
def test_a_name_is_no_formula(office: Office, name: str) -> None:
    pay(office, patient_id=office.world.patient(name))
    [row] = made(office)
    said = row["patient_name"]
    assert said == (name if name.startswith("\u2028") else f"'{name}")
    [cells] = sheet(office)
    assert cells["patient_name"] == name
    book = openpyxl.load_workbook(io.BytesIO(office.stored()["xlsx"]))
    assert all(cell.data_type != "f" for line in book.active.iter_rows() for cell in line)


def test_days_are_the_practices_and_both_included(office: Office) -> None:
    inside = [
        pay(office, "2026-10-24T23:00:00Z"),  # 00:00 of the 25th in Lisbon's summer
        pay(office, "2026-10-26T23:59:59Z"),  # 23:59:59 of the 26th in its winter
    ]
    pay(office, "2026-10-24T22:59:59Z")
    pay(office, "2026-10-27T00:00:00Z")
    found = made(office, **{"from": "2026-10-25", "to": "2026-10-26"})
    assert [row["payment_id"] for row in found] == inside


def test_a_year_that_is_an_hour_longer_is_a_range(office: Office) -> None:
    assert ask(office, **{"from": "2025-07-01", "to": "2026-07-01"}).status == 202
    assert ask(office, **{"from": "2025-07-01", "to": "2026-07-02"}).status == 422


def test_filters_are_those_of_the_list(office: Office) -> None:
    patient = office.world.patient()
    back = pay(office, patient_id=patient, refunded=5000)
    mine = pay(office, expert_id="exp_01JC0NS0TADEM0000000000000", provider="mercadopago")
    warned = pay(office, fraud_warning={"id": "issfr_1", "fraud_type": "misc"})
    pay(office, state="open", captured=0)
    for filters, expected in (
        ({"status": "refunded"}, [back]),
        ({"patient_id": patient}, [back]),
        ({"expert_id": "exp_01JC0NS0TADEM0000000000000"}, [mine]),
        ({"provider": "mercadopago"}, [mine]),
        ({"fraud_warning": True}, [warned]),
        ({"status": "refunded", "provider": "mercadopago"}, []),
    ):
        asked = ask(office, filters=filters, formats=["csv"])
        assert asked.body["filters"]["status" if "status" in filters else next(iter(filters))]
        assert until_ready(office, asked.body["id"])["progress"] == {
            "rows": len(expected),
            "percent": 100,
        }
        assert [row["payment_id"] for row in rows(office)] == expected
        for key in keys():
            aws.client("s3", 10).delete_object(Bucket=BUCKET, Key=key)


def test_nothing_in_the_range_is_an_empty_file(office: Office) -> None:
    assert made(office) == []
    assert sheet(office) == []


# ---------------------------------------------------------------- who may


def test_only_who_sees_all_payments_asks_for_it(office: Office) -> None:
    for role, status in (("owner", 202), ("admin", 202), ("billing", 202)):
        assert ask(office, role).status == status
    for role in ("expert", "viewer", "patient", "operator"):
        assert ask(office, role).status == 403
    refused = (
        {"formats": ["pdf"]},
        {"filters": {"method": "card"}},
        {"filters": {"status": "lost"}},
        {"kind": "revenue", "filters": {}},
    )
    for changes in refused:
        assert ask(office, **changes).status == 422, changes
    assert ask(office).body["formats"] == ["csv", "xlsx"]


def test_patients_are_for_who_may_read_them(office: Office) -> None:
    pay(office)
    billing = ask(office, "billing").body["id"]
    assert until_ready(office, billing)["state"] == "ready"
    assert not {"patient_id", "patient_name"} & set(rows(office)[0])
    # Everybody who sees payments may open that one; the owner's, only who may read patients.
    assert len(shown(office, billing, "viewer")["files"]) == 2
    owners = ask(office).body["id"]
    assert len(until_ready(office, owners)["files"]) == 2
    assert len(shown(office, owners, "viewer")["files"]) == 2
    hidden = shown(office, owners, "billing")
    assert (hidden["state"], hidden["files"]) == ("ready", [])


def test_what_is_mailed_names_no_patients(office: Office) -> None:
    pay(office)
    found = made(office, recipients=["accountant@example.com"])
    assert "patient_name" not in found[0]
    [mail] = mails()
    assert "/v1/reports/downloads/" in mail.body


def test_a_schedule_asks_for_one_too(office: Office) -> None:
    pay(office, "2026-11-18T10:00:00Z")
    schedule = office.schedule(kind="payments")
    assert work(office.fired(schedule)) == []
    assert len(rows(office)) == 1
    refused = office.ask(
        "POST", "/v1/report-schedules", WEEKLY | {"kind": "payments", "formats": ["pdf"]}
    )
    assert refused.status == 422


# ---------------------------------------------------------------- long lists


def test_parts_progress_and_messages_of_their_own(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payment_export, "PART_ROWS", 3)
    monkeypatch.setattr(payment_export, "BUDGET_S", -1.0)
    ids = [pay(office, f"2026-{10 + n // 5}-{n + 10}T10:00:00Z") for n in range(10)]
    report = ask(office).body["id"]
    # No time at all: each message only sends the next, and nothing is lost.
    for _ in range(3):
        [message] = office.messages()
        assert work(message) == []
        assert shown(office, report)["state"] == "queued"
    monkeypatch.setattr(payment_export, "BUDGET_S", 60.0)
    original, seen = payment_export._read_part, []

    def part(*args: Any) -> bool:
        done = original(*args)
        seen.append(shown(office, report)["progress"])
        return done

    monkeypatch.setattr(payment_export, "_read_part", part)
    [message] = office.messages()
    assert work(message) == []
    assert [one["rows"] for one in seen] == [3, 6, 9, 10]
    percents = [one["percent"] for one in seen]
    assert percents == sorted(percents)
    assert 0 < percents[0] < percents[-1] < 100
    assert shown(office, report)["progress"] == {"rows": 10, "percent": 100}
    assert [row["payment_id"] for row in rows(office)] == ids
    # What it was made of is gone.
    assert sorted(key.rpartition(".")[2] for key in keys()) == ["csv", "xlsx"]


@pytest.mark.parametrize("after", range(1, 6))
def test_a_worker_that_dies_is_followed_by_another(
    office: Office, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Wherever it dies: behind the row of the n-th part, or while the files are written."""
    monkeypatch.setattr(payment_export, "PART_ROWS", 3)
    ids = [pay(office, f"2026-11-{n + 10}T10:00:00Z") for n in range(8)]
    report = ask(office).body["id"]
    [message] = office.messages()
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", *[Fault()] * (after - 1), faults.crash_after)
        if after <= 4:
            with pytest.raises(Crash):
                work(message)
        else:
            work(message)
    assert work(message) == []
    assert shown(office, report)["state"] == "ready"
    assert [row["payment_id"] for row in rows(office)] == ids
    assert work(message) == []
    assert sorted(key.rpartition(".")[2] for key in keys()) == ["csv", "xlsx"]


def test_two_workers_at_once_make_one_export(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payment_export, "PART_ROWS", 3)
    ids = [pay(office, f"2026-11-{n + 10}T10:00:00Z") for n in range(8)]
    report = ask(office).body["id"]
    [message] = office.messages()
    with Faults(aws.client("dynamodb")) as faults:
        faults.next("TransactWriteItems", Faults.meanwhile(lambda: work(message)))
        assert work(message) == []
    assert shown(office, report)["state"] == "ready"
    assert [row["payment_id"] for row in rows(office)] == ids


def test_too_many_are_refused_in_words(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_export, "PART_ROWS", 3)
    monkeypatch.setattr(payment_export, "MAX_ROWS", 5)
    for n in range(6):
        pay(office, f"2026-11-{n + 10}T10:00:00Z")
    report = until_ready(office, ask(office).body["id"])
    assert (report["state"], report["error"], report["files"]) == ("failed", "too_many_rows", [])
    assert keys() == []


def test_sparse_filters_do_not_read_without_bound(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part ends after so many reads, though the filters let nothing through."""
    monkeypatch.setattr(payment_export, "PART_READS", 4)
    for n in range(9):
        pay(office, f"2026-11-{n + 10}T10:00:00Z")
    wanted = pay(office, "2026-11-29T10:00:00Z", refunded=5000)
    report = ask(office, filters={"status": "refunded"}).body["id"]
    assert until_ready(office, report)["progress"]["rows"] == 1
    assert [row["payment_id"] for row in rows(office)] == [wanted]


def test_the_queue_waits_longer_than_a_worker_works() -> None:
    worker = resources("AWS::Serverless::Function")["ReportWorkerFunction"]["Properties"]
    queue = resources("AWS::SQS::Queue")["ReportsQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * worker["Timeout"]
    assert worker["Timeout"] > 2 * payment_export.BUDGET_S
    assert timedelta(seconds=payment_export.BUDGET_S) < timedelta(minutes=1)
