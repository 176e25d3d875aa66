"""Prefixed, time-ordered ids: ``appt_01JC3…`` (a ULID behind the entity's prefix)."""

import re

from ulid import ULID

ID_PATTERN = r"^[a-z]{2,8}_[0-9A-HJKMNP-TV-Z]{26}$"
_ID = re.compile(ID_PATTERN)


def new_id(prefix: str) -> str:
    """A new id. Its random part comes from os.urandom, so a restored snapshot repeats none."""
    return f"{prefix}_{ULID()}"


def related(item_id: str, prefix: str) -> str:
    """The id of what belongs to an item alone: the item's own, behind another prefix."""
    return f"{prefix}_{item_id.partition('_')[2]}"


def is_id(value: str, prefix: str = "") -> bool:
    """Whether ``value`` is a well-formed id, with ``prefix`` where one is given."""
    return bool(_ID.fullmatch(value)) and value.startswith(f"{prefix}_" if prefix else "")
