"""A cursor goes on in the list that made it, and nowhere else."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.core.cursor import decode, encode
from consulta.core.errors import BadRequest

KEY = {"pk": {"S": "P#prac_1#THING#1"}, "sk": {"S": "ITEM"}}
SCOPE = ("prac_1", "/v1/things", "active")


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1), st.lists(st.text()))
def test_a_key_comes_back_as_it_went(values: dict[str, str], scope: list[str]) -> None:
    key = {name: {"S": value} for name, value in values.items()}
    assert decode(encode(key, *scope), *scope) == key


def test_the_end_of_a_list_has_no_cursor() -> None:
    assert encode(None, *SCOPE) is None
    assert decode(None, *SCOPE) is None


@pytest.mark.parametrize(
    "scope",
    [
        ("prac_2", "/v1/things", "active"),
        ("prac_1", "/v1/others", "active"),
        ("prac_1", "/v1/things", "all"),
        ("prac_1", "/v1/things"),
        ("prac_1/v1", "/things", "active"),
    ],
)
def test_another_list_refuses_it(scope: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(encode(KEY, *SCOPE), *scope)
    assert [error.path for error in refused.value.errors] == ["query.cursor"]


def packed(body: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "§",
        "////",
        packed([]),
        packed({}),
        packed({"s": "", "k": 1}),
        packed({"s": 1, "k": {}}),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequest):
        decode(cursor, *SCOPE)
