"""The text of an API key: made once, and told from garbage without a read.

``ck_live_<id><secret><checksum>``, after GitHub's tokens ("Behind GitHub's new authentication token
formats", 2021): a prefix that secret scanners find, letters that a double click selects, and a
CRC32 of all that is before it. The checksum keeps out typing errors and made-up keys, not forgers:
what proves a key is its secret, 32 letters of 62 (190 bits).
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Self

from consulta.core import ids, settings

SCHEME = "ck_"
LIVE_STAGE = "prod"
SECRET_LENGTH, CHECKSUM_LENGTH = 32, 6
_ID_PREFIX = "key"
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE = re.compile(r"(ck_(?:live|test)_)([0-9A-HJKMNP-TV-Z]{26})[0-9A-Za-z]{38}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key whose ``text`` its owner sees once; ``hint`` is what everybody may see of it."""

    key_id: str
    text: str
    hint: str

    @classmethod
    def make(cls) -> Self:
        """A new key of this stage."""
        key_id = ids.new_id(_ID_PREFIX)
        public = key_id.removeprefix(f"{_ID_PREFIX}_")
        secret = "".join(secrets.choice(_LETTERS) for _ in range(SECRET_LENGTH))
        text = f"{_scheme()}{public}{secret}"
        text += checksum(text)
        # The end tells one's keys apart: checksum only, at most 24 of the 190 bits.
        return cls(key_id, text, f"{_scheme()}{public[:3]}…{text[-4:]}")


def is_key(token: str) -> bool:
    """Whether a bearer token means to be an API key. An access token begins with its header."""
    return token.startswith(SCHEME)


def key_id(text: str) -> str | None:
    """The id of a key that this stage can have made; None where shape or checksum say no."""
    found = _SHAPE.fullmatch(text)
    if found is None or found[1] != _scheme():
        return None
    body, end = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    return f"{_ID_PREFIX}_{found[2]}" if checksum(body) == end else None


def digest(text: str) -> str:
    """What is stored of a key: SHA-256, hex.

    A plain hash is right here: with 190 random bits there is nothing to guess that a slow or salted
    hash would protect, and the authorizer computes it for every request.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(text: str) -> str:
    """CRC32 as six letters of base 62."""
    number, letters = zlib.crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, len(_LETTERS))
        letters = _LETTERS[rest] + letters
    return letters


def _scheme() -> str:
    stage: str = settings.load(settings.Runtime).stage
    return f"{SCHEME}{'live' if stage == LIVE_STAGE else 'test'}_"
