"""The audit on moto: from a change to its row, once, in whatever order, and never in clear."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from cryptography.exceptions import InvalidTag

from consulta.audit import encryption, persons, rows, stream, writing
from consulta.audit.macs import mac_keys
from consulta.core import aws, keys, table, trail
from consulta.core.item import Actor
from consulta.core.keys import Key
from tests.faults import Crash, Faults
from tests.integration.audit_stack import BY, PRACTICE_ID, Audit, build
from tests.unit.people.calling import call, signed_in

SECRETS = ("Ángela", "Ruiz", "angela", "600123456", "mornings", "203.0.113.7", "curl")


@pytest.fixture
def audit(tables: Any, environment: pytest.MonkeyPatch) -> Iterator[Audit]:
    return build(tables, environment)


def test_every_change_has_its_row(audit: Audit) -> None:
    patient = audit.patient(notes="prefers mornings")
    audit.change(patient.key, trust="trusted")
    table.transact([table.delete(patient.key)])
    audit.settle()
    made, changed, removed = audit.of(patient.key)
    assert [row["action"] for row in (made, changed, removed)] == ["created", "changed", "removed"]
    assert [int(row["version"]) for row in (made, changed, removed)] == [1, 2, 2]
    assert changed["changed"] == ["trust"]
    assert json.loads(changed["before"]) == {"trust": {"value": "new"}}
    assert json.loads(changed["after"]) == {"trust": {"value": "trusted"}}
    assert made["by"] == "person-1"
    assert made["request_id"] == "request-1"
    # Nobody signs a removal.
    assert removed["by"] == "unknown"
    assert "origin" not in removed
    assert made["after_hash"] == changed["before_hash"]
    assert changed["after_hash"] == removed["before_hash"]
    assert removed["after_hash"] == ""
    assert audit.found() == []


def test_what_is_no_item_is_not_recorded(audit: Audit) -> None:
    before = audit.rows()
    tenant = audit.tenant
    table.transact(
        [
            table.put_values(tenant.unique("EMAIL", "a@example.com"), {"entity": "UNIQUE"}),
            table.put_values(tenant.holds("pat_1"), {"version": 1}),
            table.put_values(keys.session("person-1", "s-1"), {"entity": "S", "version": 1}),
            table.put_values(keys.inbox("stripe", "a", "e"), {"entity": "INBOX", "version": 1}),
        ]
    )
    assert audit.publish() == []
    assert audit.received() == []
    assert audit.rows() == before


def test_a_list_key_that_moves_is_no_change(audit: Audit) -> None:
    patient = audit.patient()
    audit.settle()
    table.transact([table.update(patient.key, set_={"l2sk": "another"})])
    assert audit.publish() == []
    assert audit.received() == []


def test_redelivery_and_reordering_change_nothing(audit: Audit) -> None:
    patient = audit.patient(notes="prefers mornings")
    for number in range(6):
        audit.change(patient.key, notes=f"note {number}")
    assert audit.publish() == []
    messages = audit.received()
    random.Random(7).shuffle(messages)
    for delivered in (messages, messages[::-1], messages[2:5]):
        assert writing.process(delivered) == []
    assert len(audit.of(patient.key)) == 7
    written = audit.rows()
    assert writing.process(messages) == []
    assert audit.rows() == written
    assert audit.found() == []


def test_an_item_made_again_under_its_key_begins_anew(audit: Audit) -> None:
    tenant = audit.tenant
    for stamp in ("2026-11-20T09:00:00.000Z", "2026-11-20T10:00:00.000Z"):
        values = {"entity": "THING", "version": 1, "created_at": stamp, "updated_at": stamp}
        table.transact([table.put_values(tenant.item("THING", "t1"), values)])
        table.transact([table.delete(tenant.item("THING", "t1"))])
    audit.settle()
    assert len(audit.of(tenant.item("THING", "t1"))) == 4
    assert audit.verify().findings == []


def test_a_crash_between_the_steps_is_made_up_for(audit: Audit) -> None:
    patient = audit.patient()
    assert audit.publish() == []
    messages = audit.received()
    with Faults(audit.client) as faults:
        faults.next("PutItem", faults.crash_after)
        with pytest.raises(Crash):
            writing.process(messages)
    assert len(audit.of(patient.key)) == 1
    assert writing.process(messages) == []
    assert len(audit.of(patient.key)) == 1
    assert audit.found() == []


def test_a_crash_after_a_persons_key_was_made(audit: Audit) -> None:
    patient = audit.patient()
    assert audit.publish() == []
    messages = audit.received()
    with Faults(audit.client) as faults:
        faults.next("TransactWriteItems", faults.crash_after)
        with pytest.raises(Crash):
            writing.process(messages)
    assert writing.process(messages) == []
    assert len(audit.of(patient.key)) == 1


def test_two_makers_of_one_persons_key_end_with_one(audit: Audit) -> None:
    other: dict[str, Any] = {}
    with Faults(audit.client) as faults:
        meanwhile = faults.meanwhile(
            lambda: other.update(persons.ensure(audit.tenant, ["pat_race"]))
        )
        faults.next("TransactWriteItems", meanwhile)
        mine = persons.ensure(audit.tenant, ["pat_race"])
    assert mine == other


def test_a_lost_answer_and_unprocessed_keys(audit: Audit) -> None:
    patient = audit.patient()
    assert audit.publish() == []
    messages = audit.received()
    with Faults(audit.client) as faults:
        faults.next("BatchGetItem", faults.unprocessed)
        faults.next("PutItem", faults.lost_answer)
        failed = writing.process(messages)
        assert faults.happened == 2
    assert writing.process([m for m in messages if m["messageId"] in failed]) == []
    assert len(audit.of(patient.key)) == 1
    assert audit.found() == []


def test_a_message_that_cannot_be_read_comes_again_alone(audit: Audit) -> None:
    patient = audit.patient()
    assert audit.publish() == []
    messages = audit.received()
    bad = {"messageId": "bad", "body": "nothing"}
    assert writing.process([bad, *messages]) == ["bad"]
    assert len(audit.of(patient.key)) == 1


# ---------------------------------------------------------------- to the queue


def test_entries_that_the_queue_refuses_come_again(audit: Audit) -> None:
    for _ in range(3):
        audit.patient()
    records = [record for record in audit.records() if stream.is_change(record)]
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    with Stubber(aws.client("sqs")) as stubber:
        answer = {
            "Successful": [
                {"Id": n, "MessageId": n, "MD5OfMessageBody": "0" * 32} for n in ("0", "2")
            ],
            "Failed": [{"Id": "1", "SenderFault": False, "Code": "InternalError"}],
        }
        stubber.add_response("send_message_batch", answer)
        assert stream.process(records) == [numbers[1]]
    with Stubber(aws.client("sqs")) as stubber:
        stubber.add_client_error("send_message_batch", "ServiceUnavailable")
        assert stream.process(records) == numbers


def test_batches_hold_ten_and_what_the_queue_takes(audit: Audit) -> None:
    # Random text does not compress: two of these do not fit into one batch.
    noise = [random.Random(n).randbytes(90_000).hex() for n in range(3)]
    for text in noise:
        audit.patient(notes=text[:170_000])
    for _ in range(21):
        audit.patient()
    sent: list[int] = []
    aws.client("sqs").meta.events.register(
        "before-parameter-build.sqs.SendMessageBatch",
        lambda params, **_: sent.append(len(params["Entries"])),
    )
    assert audit.publish() == []
    assert max(sent) == 10
    assert sum(sent) == 24
    assert len(sent) >= 5


def test_an_item_too_large_for_a_message_is_read_again(audit: Audit) -> None:
    patient = audit.patient(notes=random.Random(1).randbytes(190_000).hex())
    body = stream.body_of(audit.records()[-1])
    assert len(body) < 2_000
    assert writing.process([{"messageId": "1", "body": body}]) == []
    assert writing.process([{"messageId": "1", "body": body}]) == []
    (row,) = audit.of(patient.key)
    assert row["incomplete"] is True
    assert row["after_hash"]
    assert row["by"] == "person-1"
    assert audit.found() == []
    audit.change(patient.key, notes="short")
    audit.settle()
    assert audit.found() == []


# ---------------------------------------------------------------- personal data


def test_personal_data_is_never_in_clear(audit: Audit) -> None:
    patient = audit.patient(notes="prefers mornings")
    audit.change(patient.key, name="Ángela Ruiz Gil", l2sk="angela ruiz gil#1")
    assert audit.publish() == []
    messages = audit.received()
    bodies = json.dumps(messages)
    assert writing.process(messages) == []
    stored = json.dumps(audit.rows(), default=str, ensure_ascii=False)
    assert len(audit.of(patient.key)) == 2
    for secret in SECRETS:
        assert secret not in bodies
        assert secret not in stored


def test_ciphertexts_are_bound_to_their_row_and_field(audit: Audit) -> None:
    one, other = audit.patient(), audit.patient(name="Benito")
    audit.settle()
    row, another = audit.of(one.key)[0], audit.of(other.key)[0]
    key = persons.find(audit.tenant, [one.item_id])[one.item_id]
    assert key is not None
    assert rows.opened(row, "after", "name", key) == "Ángela Ruiz"
    moved = {**another, "after": row["after"]}
    with pytest.raises(InvalidTag):
        rows.opened(moved, "after", "name", key)


def test_a_key_of_another_practice_cannot_be_opened_here(audit: Audit) -> None:
    persons.ensure(audit.tenant, ["pat_1"])
    raw = table.get_raw(audit.tenant.person_key("pat_1"))
    assert raw
    stolen = keys.Tenant("prac_other")
    copied = {"wrapped": raw["wrapped"]["B"], "entity": "PERSON_KEY"}
    table.transact([table.put_values(stolen.person_key("pat_1"), copied)])
    with pytest.raises(aws.client("kms").exceptions.InvalidCiphertextException):
        persons.find(stolen, ["pat_1"])


def test_erased_is_gone_and_still_proven(audit: Audit) -> None:
    patient = audit.patient(notes="prefers mornings")
    audit.change(patient.key, notes="no more")
    messages = audit.settle()
    persons.destroy(audit.tenant, patient.item_id)
    # A late delivery, and a change that still holds what was erased.
    assert writing.process(messages) == []
    audit.change(patient.key, notes="again")
    audit.change(patient.key, trust="trusted")
    audit.settle()
    assert len(audit.of(patient.key)) == 4
    assert persons.find(audit.tenant, [patient.item_id]) == {patient.item_id: None}
    assert audit.found() == []
    answer = ask(audit, f"entity=PATIENT&item_id={patient.item_id}")
    shown = [entry["after"].get("notes") for entry in answer["items"]]
    assert shown == [None, "erased", "erased", "erased"]
    # Another person's key, the caller's, is as it was.
    assert answer["items"][0]["address"] == "203.0.113.7"


# ---------------------------------------------------------------- reading it


def ask(audit: Audit, query: str = "", role: str = "owner", path: str = "/v1/audit") -> Any:
    answer = call("audit_log", "GET", path, query=query, context=signed_in(role, PRACTICE_ID))
    assert answer.status == 200, answer.body
    return answer.body


def test_the_whole_of_an_items_history(audit: Audit) -> None:
    patient = audit.patient(notes="prefers mornings")
    audit.change(patient.key, name="Ana")
    audit.settle()
    changed, made = ask(audit, f"entity=PATIENT&item_id={patient.item_id}")["items"]
    assert (changed["before"], changed["after"]) == ({"name": "Ángela Ruiz"}, {"name": "Ana"})
    assert made["after"]["notes"] == "prefers mornings"
    assert made["address"] == "203.0.113.7"
    assert made["user_agent"] == "curl/8.9.1"
    assert "l2sk" not in made["after"]


@pytest.mark.parametrize(
    ("granted", "name", "notes", "address"),
    [
        ("audit:read", "•••", "•••", "•••"),
        ("audit:read patients:read", "Ángela Ruiz", "•••", "203.0.113.7"),
        ("audit:read notes:read", "•••", "prefers mornings", "•••"),
    ],
)
def test_masks_by_permission(
    audit: Audit, granted: str, name: str, notes: str, address: str
) -> None:
    audit.patient(notes="prefers mornings")
    audit.settle()
    context = signed_in("custom", PRACTICE_ID)
    memberships = json.loads(context["memberships"])
    memberships[0]["g"] = granted
    context["memberships"] = json.dumps(memberships)
    answer = call("audit_log", "GET", "/v1/audit", query="entity=PATIENT", context=context)
    (entry,) = answer.body["items"]
    assert entry["after"]["name"] == name
    assert entry["after"]["notes"] == notes
    assert entry["address"] == address
    assert entry["after"]["trust"] == "new"


@pytest.mark.parametrize("role", ["expert", "billing", "viewer", "patient"])
def test_who_may_not_read_the_audit(audit: Audit, role: str) -> None:
    answer = call("audit_log", "GET", "/v1/audit", context=signed_in(role, PRACTICE_ID))
    assert answer.status == 403


def test_filters_and_pages(audit: Audit) -> None:
    one = audit.patient()
    for number in range(4):
        audit.change(one.key, Actor("key:k1", "r"), trust=f"t{number}")
    audit.patient()
    audit.settle()
    assert len(ask(audit, "by=key:k1")["items"]) == 4
    assert len(ask(audit, "entity=PATIENT&action=created")["items"]) == 2
    assert len(ask(audit, "action=created")["items"]) == 3
    seen, cursor = [], ""
    while True:
        page = ask(audit, "limit=2&entity=PATIENT" + (f"&cursor={cursor}" if cursor else ""))
        seen += [(entry["item_id"], entry["version"]) for entry in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 6
    other = call(
        "audit_log",
        "GET",
        "/v1/audit",
        query=f"limit=2&cursor={ask(audit, 'limit=2')['next_cursor']}",
        context=signed_in("owner", "prac_01JC0NS0TADEM0000000000001"),
    )
    assert other.status == 400


@pytest.mark.parametrize(
    "query",
    [
        "item_id=pat_1",
        "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00",
        "entity=patient",
    ],
)
def test_what_cannot_be_asked(audit: Audit, query: str) -> None:
    answer = call("audit_log", "GET", "/v1/audit", query=query, context=signed_in("owner"))
    assert answer.status == 422


def test_the_feed_shows_who_did_what_and_no_more(audit: Audit) -> None:
    audit.patient(notes="prefers mornings")
    assert trail.record("sign_in", PRACTICE_ID, by="person-1", request_id="r")
    tenant = audit.tenant
    values = {"name": "Olga", "role": "owner", "entity": "MEMBER"}
    table.transact(
        [
            table.put_values(keys.membership("person-1", PRACTICE_ID), {"member": "mem_1"}),
            table.put_values(tenant.item("MEMBER", "mem_1"), values),
        ]
    )
    audit.settle()
    items = ask(audit, role="viewer", path="/v1/activity")["items"]
    assert [(i["name"], i["action"], i["entity"]) for i in items] == [
        ("Olga", "created", "PATIENT"),
        ("Olga", "created", "PRACTICE"),
    ]
    assert set(items[0]) == {"at", "by", "name", "action", "entity", "item_id"}


# ---------------------------------------------------------------- happenings


def test_a_happening_has_its_row_once(audit: Audit) -> None:
    facts = {"session": "ses_1", "email": "angela@example.com"}
    assert trail.record(
        "sign_in", PRACTICE_ID, by="person-1", request_id="r", origin=BY.origin, facts=facts
    )
    messages = audit.settle()
    assert writing.process(messages) == []
    (entry,) = ask(audit, "entity=EVENT")["items"]
    assert entry["action"] == "sign_in"
    assert entry["after"] == facts
    assert entry["address"] == "203.0.113.7"
    stored = json.dumps(audit.rows(), default=str)
    assert "angela@example.com" not in stored
    assert audit.found() == []


def test_a_happening_of_no_practice_is_the_platforms(audit: Audit) -> None:
    assert trail.record("denied", "", by="", request_id="r")
    audit.settle()
    (row,) = [row for row in audit.rows() if row["entity"] == "EVENT"]
    assert row["pk"].startswith("P#platform#AUDIT#EVENT#")
    assert row["by"] == "unknown"


def test_notes_are_shown_only_where_that_is_recorded(
    audit: Audit, environment: pytest.MonkeyPatch
) -> None:
    patient = audit.patient(notes="prefers mornings")
    audit.settle()
    context = signed_in("owner", PRACTICE_ID)
    path = f"/v1/patients/{patient.item_id}"
    assert call("patients", "GET", path, context=context).body["notes"] == "prefers mornings"
    audit.settle()
    (entry,) = ask(audit, "action=notes_read")["items"]
    assert entry["after"] == {"patients": patient.item_id}
    assert call("patients", "GET", path, context=signed_in("viewer", PRACTICE_ID)).status == 200
    assert audit.received() == []
    environment.setattr(trail, "record", lambda *_, **__: False)
    assert call("patients", "GET", path, context=context).status == 503
    assert call("patients", "GET", "/v1/patients", context=context).status == 503
    bare = audit.patient()
    assert call("patients", "GET", f"/v1/patients/{bare.item_id}", context=context).status == 200


def test_secrets_are_never_kept(audit: Audit) -> None:
    values = {
        "entity": "MERCADOPAGO_TOKENS",
        "version": 1,
        "created_at": "2026-11-20T09:00:00.000Z",
        "updated_at": "2026-11-20T09:00:00.000Z",
        "ciphertext": b"sealed token",
        "token_digest": "abcdef",
    }
    key = Key(audit.tenant.item("PAYEE", "payee_1").pk, "MERCADOPAGO_TOKENS")
    table.transact([table.put_values(key, values)])
    audit.settle()
    (entry,) = ask(audit, "entity=MERCADOPAGO_TOKENS&item_id=payee_1")["items"]
    assert entry["part"] == "MERCADOPAGO_TOKENS"
    assert entry["after"] == {"ciphertext": "secret", "token_digest": "secret"}


def test_the_queue_key_and_the_mac_are_what_they_say(audit: Audit) -> None:
    sealed = encryption.seal_message(b"text")
    assert encryption.open_message(sealed) == b"text"
    row = audit.rows()[0]
    assert rows.is_authentic(row, mac_keys())
    assert not rows.is_authentic({**row, "by": "nobody"}, mac_keys())
    assert not rows.is_authentic({**row, "more": "x"}, mac_keys())
