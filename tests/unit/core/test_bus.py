"""What a change is told as: which item and what happened, nothing that is in it."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from consulta.core.bus import Event
from consulta.core.keys import Tenant

TENANT = Tenant("prac_01JC0NS0TADEM0000000000000")
KEY = TENANT.item("APPOINTMENT", "appt_1")


def image(**values: Any) -> dict[str, Any]:
    found = {"version": 1, "entity": "APPOINTMENT", "status": "held", "name": "Inês", **values}
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in found.items()
    }


def record(old: Any, new: Any, pk: str = KEY.pk, sk: str = "ITEM") -> dict[str, Any]:
    images = {"OldImage": old, "NewImage": new}
    return {
        "dynamodb": {
            "Keys": {"pk": {"S": pk}, "sk": {"S": sk}},
            "SequenceNumber": "1",
            **{name: value for name, value in images.items() if value},
        }
    }


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, image(), (1, "created", "held", "", False)),
        (
            image(),
            image(version=2, status="confirmed"),
            (2, "changed", "confirmed", "held", False),
        ),
        (
            image(start="2026-11-20T09:00:00.000Z"),
            image(version=2, start="2026-11-20T10:00:00.000Z"),
            (2, "changed", "held", "held", True, "2026-11-20T09:00:00.000Z", ""),
        ),
        (
            image(start="2026-11-20T09:00:00.000Z", expert_id="exp_1"),
            image(version=2, start="2026-11-20T09:00:00.000Z", expert_id="exp_2"),
            (2, "changed", "held", "held", True, "2026-11-20T09:00:00.000Z", "exp_1"),
        ),
        (image(version=7), None, (7, "removed", "", "held", False)),
    ],
)
def test_a_change_is_told_by_what_happened(old: Any, new: Any, told: tuple[Any, ...]) -> None:
    event = Event.of_record(record(old, new))
    assert event == Event(TENANT.practice, "APPOINTMENT", "appt_1", *told)
    assert event
    assert (event.key, event.tenant) == (KEY, TENANT)
    assert "Inês" not in json.dumps(asdict(event), ensure_ascii=False)


def test_items_that_have_a_state_are_told_by_it() -> None:
    old = {"version": {"N": "1"}, "state": {"S": "requested"}}
    new = {"version": {"N": "2"}, "state": {"S": "succeeded"}}
    event = Event.of_record(record(old, new, TENANT.item("REFUND", "ref_1").pk))
    assert event
    assert (event.entity, event.status, event.was) == ("REFUND", "succeeded", "requested")


def test_sub_items_and_rows_without_a_version_are_not_told() -> None:
    assert Event.of_record(record(None, image(), sk="NOTIFICATION#booked#1")) is None
    without = {name: value for name, value in image().items() if name != "version"}
    assert Event.of_record(record(None, without)) is None
    with pytest.raises(ValueError, match="unpack"):
        Event.of_record(record(None, image(), pk="P#prac_1#ODD"))


def test_a_message_of_a_rule_is_the_event_again() -> None:
    event = Event(TENANT.practice, "APPOINTMENT", "appt_1", 3, "changed", "confirmed", "held")
    envelope = {"version": "0", "detail-type": "APPOINTMENT", "detail": asdict(event)}
    assert Event.received(json.dumps(envelope)) == event
    newer = {**envelope, "detail": {**asdict(event), "something": "new"}}
    assert Event.received(json.dumps(newer)) == event
