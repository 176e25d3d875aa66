"""The text of an API key."""

import json
import re
import zlib

import pytest

from consulta.core import ids, settings
from consulta.people import credentials
from consulta.people.credentials import NewKey


@pytest.fixture
def live(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STAGE", "prod")
    settings.reset()


def test_a_key_has_its_id_its_secret_and_its_checksum(live: None) -> None:
    made = NewKey.make()
    found = re.fullmatch(r"ck_live_(.{26})([0-9A-Za-z]{32})([0-9A-Za-z]{6})", made.text)
    assert found
    assert made.key_id == f"key_{found[1]}"
    assert ids.is_id(made.key_id, "key")
    assert made.hint == f"ck_live_{found[1][:3]}…{made.text[-4:]}"
    assert credentials.key_id(made.text) == made.key_id


def test_no_two_keys_are_alike() -> None:
    assert len({NewKey.make().text for _ in range(200)}) == 200


def test_only_production_makes_live_keys(live: None, environment: pytest.MonkeyPatch) -> None:
    of_production = NewKey.make().text
    environment.setenv("STAGE", "staging")
    settings.reset()
    of_staging = NewKey.make().text
    assert of_staging.startswith("ck_test_")
    assert credentials.key_id(of_staging)
    assert credentials.key_id(of_production) is None


def test_the_checksum_is_crc32_in_base_62() -> None:
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for text in ("", "a", "ck_test_x" * 10):
        number = 0
        for letter in credentials.checksum(text):
            number = number * 62 + letters.index(letter)
        assert number == zlib.crc32(text.encode())
    assert 62**credentials.CHECKSUM_LENGTH > 2**32


def test_every_single_wrong_letter_is_found() -> None:
    text = NewKey.make().text
    for position in range(len(text)):
        wrong = "A" if text[position] != "A" else "B"
        assert credentials.key_id(text[:position] + wrong + text[position + 1 :]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "ck_",
        lambda text: "ck_test_",
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text + "\n",
        lambda text: text.swapcase(),
        lambda text: text.replace("ck_test_", "ck_prod_"),
        lambda text: text.replace("ck_test_", "CK_test_"),
        lambda text: text[:20] + "é" + text[21:],
        lambda text: text[:20] + "#" + text[21:],
        lambda text: text[:8] + "I" + text[9:],
        lambda text: text * 100,
        json.dumps,
    ],
)
def test_what_is_not_shaped_like_a_key_has_no_id(change: object) -> None:
    assert callable(change)
    assert credentials.key_id(change(NewKey.make().text)) is None


def test_what_is_stored_is_a_hash_of_the_whole_key() -> None:
    text = NewKey.make().text
    assert re.fullmatch(r"[0-9a-f]{64}", credentials.digest(text))
    assert credentials.digest(text[:-1]) != credentials.digest(text)
    assert text not in repr(credentials.digest(text))
