"""transact() and the query builder against tables built from template.yaml."""

from typing import Any

import pytest

from consulta.core import table
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant
from consulta.people.records import PRACTICE, PracticeItem

BY = Actor("person-1", "request-1")
PRACTICE_ID = "prac_01JCABCDEFGHJKMNPQRSTVWXYZ"


def practice() -> PracticeItem:
    return PracticeItem.create(
        Tenant(PRACTICE_ID).item(PRACTICE, PRACTICE_ID),
        PRACTICE,
        BY,
        name="Clínica",
        zone="Europe/Lisbon",
        currency="EUR",
        country="PT",
        commission_bps=1000,
        policy={"version": 1},
        l1pk="PRACTICES",
        l1sk=PRACTICE_ID,
    )


def test_an_item_is_read_as_it_was_written(tables: Any) -> None:
    item = practice()
    table.transact([table.put_new(item)])
    found = table.get(PracticeItem, item.key)
    assert found is not None
    assert (found.name, found.version, found.created_at) == ("Clínica", 1, item.created_at)
    assert found.tenant == Tenant(PRACTICE_ID)
    assert found.item_id == PRACTICE_ID


def test_nothing_is_written_where_one_condition_fails(tables: Any) -> None:
    item = practice()
    table.transact([table.put_new(item)])
    other = Key("P#other#THING#1")
    with pytest.raises(table.ConditionFailed) as failed:
        table.transact([table.put_values(other, {"a": 1}), table.put_new(item, "practice")])
    assert failed.value.label == "practice"
    assert table.get_raw(other) is None


def test_a_change_needs_the_version_that_was_read(tables: Any) -> None:
    item = practice()
    table.transact([table.put_new(item)])
    table.transact([table.change(item, BY, set_={"name": "Second"}, remove=["country"])])
    with pytest.raises(table.ConditionFailed):
        table.transact([table.change(item, BY, set_={"name": "Third"})])
    raw = table.get_raw(item.key)
    assert raw is not None
    assert (raw["name"]["S"], raw["version"]["N"], "country" in raw) == ("Second", "2", False)


def test_pages_go_on_from_their_last_key(tables: Any) -> None:
    rows = [table.put_values(Key("P#p#ROW#1", f"{n:03}"), {"n": n}) for n in range(25)]
    table.transact(rows)
    query = table.Query("P#p#ROW#1", low="005", high="020")
    first = query.page(10)
    second = query.page(10, first.last_key)
    assert [row["sk"]["S"] for row in first.items + second.items] == [
        f"{n:03}" for n in range(5, 21)
    ]
    assert second.last_key is None
    assert len(list(query.all(page_size=3))) == 16


def test_batch_get_answers_for_what_is_there(tables: Any) -> None:
    keys = [Key("P#p#ROW#1", f"{n:03}") for n in range(150)]
    for start in (0, 60):
        table.transact([table.put_values(key, {"n": 1}) for key in keys[start : start + 60]])
    assert set(table.batch_get_raw(keys)) == set(keys[:120])
