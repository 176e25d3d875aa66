"""Sealing and verifying on moto: every kind of tampering is found, and named."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from consulta.audit import rows, sealing, stream, verifying, writing
from consulta.audit.macs import mac_keys
from consulta.core import aws, table, trail
from consulta.core.keys import tenant_of
from consulta.core.time import from_text, now, to_text
from consulta.people.records import PatientItem
from consulta_cli import app
from tests.faults import Crash, Faults
from tests.integration.audit_stack import BUCKET, PRACTICE_ID, Audit, build, named

NOT_OURS = "was edited or inserted: its mac is not ours"


@pytest.fixture
def audit(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Audit]:
    return build(tables, environment)


@pytest.fixture
def patient(audit: Audit) -> PatientItem:
    """At version 4, recorded."""
    item = audit.patient()
    for number in range(3):
        audit.change(item.key, notes=f"note {number}")
    audit.settle()
    assert audit.found() == []
    return item


def s3() -> Any:
    return aws.client("s3", sealing.S3_TIMEOUT_S)


def seal_keys() -> list[str]:
    found = s3().list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return sorted(entry["Key"] for entry in found)


def read_seal(key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(s3().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return found


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "edit",
    [
        {"by": "person-2"},
        {"at": "2026-01-01T00:00:00.000Z"},
        {"after": '{"notes": {"value": "forged"}}'},
        {"changed": []},
        {"version": 9},
        {"more": "than was signed"},
        {"mac": "0" * 64},
    ],
)
def test_an_edited_row_is_named(audit: Audit, patient: PatientItem, edit: dict[str, Any]) -> None:
    row = audit.of(patient.key)[1]
    audit.tamper(row, **edit)
    assert (named(row), NOT_OURS) in audit.found()


def test_a_deleted_row_in_the_middle_is_named(audit: Audit, patient: PatientItem) -> None:
    _, second, third, _ = audit.of(patient.key)
    audit.lose(second)
    assert audit.found() == [(named(third), "version 2 is missing before it")]


def test_the_first_row_deleted_is_named(audit: Audit, patient: PatientItem) -> None:
    first, second, *_ = audit.of(patient.key)
    audit.lose(first)
    assert audit.found() == [(named(second), "version 1 is missing before it")]


def test_the_newest_row_deleted_is_named(audit: Audit, patient: PatientItem) -> None:
    audit.lose(audit.of(patient.key)[-1])
    ((row, why),) = audit.found()
    assert row == audit.tenant.audit_of(patient.key)
    assert why == "version 4 up to now is missing: the item is at version 4"


def test_all_rows_of_an_item_deleted_are_named(audit: Audit, patient: PatientItem) -> None:
    for row in audit.of(patient.key):
        audit.lose(row)
    ((row, why),) = audit.found()
    assert row == audit.tenant.audit_of(patient.key)
    assert why.startswith("every row is missing")


def test_a_removal_that_is_not_recorded_is_named(audit: Audit, patient: PatientItem) -> None:
    table.transact([table.delete(patient.key)])
    newest = audit.of(patient.key)[-1]
    assert audit.found() == [(named(newest), "the item is gone, and its removal is missing")]
    audit.settle()
    assert audit.found() == []
    audit.lose(audit.of(patient.key)[-1])
    assert audit.found() == [(named(newest), "the item is gone, and its removal is missing")]


def test_an_inserted_row_is_named(audit: Audit, patient: PatientItem) -> None:
    newest = audit.of(patient.key)[-1]
    forged = {**newest, "version": 5, "sk": f"{newest['created_at']}#0000000005"}
    audit.tamper(forged)
    assert (named(forged), NOT_OURS) in audit.found()


def test_a_row_that_was_moved_to_another_item_is_named(audit: Audit, patient: PatientItem) -> None:
    other = audit.patient(name="Benito")
    audit.settle()
    row = audit.of(other.key)[0]
    moved = {**row, "pk": audit.tenant.audit_of(patient.key)}
    audit.tamper(moved)
    assert audit.found() == [(named(moved), NOT_OURS)]


def test_a_write_past_the_version_is_named(audit: Audit, patient: PatientItem) -> None:
    table.transact([table.update(patient.key, set_={"trust": "forged"})])
    messages = audit.settle()
    assert writing.process(messages) == []
    ((row, why),) = audit.found()
    assert row.startswith(f"{audit.tenant.audit_of(patient.key)} ")
    assert why == "a second history of version 4"
    assert len(audit.of(patient.key)) == 5


def test_two_histories_of_one_version_are_both_kept(audit: Audit) -> None:
    """The image of a replica that was written to apart: the same version, another content."""
    item = audit.patient()
    records = audit.records()
    forged = json.loads(json.dumps(records, default=str))
    for record in forged:
        record["dynamodb"].get("NewImage", {})["trust"] = {"S": "forged"}
    for batch in (records, forged, records, forged):
        assert stream.process(batch) == []
        assert writing.process(audit.received()) == []
    true, second = audit.of(item.key)
    assert audit.found() == [(named(second), "a second history of version 1")]
    assert true["after_hash"] != second["after_hash"]


def test_an_item_put_back_to_an_older_state_is_named(audit: Audit, patient: PatientItem) -> None:
    table.transact([table.update(patient.key, set_={"version": 3})])
    ((row, why),) = audit.found()
    assert row == audit.tenant.audit_of(patient.key)
    assert why == "the item is at version 3, its newest row is 4"


def test_items_older_than_their_audit_are_no_damage(audit: Audit) -> None:
    old = {"created_at": "2020-01-01T00:00:00.000Z", "updated_at": "2020-01-01T00:00:00.000Z"}
    untouched, changed = audit.patient(), audit.patient()
    for item in (untouched, changed):
        table.transact([table.update(item.key, set_={**old, "version": 7})])
    audit.records()
    audit.change(changed.key, trust="trusted")
    audit.settle()
    result = audit.verify()
    assert result.findings == []
    assert [(finding.row.split(" ")[0], finding.why) for finding in result.older] == [
        (
            audit.tenant.audit_of(untouched.key),
            "no row: last changed before its audit began",
        ),
        (audit.tenant.audit_of(changed.key), "starts at version 8"),
    ]


def test_what_was_just_changed_is_not_missed_yet(audit: Audit, patient: PatientItem) -> None:
    audit.change(patient.key, trust="trusted")
    assert verifying.verify(PRACTICE_ID, grace=timedelta(minutes=1)).findings == []
    assert len(audit.found()) == 1


# ---------------------------------------------------------------- seals


def test_sealed_hours_are_chained_and_stay_right(audit: Audit, patient: PatientItem) -> None:
    assert audit.seal() == 1
    assert audit.found() == []
    (key,) = seal_keys()
    seal = read_seal(key)
    assert key == f"roots/{PRACTICE_ID}/{seal['hour']}.json"
    assert seal["rows"] == 5
    assert seal["previous"] == sealing.START
    # Again, and from the beginning, as after a crash before the watermark was written.
    assert audit.seal() == 0
    table.transact([table.delete(sealing._watermark(audit.tenant))])
    assert audit.seal() == 1
    assert read_seal(key) == seal


def later(audit: Audit, hours: int) -> None:
    """Rows of later hours, as if time had passed: recorded ahead of now."""
    for number in range(1, hours + 1):
        instant = to_text(now() + number * sealing.HOUR)
        event = writing.parse(
            json.dumps(
                {
                    "event": "sign_in",
                    "id": f"evt_{number}",
                    "at": instant,
                    "practice": PRACTICE_ID,
                    "by": "person-1",
                    "origin": "",
                    "request_id": "r",
                    "facts": {},
                }
            )
        )
        assert not isinstance(event, rows.Change)
        assert writing._put(rows.of_happening(event, {}, mac_keys(), instant))


def test_a_run_that_was_away_catches_up_and_skips_empty_hours(audit: Audit) -> None:
    later(audit, 2)
    end = sealing.hour_of(now()) + 6 * sealing.HOUR
    assert audit.seal(end) == 3
    hours = seal_keys()
    assert len(hours) == 3
    seals = [read_seal(key) for key in hours]
    assert [seal["previous"] for seal in seals] == [
        sealing.START,
        seals[0]["chain"],
        seals[1]["chain"],
    ]
    assert audit.found() == []
    # What comes next follows on the chain, past the hours without rows.
    raw = table.get_raw(sealing._watermark(audit.tenant))
    assert raw
    assert raw["chain"]["S"] == seals[2]["chain"]
    assert from_text(raw["hour"]["S"]) == end


def test_a_crash_between_the_seal_and_its_watermark(audit: Audit, patient: PatientItem) -> None:
    with Faults(audit.client) as faults:
        faults.next("TransactWriteItems", faults.crash_before)
        with pytest.raises(Crash):
            audit.seal()
    (key,) = seal_keys()
    first = read_seal(key)
    assert audit.seal() == 1
    assert read_seal(key) == first
    assert audit.found() == []


def test_the_running_hour_is_not_sealed(audit: Audit, patient: PatientItem) -> None:
    sealed = sealing.run()
    assert sealed.failed == 0
    assert seal_keys() == []
    at_ten = from_text("2026-11-20T10:09:59.000Z")
    assert to_text(sealing.sealable_until(at_ten)) == "2026-11-20T09:00:00.000Z"
    assert sealing.sealable_until(at_ten + timedelta(seconds=1)).hour == 10


def test_a_deleted_row_breaks_its_hours_root(audit: Audit, patient: PatientItem) -> None:
    assert trail_row(audit)
    audit.seal()
    (key,) = seal_keys()
    event = next(row for row in audit.rows() if row["entity"] == "EVENT")
    # Nothing but the seal knows of a happening.
    audit.lose(event)
    ((row, why),) = audit.found()
    assert row == key
    assert "sealed 6, now 5" in why


def trail_row(audit: Audit) -> bool:
    assert trail.record("exported", PRACTICE_ID, by="person-1", request_id="r")
    return bool(audit.settle())


def put_again(key: str, document: dict[str, Any]) -> None:
    s3().put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document).encode())


def replace_wholly(key: str, document: dict[str, Any]) -> None:
    """As if there were no lock: the first version is another."""
    listed = s3().list_object_versions(Bucket=BUCKET, Prefix=key)
    for version in listed.get("Versions", []):
        s3().delete_object(
            Bucket=BUCKET,
            Key=key,
            VersionId=version["VersionId"],
            BypassGovernanceRetention=True,
        )
    put_again(key, document)


def test_a_seal_written_again_is_named(audit: Audit, patient: PatientItem) -> None:
    audit.seal()
    (key,) = seal_keys()
    put_again(key, {**read_seal(key), "rows": 1})
    assert audit.found() == [
        (key, "was written again or deleted: the lock holds its first version")
    ]


def test_an_edited_seal_is_named(audit: Audit, patient: PatientItem) -> None:
    audit.seal()
    (key,) = seal_keys()
    replace_wholly(key, {**read_seal(key), "root": "0" * 64})
    assert (key, "was edited: its mac is not ours") in audit.found()


def test_seals_in_another_order_are_named(audit: Audit) -> None:
    later(audit, 2)
    audit.seal(sealing.hour_of(now()) + 6 * sealing.HOUR)
    _, second, third = seal_keys()
    one, two = read_seal(second), read_seal(third)
    replace_wholly(second, two)
    replace_wholly(third, one)
    found = audit.found()
    assert (second, f"is the seal of {PRACTICE_ID} {two['hour']}") in found
    assert (third, f"is the seal of {PRACTICE_ID} {one['hour']}") in found


def test_a_missing_seal_is_named(audit: Audit) -> None:
    later(audit, 2)
    audit.seal(sealing.hour_of(now()) + 6 * sealing.HOUR)
    _, second, third = seal_keys()
    s3().delete_object(Bucket=BUCKET, Key=second)
    assert audit.found() == [
        (second, "was written again or deleted: the lock holds its first version")
    ]
    for entry in ("Versions", "DeleteMarkers"):
        for version in s3().list_object_versions(Bucket=BUCKET, Prefix=second).get(entry, []):
            s3().delete_object(Bucket=BUCKET, Key=second, VersionId=version["VersionId"])
    assert (third, "does not follow the seal before it: one is missing or was moved") in (
        audit.found()
    )


def test_rows_that_were_never_sealed_are_named(
    audit: Audit, patient: PatientItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = now() + timedelta(hours=5)
    monkeypatch.setattr(verifying, "now", lambda: ahead)
    hour = audit.rows()[0]["recorded_at"][:13]
    assert audit.found() == [(f"roots/{PRACTICE_ID}/{hour}.json", "the seal of 5 rows is missing")]


# ---------------------------------------------------------------- the command


def command(*options: str) -> Any:
    named_ = {
        "--core-table": "core",
        "--audit-table": "audit",
        "--audit-bucket": BUCKET,
        "--audit-secret": "audit",
    }
    given = [part for pair in named_.items() for part in pair]
    return CliRunner().invoke(app, ["audit", "verify", *given, *options])


def test_the_command_names_what_is_wrong(audit: Audit, patient: PatientItem) -> None:
    good = command()
    assert good.exit_code == 0, good.output
    assert "5 rows" in good.output
    assert "0 findings" in good.output
    row = audit.of(patient.key)[2]
    audit.tamper(row, by="nobody")
    bad = command("--practice", PRACTICE_ID)
    assert bad.exit_code == 1
    assert f"{named(row)}: {NOT_OURS}" in bad.output
    assert tenant_of(row["pk"]).practice == PRACTICE_ID
