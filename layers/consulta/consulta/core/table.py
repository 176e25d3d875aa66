"""The core table: reads by key and by list, and ``transact``, the one way to write.

Everything goes through one botocore client, so that timeouts, retries, faults injected by tests and
consumed capacity are in one place. Table names come from settings; tests and the aggregates pass
``table=``.
"""

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from consulta.core import aws, settings
from consulta.core.errors import Busy
from consulta.core.item import Actor, Item
from consulta.core.keys import Key
from consulta.core.time import now, to_text

I = TypeVar("I", bound=Item)  # noqa: E741  # I for Item
Raw = dict[str, Any]

TRANSACT_DEADLINE_S = 4.0
BATCH_GET_MAX = 100
TRANSACT_MAX = 100
_RETRYABLE_REASONS = {
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
}
_RETRYABLE_ERRORS = _RETRYABLE_REASONS | {
    "TransactionInProgressException",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "InternalServerError",
    "ServiceUnavailable",
}

_serializer = TypeSerializer()
_deserializer = TypeDeserializer()
_jitter = random.SystemRandom()


def to_raw(values: dict[str, Any]) -> Raw:
    """Python values as DynamoDB's attribute map (int, str, bool, None, list, dict, set)."""
    return {name: _serializer.serialize(value) for name, value in values.items()}


def from_raw(raw: Raw) -> dict[str, Any]:
    """The reverse of :func:`to_raw`; numbers are Decimals."""
    return {name: _deserializer.deserialize(value) for name, value in raw.items()}


def core_table() -> str:
    """The core table's name."""
    name: str = settings.load(settings.Tables).core_table
    return name


def _dynamodb() -> Any:
    return aws.client("dynamodb")


def raw_key(key: Key) -> Raw:
    """A key as DynamoDB takes it."""
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


# ---------------------------------------------------------------- reading


def get_raw(key: Key, *, consistent: bool = True, table: str = "") -> Raw | None:
    """One item's attribute map, or None."""
    answer = _dynamodb().get_item(
        TableName=table or core_table(), Key=raw_key(key), ConsistentRead=consistent
    )
    item: Raw | None = answer.get("Item")
    return item


def get[I: Item](model: type[I], key: Key, *, consistent: bool = True) -> I | None:
    """One item, or None."""
    raw = get_raw(key, consistent=consistent)
    return model.read(raw) if raw else None


def batch_get_raw(
    keys: Sequence[Key], *, consistent: bool = True, table: str = ""
) -> dict[Key, Raw]:
    """Many items by key in one call per hundred; what is not there is not in the answer.

    UnprocessedKeys are asked for again with jitter until the deadline; then Busy.
    """
    found: dict[Key, Raw] = {}
    name = table or core_table()
    unique = list(dict.fromkeys(keys))
    for start in range(0, len(unique), BATCH_GET_MAX):
        pending: list[Raw] = [raw_key(key) for key in unique[start : start + BATCH_GET_MAX]]
        for _ in attempts(TRANSACT_DEADLINE_S):
            answer = _dynamodb().batch_get_item(
                RequestItems={name: {"Keys": pending, "ConsistentRead": consistent}}
            )
            for raw in answer["Responses"].get(name, ()):
                found[Key(raw["pk"]["S"], raw["sk"]["S"])] = raw
            pending = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
            if not pending:
                break
    return found


class Page(NamedTuple):
    """One page of raw items and, where there is more, the key to go on from.

    ``read`` is how many items it took, with those that the filter kept back.
    """

    items: list[Raw]
    last_key: Raw | None
    read: int


@dataclass(frozen=True, slots=True)
class Query:
    """One partition of the table or an index, a range of it, in order.

    ``low`` and ``high`` are inclusive bounds of the range key; ``begins`` a prefix of it.
    ``where`` and ``values`` are a filter expression on read items, with ``#name`` placeholders in
    ``names``.
    """

    partition: str
    index: str = ""
    low: str | None = None
    high: str | None = None
    begins: str | None = None
    newest_first: bool = False
    consistent: bool = False
    where: str = ""
    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    table: str = ""

    def page(self, limit: int, start: Raw | None = None) -> Page:
        """At most ``limit`` items read (fewer may match the filter)."""
        hash_name, range_name = (
            (f"{self.index}pk", f"{self.index}sk") if self.index else ("pk", "sk")
        )
        condition, values = "#pk = :pk", {":pk": self.partition, **self.values}
        names = {"#pk": hash_name, **self.names}
        if self.begins is not None:
            condition, values = (
                condition + " AND begins_with(#sk, :sk)",
                values | {":sk": self.begins},
            )
        elif self.low is not None and self.high is not None:
            condition += " AND #sk BETWEEN :low AND :high"
            values |= {":low": self.low, ":high": self.high}
        elif self.low is not None:
            condition, values = condition + " AND #sk >= :low", values | {":low": self.low}
        elif self.high is not None:
            condition, values = condition + " AND #sk <= :high", values | {":high": self.high}
        if "#sk" in condition:
            names["#sk"] = range_name
        request: Raw = {
            "TableName": self.table or core_table(),
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": to_raw(values),
            "ScanIndexForward": not self.newest_first,
            "ConsistentRead": self.consistent,
            "Limit": limit,
        }
        if self.index:
            request["IndexName"] = f"{self.index}-index"
        if self.where:
            request["FilterExpression"] = self.where
        if start:
            request["ExclusiveStartKey"] = start
        answer = _dynamodb().query(**request)
        return Page(answer["Items"], answer.get("LastEvaluatedKey"), answer["ScannedCount"])

    def all(self, page_size: int = 500) -> Iterator[Raw]:
        """Every item, page by page: for bounded partitions, walks and tests."""
        start: Raw | None = None
        while True:
            page = self.page(page_size, start)
            yield from page.items
            start = page.last_key
            if start is None:
                return


# ---------------------------------------------------------------- writing


class Action(NamedTuple):
    """One part of a transaction. ``label`` names it in :class:`ConditionFailed`."""

    kind: str
    request: Raw
    label: str = ""

    def named(self, label: str) -> "Action":
        """The same under another label."""
        return self._replace(label=label)


class ConditionFailed(Exception):
    """A part's condition did not hold; nothing of the transaction was written.

    ``label`` is the first such part's, ``labels`` all of them; ``old`` is the item as it is.
    """

    def __init__(self, failures: list[tuple[str, Raw | None]]) -> None:
        super().__init__(", ".join(label for label, _ in failures))
        self.labels = [label for label, _ in failures]
        self.label, self.old = failures[0]


def _request(key: Key, table: str, condition: str, names: Raw, values: dict[str, Any]) -> Raw:
    request: Raw = {"TableName": table or core_table(), "Key": raw_key(key)}
    if condition:
        request["ConditionExpression"] = condition
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    if names:
        request["ExpressionAttributeNames"] = names
    if values:
        request["ExpressionAttributeValues"] = to_raw(values)
    return request


def put_raw(raw: Raw, *, table: str = "", label: str = "") -> Action:
    """Write an item that must not exist yet."""
    return Action(
        "Put",
        {
            "TableName": table or core_table(),
            "Item": raw,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
        label,
    )


def put_new(item: Item, label: str = "") -> Action:
    """Write a new item; fails where its key is taken."""
    return put_raw(item.serialize(), label=label or item.entity)


def put_values(key: Key, values: dict[str, Any], *, table: str = "", label: str = "") -> Action:
    """Write a new row of plain values (lookups, due rows); fails where its key is taken."""
    return put_raw({**raw_key(key), **to_raw(values)}, table=table, label=label)


def update(
    key: Key,
    *,
    set_: dict[str, Any] | None = None,
    add: dict[str, int] | None = None,
    remove: Iterable[str] = (),
    condition: str = "",
    values: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
    table: str = "",
    label: str = "",
) -> Action:
    """Change attributes of one item. ``condition`` may use ``names`` and ``values`` of its own.

    ``set_``, ``add`` and ``remove`` take plain attribute names; attributes that this code does not
    know stay as they are.
    """
    all_names, all_values, parts = dict(names or {}), dict(values or {}), []
    for clause, pairs in (("SET", set_ or {}), ("ADD", add or {})):
        terms = []
        for name, value in pairs.items():
            placeholder = f"{clause[0].lower()}{len(all_names)}"
            all_names[f"#{placeholder}"] = name
            all_values[f":{placeholder}"] = value
            joint = " = " if clause == "SET" else " "
            terms.append(f"#{placeholder}{joint}:{placeholder}")
        if terms:
            parts.append(f"{clause} {', '.join(terms)}")
    removed = []
    for name in remove:
        placeholder = f"#r{len(all_names)}"
        all_names[placeholder] = name
        removed.append(placeholder)
    if removed:
        parts.append(f"REMOVE {', '.join(removed)}")
    request = _request(key, table, condition, all_names, all_values)
    return Action("Update", {**request, "UpdateExpression": " ".join(parts)}, label)


def change(
    item: Item,
    by: Actor,
    *,
    set_: dict[str, Any] | None = None,
    add: dict[str, int] | None = None,
    remove: Iterable[str] = (),
    condition: str = "",
    values: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
    label: str = "",
) -> Action:
    """Change an item that was read: only if its version is still the one that was read.

    The version rises by one and the stamps are renewed.
    """
    return update(
        item.key,
        set_={
            **(set_ or {}),
            "version": int(item.version) + 1,
            "updated_at": to_text(now()),
            "updated_by": by.id,
            "request_id": by.request_id,
            **({"origin": by.origin} if by.origin else {}),
        },
        add=add,
        remove=[*remove, *(() if by.origin else ("origin",))],
        condition="#version = :version" + (f" AND ({condition})" if condition else ""),
        values={":version": int(item.version), **(values or {})},
        names={"#version": "version", **(names or {})},
        label=label or item.entity,
    )


def delete(
    key: Key,
    *,
    condition: str = "",
    values: dict[str, Any] | None = None,
    table: str = "",
    label: str = "",
) -> Action:
    """Remove one row (lookups and due rows; what contributes to a figure is soft-deleted)."""
    return Action("Delete", _request(key, table, condition, {}, values or {}), label)


def check(
    key: Key,
    condition: str,
    *,
    values: dict[str, Any] | None = None,
    names: dict[str, str] | None = None,
    table: str = "",
    label: str = "",
) -> Action:
    """Let the transaction go through only if this holds for another item."""
    return Action(
        "ConditionCheck", _request(key, table, condition, names or {}, values or {}), label
    )


def attempts(deadline_s: float, base_s: float = 0.02, cap_s: float = 0.5) -> Iterator[int]:
    """0, 1, 2 … with full jitter between them, until ``deadline_s`` have passed; then Busy."""
    end, number = time.monotonic() + deadline_s, 0
    while True:
        yield number
        number += 1
        pause = _jitter.uniform(0, min(cap_s, base_s * 2**number))
        if time.monotonic() + pause > end:
            raise Busy
        time.sleep(pause)


def transact(
    actions: Sequence[Action],
    *,
    deadline_s: float = TRANSACT_DEADLINE_S,
    on_conflict: Callable[[], None] | None = None,
) -> None:
    """Write all parts or none.

    A conflict with another transaction, a throttle and an answer that was lost are tried again with
    full jitter until ``deadline_s``, under one token, so that a write which had been applied is not
    applied twice. Raises :class:`ConditionFailed` where a condition does not hold, and Busy at the
    deadline. ``on_conflict`` is called before each new try and may raise to stop early.
    """
    if not 0 < len(actions) <= TRANSACT_MAX:
        raise ValueError(f"a transaction has 1 to {TRANSACT_MAX} parts, not {len(actions)}")
    parts = [{action.kind: action.request} for action in actions]
    token = secrets.token_hex(16)
    for number in attempts(deadline_s):
        if number and on_conflict:
            on_conflict()
        try:
            _dynamodb().transact_write_items(TransactItems=parts, ClientRequestToken=token)
        except _dynamodb().exceptions.TransactionCanceledException as cancelled:
            reasons = cancelled.response.get("CancellationReasons", [])
            failures = [
                (action.label, reason.get("Item"))
                for action, reason in zip(actions, reasons, strict=False)
                if reason.get("Code") == "ConditionalCheckFailed"
            ]
            if failures:
                raise ConditionFailed(failures) from None
            if not any(reason.get("Code") in _RETRYABLE_REASONS for reason in reasons):
                raise
        except ClientError as error:
            if error.response["Error"]["Code"] not in _RETRYABLE_ERRORS:
                raise
        except (BotoConnectionError, HTTPClientError):
            # The outcome is unknown: the same token makes the next try harmless.
            continue
        else:
            return


def written(actions: Sequence[Action]) -> bool:
    """Whether all parts were written; False where somebody else was faster: read, decide again."""
    try:
        transact(actions)
    except ConditionFailed:
        return False
    return True
