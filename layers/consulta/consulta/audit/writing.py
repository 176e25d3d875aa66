"""The audit's queue → the audit's rows: put only where there is none, whatever comes again.

Two kinds of message: an item's change, encrypted (``stream``), and a happening, as plain JSON of
ids (``core.trail``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from consulta.audit import persons, rows
from consulta.audit.encryption import open_message
from consulta.audit.macs import MacKeys, mac_keys
from consulta.audit.rows import Change, Happening
from consulta.core import aws, settings, table
from consulta.core.keys import Key
from consulta.core.observe import count, failure
from consulta.core.time import now, to_text

Record = dict[str, Any]
Parsed = Change | Happening


class AuditTable(settings.Settings):
    """Where the rows are."""

    audit_table: str


def audit_table() -> str:
    """The audit table's name."""
    name: str = settings.load(AuditTable).audit_table
    return name


def process(records: Sequence[Record]) -> list[str]:
    """Write a batch. Gives the ids of the messages to be delivered again.

    A message that cannot be read comes again too, and ends in the dead letters, where a person can
    look at it: an audit that drops what it does not understand is none.
    """
    failed = []
    macs = mac_keys()
    for record in records:
        try:
            write(parse(record["body"]), macs)
        except Exception as error:  # noqa: BLE001  # one message must not hold up the others
            failure("a change could not be recorded", error, delivery=record["messageId"])
            failed.append(record["messageId"])
    return failed


def parse(body: str) -> Parsed:
    """A message. Raises KeyError, ValueError (JSON's and the encryption's, too)."""
    if not body.startswith("{"):
        return _change(json.loads(open_message(body)))
    raw = json.loads(body)
    return Happening(
        id=raw["id"],
        kind=raw["event"],
        practice=raw["practice"],
        by=raw["by"] or rows.UNKNOWN_ACTOR,
        at=raw["at"],
        request_id=raw["request_id"],
        origin=raw["origin"],
        facts=raw["facts"],
    )


def _change(message: dict[str, Any]) -> Change:
    key = Key(message["pk"], message["sk"])
    if "oversize" not in message:
        return rows.change_of(
            key, message["old"], message["new"], seen_at=message["at"], expired=message["expired"]
        )
    return _oversize(key, message)


def _oversize(key: Key, message: dict[str, Any]) -> Change:
    """What is known without images: the stamps, and the item where it is still that version."""
    outline = message["outline"]
    current = table.get_raw(key)
    is_same = bool(current) and all(
        (current or {}).get(name) == outline[name] for name in ("version", "created_at")
    )
    change = rows.change_of(key, None, outline, seen_at=message["at"], expired=message["expired"])
    return replace(
        change,
        new=current if is_same and message["oversize"] != rows.REMOVED else None,
        old=None,
        action=message["oversize"],
        incomplete=True,
    )


def write(parsed: Parsed, macs: MacKeys) -> dict[str, Any]:
    """Write the row of one message, and give it."""
    keys = persons.ensure(parsed.tenant, parsed.persons)
    instant = to_text(now())
    row = (
        rows.of_change(parsed, keys, macs, instant)
        if isinstance(parsed, Change)
        else rows.of_happening(parsed, keys, macs, instant)
    )
    if _put(row):
        return row
    stored = find(Key(row["pk"], row["sk"]))
    if stored is None or rows.same(stored, row):
        return row
    # Somebody has written past the code that counts versions: both histories are kept.
    second = rows.beside(row, macs)
    _put(second)
    return second


def find(key: Key) -> dict[str, Any] | None:
    """A row as it is stored."""
    raw = table.get_raw(key, table=audit_table())
    return table.from_raw(raw) if raw else None


def _put(row: Mapping[str, Any]) -> bool:
    """Write a row where there is none; False where there is one."""
    try:
        aws.client("dynamodb").put_item(
            TableName=audit_table(),
            Item=table.to_raw(dict(row)),
            ConditionExpression="attribute_not_exists(pk)",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    if row.get("anomaly"):
        count("AuditAnomalies")
    return True
