"""Where in a list a sample begins."""

from hypothesis import given
from hypothesis import strategies as st

from consulta.aggregates.sampling import between

KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


@given(one=KEYS, other=KEYS)
def test_a_place_is_between_the_ends(one: str, other: str) -> None:
    low, high = sorted((one, other))
    assert low <= between(low, high) <= high


def test_every_part_of_a_list_is_begun_in() -> None:
    """Ids of one day and of ten years: the first characters in which they differ decide."""
    for low, high in (("appt_01JC0A", "appt_01JC0Z"), ("appt_01AA000000", "appt_01ZZ000000")):
        places = {
            between(low, high)[len("appt_01JC0") if low.startswith("appt_01J") else 7]
            for _ in range(900)
        }
        assert len(places) > 15
