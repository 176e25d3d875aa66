"""The nightly check finds drift of items and rows, tells of it, and hands on what mends itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from consulta.aggregates import catalog, figures, sampling, verify, walk
from consulta.aggregates.repair import repair
from consulta.aggregates.stream import process
from consulta.core import aws, observe, table
from consulta.core.keys import Tenant, all_practices, watermark
from consulta.core.table import Raw
from consulta.money.records import PAYMENT
from consulta.people.records import PRACTICE
from consulta.scheduling.records import APPOINTMENT
from openapi import load
from tests.conftest import AGGREGATES, CORE
from tests.permissions import under_policy
from tests.unit.aggregates.images import PRACTICE_ID, TENANT, image, key, record

TOTAL = (PRACTICE, PRACTICE_ID, "TOTAL")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    monkeypatch.setattr(verify, "PAUSE_S", 0)
    # From the beginning of every list.
    monkeypatch.setattr(sampling, "between", lambda low, _: low)


@pytest.fixture
def queue(tables: Any, environment: pytest.MonkeyPatch) -> str:
    url = str(aws.client("sqs").create_queue(QueueName="repair")["QueueUrl"])
    environment.setenv("REPAIR_QUEUE_URL", url)
    return url


@pytest.fixture
def troubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    found: dict[str, float] = {}

    def trouble(name: str, value: float = 1) -> None:
        found[name] = found.get(name, 0) + value

    monkeypatch.setattr(sampling, "trouble", trouble)
    yield found
    observe.metrics.clear_metrics()


def messages(queue: str) -> list[dict[str, Any]]:
    answer = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [
        {"messageId": message["MessageId"], "body": message["Body"]}
        for message in answer.get("Messages", ())
    ]


def put(client: Any, *items: Raw) -> None:
    for item in items:
        client.put_item(TableName=CORE, Item=item)


def listed(practice_id: str) -> Raw:
    directory = {**table.raw_key(Tenant(practice_id).item(PRACTICE, practice_id))}
    return directory | {"l1pk": {"S": all_practices()}, "l1sk": {"S": practice_id}}


@pytest.fixture
def practice(tables: Any, queue: str) -> Any:
    """A practice with bookings and a payment, all counted."""
    items = [image(APPOINTMENT, f"appt_{n}") for n in range(3)] + [image(PAYMENT, "pay_1")]
    put(tables, listed(PRACTICE_ID), *items)
    assert process([record(number, item) for number, item in enumerate(items)]) == []
    walk.walk(TENANT)
    return tables


def total() -> figures.Figures:
    return figures.read(TENANT, [TOTAL], consistent=True)[TOTAL]


def test_where_all_is_right_nothing_is_told(
    practice: Any, queue: str, troubles: dict[str, float]
) -> None:
    checked = sampling.run()
    assert (checked.practices, checked.items, checked.drifted, checked.failed) == (1, 4, 0, 0)
    assert troubles == {}
    assert messages(queue) == []


def test_a_lost_record_is_drift_that_mends_itself(
    practice: Any, queue: str, troubles: dict[str, float]
) -> None:
    put(practice, image(APPOINTMENT, "appt_1", version=2, status="cancelled"))
    put(practice, image(APPOINTMENT, "appt_7"))
    assert sampling.run().drifted == 2
    assert troubles == {"FiguresDrift": 2}
    parked = messages(queue)
    assert sorted(json.loads(message["body"])["pk"] for message in parked) == [
        key(APPOINTMENT, "appt_1").pk,
        key(APPOINTMENT, "appt_7").pk,
    ]
    assert repair(parked) == []
    assert (total()["open"], total()["status.cancelled"]) == (3, 1)
    troubles.clear()
    assert sampling.run().drifted == 0
    assert troubles == {}


def test_an_item_that_vanished_is_found_by_what_it_has_contributed(
    practice: Any, queue: str, troubles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = key(APPOINTMENT, "appt_1")
    practice.delete_item(TableName=CORE, Key=table.raw_key(gone))
    shard = int(TENANT.contribution(gone.pk).pk.rsplit("#", 1)[1])
    monkeypatch.setattr(sampling._chance, "randrange", lambda _: shard)
    assert sampling.run().drifted == 1
    assert [json.loads(message["body"])["pk"] for message in messages(queue)] == [gone.pk]


@pytest.mark.parametrize("period", ["TOTAL", "M#2026-11", "D#2026-11-20"])
def test_a_damaged_row_is_told_of_and_left_to_a_person(
    practice: Any, queue: str, troubles: dict[str, float], period: str
) -> None:
    where = TENANT.figures(PRACTICE, PRACTICE_ID, period)
    table.transact([table.update(where, add={"collected.EUR": 1}, table=AGGREGATES)])
    assert sampling.run().drifted > 0
    assert troubles["FiguresDrift"] > 0
    assert messages(queue) == []


def test_what_is_only_under_way_is_no_drift(
    practice: Any, troubles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = image(APPOINTMENT, "appt_1", version=2, status="cancelled")
    put(practice, changed)
    monkeypatch.setattr(table.time, "sleep", lambda _: process([record(1, changed)]))
    assert sampling.run().drifted == 0
    assert troubles == {}


def test_an_incomplete_practice_is_walked_before_it_is_checked(
    practice: Any, troubles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION + 1)
    put(practice, image(APPOINTMENT, "appt_7"))
    assert sampling.run().drifted == 0
    where = (PRACTICE, PRACTICE_ID, figures.WALK)
    assert figures.is_complete(figures.read(TENANT, [where])[where])
    assert total()["open"] == 4
    assert troubles == {}


def test_what_cannot_be_counted_is_told_of_each_night_and_walked_once(
    practice: Any, queue: str, troubles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION + 1)
    # Behind all that the sample looks at.
    many = [image(APPOINTMENT, f"appt_{n:02}") for n in range(30, 60)]
    put(practice, *many, image(APPOINTMENT, "appt_9") | {"price": {"S": "a lot"}})
    pages = 0
    real = walk._Run._items_page

    def page(run: Any, segment: Any) -> Any:
        nonlocal pages
        pages += 1
        return real(run, segment)

    monkeypatch.setattr(walk._Run, "_items_page", page)
    walked = []
    for _ in range(3):
        troubles.clear()
        checked = sampling.run()
        assert (checked.practices, checked.failed) == (1, 0)
        assert troubles == {"FiguresDrift": 1}
        walked.append(pages)
    assert walked[0] == walked[1] == walked[2]
    # A person mends it, and walks.
    put(practice, image(APPOINTMENT, "appt_9", version=2))
    assert walk.backfill(TENANT).unreadable == 0
    troubles.clear()
    assert sampling.run().drifted == 0
    assert troubles == {}


def test_a_damaged_contribution_row_is_told_of_and_left_to_a_person(
    practice: Any, queue: str, troubles: dict[str, float]
) -> None:
    row = TENANT.contribution(key(APPOINTMENT, "appt_1").pk)
    table.transact([table.update(row, set_={"vec": "garbage"}, table=AGGREGATES)])
    checked = sampling.run()
    assert (checked.drifted, checked.failed, troubles) == (1, 0, {"FiguresDrift": 1})
    assert messages(queue) == []


def test_a_walk_that_takes_longer_than_the_night_goes_on_in_the_next(
    practice: Any, troubles: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "GENERATION", catalog.GENERATION + 1)
    monkeypatch.setattr(walk, "PAGE", 1)
    where = (PRACTICE, PRACTICE_ID, figures.WALK)
    nights = 0
    while not figures.is_complete(figures.read(TENANT, [where], consistent=True)[where]):
        calls = iter((True, True, True, False))
        assert sampling.run(time_left=lambda calls=calls: next(calls, False)).failed == 0
        nights += 1
        assert nights < 40
    assert nights > 1
    assert troubles == {}


def test_practices_take_turns(tables: Any, queue: str) -> None:
    names = [f"prac_{n}" for n in range(4)]
    put(tables, *[listed(name) for name in names])
    seen: list[str] = []

    def run(turns: int) -> list[str]:
        seen.clear()
        left = iter([True] * turns)
        sampling.run(time_left=lambda: next(left, False))
        return list(seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_check", lambda tenant, *_: seen.append(tenant.practice))
        assert run(3) == names[:3]
        # Behind the last one, then from the start up to it.
        assert run(2) == [names[3], names[0]]
        assert run(9) == [*names[1:], names[0]]
        # One that has gone meanwhile leaves its place.
        tables.delete_item(
            TableName=CORE, Key=table.raw_key(Tenant(names[0]).item(PRACTICE, names[0]))
        )
        assert run(9) == names[1:]


def test_one_practices_failure_holds_up_no_other(practice: Any, troubles: dict[str, float]) -> None:
    put(practice, listed("prac_0"))
    real = sampling._check

    def check(tenant: Tenant, *rest: Any) -> None:
        if tenant.practice == "prac_0":
            raise ValueError("no")
        real(tenant, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_check", check)
        checked = sampling.run()
    assert (checked.practices, checked.failed) == (1, 1)
    place = table.get_raw(watermark(sampling.PLACE))
    assert place is not None
    assert place["after"]["S"] == PRACTICE_ID


class Context:
    aws_request_id = "8d7b1c9e-3f52-4f7e-9d15-0a8f1a1f2b3c"
    function_name = "sample"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 800_000


def test_the_function_may_do_all_that_it_does(practice: Any, queue: str) -> None:
    table.transact(
        [table.update(TENANT.figures(*TOTAL[:2], "WALK"), remove=["done"], table=AGGREGATES)]
    )
    put(practice, image(APPOINTMENT, "appt_7"))
    handler = under_policy("figures_check", load("figures_check").lambda_handler)
    assert handler({}, Context())["practices"] == 1
    # The walk has counted it.
    assert total()["open"] == 4
    put(practice, image(APPOINTMENT, "appt_8"))
    assert handler({}, Context())["drifted"] == 1
    assert len(messages(queue)) == 1
