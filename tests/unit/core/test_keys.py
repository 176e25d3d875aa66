"""Every key begins with its practice, and no value can reach another's."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core import keys
from consulta.core.keys import Key, Tenant, parse_item, tenant_of

TENANT = Tenant("prac_1")
AT = datetime(2026, 11, 21, 10, 30, 59, tzinfo=UTC)
PARTS = st.text(min_size=1).filter(lambda text: "#" not in text)


def every_key(value: str) -> list[Key]:
    return [
        TENANT.item("THING", value),
        TENANT.sub("THING", value, "PART"),
        TENANT.sub("THING", value, "PART", "1"),
        TENANT.unique("EMAIL", value),
        TENANT.idempotency("person-1", value),
        TENANT.calendar("EXPERT", value, date(2026, 11, 21)),
        TENANT.holds(value),
        TENANT.figures("EXPERT", value, "TOTAL"),
        TENANT.pair("NAME", value, "right"),
        TENANT.connection("EXPERT", value, "connection"),
    ]


@given(PARTS)
def test_every_key_begins_with_its_practice(value: str) -> None:
    for key in every_key(value):
        assert key.pk.startswith("P#prac_1#")
        assert tenant_of(key.pk) == TENANT
    assert TENANT.listing_by("THING", "MONTH", value).startswith(TENANT.prefix)


@given(PARTS, PARTS)
def test_two_values_never_share_a_key(one: str, other: str) -> None:
    if one != other:
        assert not set(every_key(one)) & set(every_key(other))


@pytest.mark.parametrize("value", ["", "a#b", "#", "x#P#prac_2#"])
def test_a_separator_or_nothing_makes_no_key(value: str) -> None:
    for make in (
        lambda: Tenant(value),
        lambda: TENANT.item("THING", value),
        lambda: TENANT.holds(value),
        lambda: TENANT.calendar("EXPERT", value, date(2026, 11, 21)),
        lambda: TENANT.listing_by("THING", "MONTH", value),
        lambda: TENANT.idempotency(value, "key"),
        lambda: keys.person(value),
        lambda: keys.membership("person-1", value),
    ):
        with pytest.raises(ValueError, match="separator"):
            make()


def test_what_a_person_typed_is_not_readable_in_a_key() -> None:
    for key in (TENANT.unique("EMAIL", "ines@example.com"), TENANT.idempotency("p", "my key#1")):
        assert "ines" not in key.pk
        assert "my key" not in key.pk


def test_an_item_is_found_again_in_its_key() -> None:
    assert parse_item(TENANT.item("APPOINTMENT", "appt_1").pk) == ("APPOINTMENT", "appt_1")
    assert tenant_of(TENANT.item("APPOINTMENT", "appt_1").pk) == TENANT
    with pytest.raises(ValueError, match="practice"):
        tenant_of("PERSON#person-1#x")


@given(PARTS)
def test_due_rows_are_in_one_of_the_shards_of_their_minute(item: str) -> None:
    row = keys.due(AT, f"P#prac_1#THING#{item}", "hold")
    partitions = {keys.due_partition(AT, number) for number in range(keys.DUE_SHARDS)}
    assert row.pk in partitions
    assert row == keys.due(AT, f"P#prac_1#THING#{item}", "hold")
    assert all(partition.startswith("DUE#2026-11-21T10:30#") for partition in partitions)
