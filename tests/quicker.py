"""Three shortcuts for moto and botocore that change no answer.

moto copies whole tables before each transaction, to be able to undo it, with every stream record
ever written; looks for each of the ten types of each attribute under several names; and begins each
test with a new session, which parses botocore's models again.
"""

import functools
from typing import Any

from botocore.loaders import JSONFileLoader
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.models.table import StreamRecord

TYPES = frozenset({"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"})

_load_file = JSONFileLoader.load_file
_get_value = ResponseSerializer.get_value


@functools.cache
def _loaded(path: str) -> Any:
    return _load_file(JSONFileLoader(), path)


def _found(self: ResponseSerializer, value: Any, key: str, shape: Any) -> Any:
    """Of an attribute's value such as ``{"S": "text"}``, the type that is asked for."""
    if key in TYPES and type(value) is dict and len(value) == 1 and value.keys() <= TYPES:
        return value.get(key)
    return _get_value(self, value, key, shape)


def apply() -> None:
    """Stream records, which never change, are shared by copies; models are read once."""
    StreamRecord.__deepcopy__ = lambda self, _: self
    ResponseSerializer.get_value = _found
    JSONFileLoader.load_file = lambda _, file_path: _loaded(file_path)
