"""Prefixed, time-ordered ids: ``appt_01JC3…`` (a ULID behind the entity's prefix)."""

import hashlib
import re

ID_PATTERN = r"^[a-z]{2,8}_[0-9A-HJKMNP-TV-Z]{26}$"
_ID = re.compile(ID_PATTERN)


def new_id(prefix: str) -> str:
    """A new id. Its random part comes from os.urandom, so a restored snapshot repeats none."""
    # What only reads makes none: its cold start does without it.
    from ulid import ULID  # noqa: PLC0415

    return f"{prefix}_{ULID()}"


def derived(prefix: str, source: str) -> str:
    """The one id that follows from ``source``, which cannot be had back from it."""
    from ulid import ULID  # noqa: PLC0415

    return f"{prefix}_{ULID(hashlib.sha256(source.encode()).digest()[:16])}"


def related(item_id: str, prefix: str) -> str:
    """The id of what belongs to an item alone: the item's own, behind another prefix."""
    return f"{prefix}_{item_id.partition('_')[2]}"


def is_id(value: str, prefix: str = "") -> bool:
    """Whether ``value`` is a well-formed id, with ``prefix`` where one is given."""
    return bool(_ID.fullmatch(value)) and value.startswith(f"{prefix}_" if prefix else "")
