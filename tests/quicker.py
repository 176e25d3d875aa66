"""Shortcuts for moto and botocore that change no answer.

moto copies whole tables for each action of a transaction, to be able to undo it, with every stream
record ever written; looks for each of the ten types of each attribute under several names; makes an
RSA key for each key that signs; and begins each test with a new session, which looks for botocore's
models and parses them again, and without tables.
"""

import copy
import functools
import threading
from collections import defaultdict
from typing import Any

import botocore.session
from botocore.hooks import EVENT_ALIASES, EventAliaser
from botocore.loaders import JSONFileLoader, create_loader
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.serialize import BaseJSONSerializer, ResponseSerializer
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import StreamRecord, Table
from moto.kms.utils import RSAPrivateKey

from tests.template import create_table

TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})
# Types whose values are replaced, and never changed in place.
SCALARS = frozenset({"S", "N", "BOOL", "NULL"})

# As many different keys of one size as there are: the next one is the first again.
RSA_KEYS = 3

_load_file = JSONFileLoader.load_file
_get_value = ResponseSerializer.get_value
_structure = BaseJSONSerializer._serialize_type_structure
_copied = DynamoType.__deepcopy__
_transact = DynamoDBBackend.transact_write_items
_make_key = RSAPrivateKey.__init__
_alias = EventAliaser._alias_event_name
_aliases: dict[str, str] = {}
_empty: dict[str, Table] = {}
_one_at_a_time = threading.Lock()
_made_keys: dict[int, list[Any]] = defaultdict(list)


@functools.cache
def _loaded(path: str) -> Any:
    return _load_file(JSONFileLoader(), path)


def _found(self: ResponseSerializer, value: Any, key: str, shape: Any) -> Any:
    """Of an attribute's value such as ``{"S": "text"}``, the type that is asked for."""
    if key in TYPES and type(value) is dict and len(value) == 1 and value.keys() <= TYPES:
        return value.get(key)
    return _get_value(self, value, key, shape)


def _written(self: BaseJSONSerializer, serialized: Any, value: Any, shape: Any, key: str) -> None:
    """An attribute's value that is what the answer says of it, as it is."""
    if key and shape.name == "AttributeValue" and type(value) is dict and len(value) == 1:
        ((kind, plain),) = value.items()
        if kind in SCALARS and type(plain) in (str, bool):
            self._default_serialize(serialized, {kind: plain}, shape, key)
            return
    _structure(self, serialized, value, shape, key)


def _shared(self: DynamoType, memo: dict[int, Any]) -> DynamoType:
    """Copies share what is never changed in place."""
    return self if self.type in SCALARS else _copied(self, memo)


def _transacted(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Before each transaction a copy of what it may change, in place of a copy of everything."""
    named: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in transact_items:
        for action in item.values():
            named[action.get("TableName", "")].append(action.get("Key") or action.get("Item", {}))
    snapshots: dict[int, Table] = {}

    def snapshot(table: Table, _: dict[int, Any]) -> Table:
        if id(table) not in snapshots:
            snapshots[id(table)] = _snapshot(table, named[table.name])
        return snapshots[id(table)]

    # One after the other, as the real table has them: some tests have threads.
    with _one_at_a_time:
        Table.__deepcopy__ = snapshot
        try:
            _transact(self, transact_items)
        finally:
            del Table.__deepcopy__


def _snapshot(table: Table, keys: list[dict[str, Any]]) -> Table:
    """The table as it is; of its items only those of ``keys`` are changed in place."""
    kept = copy.copy(table)
    kept.items = defaultdict(dict, {hash_: dict(rows) for hash_, rows in table.items.items()})
    for key in keys:
        # Every table here has both; a key without one is refused by what follows.
        if not key.keys() >= set(table.table_key_attrs):
            continue
        hash_, range_ = (DynamoType(key[name]) for name in table.table_key_attrs)
        if range_ in kept.items.get(hash_, {}):
            kept.items[hash_][range_] = copy.deepcopy(kept.items[hash_][range_])
    if table.stream_shard is not None:
        kept.stream_shard = copy.copy(table.stream_shard)
        kept.stream_shard.items = list(table.stream_shard.items)
        kept.stream_shard.table = kept
    return kept


def _key_made(self: RSAPrivateKey, key_size: int) -> None:
    """A key of that size: a new one, or one of those that were made before."""
    known = _made_keys[key_size]
    if len(known) < RSA_KEYS:
        _make_key(self, key_size)
        known.append(self.private_key)
    else:
        self.key_size, self.private_key = key_size, known[0]
        known.append(known.pop(0))


def _aliased(self: EventAliaser, event_name: str) -> str:
    """An event's present name; each client looks again for what all of them know."""
    if self._event_aliases is not EVENT_ALIASES:
        return _alias(self, event_name)
    if event_name not in _aliases:
        _aliases[event_name] = _alias(self, event_name)
    return _aliases[event_name]


def create_tables(client: Any, region: str, tables: dict[str, str]) -> None:
    """Empty tables by their names, each as the template has its logical id: made once, copied."""
    found = dynamodb_backends[DEFAULT_ACCOUNT_ID][region].tables
    for name, logical_id in tables.items():
        if name not in _empty:
            create_table(client, logical_id, name)
            _empty[name] = copy.deepcopy(found[name])
        else:
            found[name] = copy.deepcopy(_empty[name])


def apply() -> None:
    """Stream records, which never change, are shared by copies; models are read once."""
    StreamRecord.__deepcopy__ = lambda self, _: self
    DynamoType.__deepcopy__ = _shared
    DynamoDBBackend.transact_write_items = _transacted
    ResponseSerializer.get_value = _found
    BaseJSONSerializer._serialize_type_structure = _written
    RSAPrivateKey.__init__ = _key_made
    EventAliaser._alias_event_name = _aliased
    botocore.session.create_loader = functools.cache(create_loader)
    JSONFileLoader.load_file = lambda _, file_path: _loaded(file_path)
