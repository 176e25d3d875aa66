"""What may come in at all, ahead of any model: strict JSON (RFC 8259, I-JSON) and clean text.

``json.loads`` takes more than JSON is: the last of two equal keys, NaN, a nesting that ends in a
RecursionError, half a surrogate pair. Two readers of one body must not see two bodies, and what
cannot be stored must not come as far as the store.
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Container
from datetime import date
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl

from pydantic import BeforeValidator

from consulta.core.errors import BadRequest, FieldError, Invalid, PayloadTooLarge

MAX_BODY = 256 * 1024
MAX_DEPTH = 32
MAX_TEXT = 4096
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 400
# C0 without tab and line ends, DEL, C1, and halves of a surrogate pair.
_UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Repeated(dict[str, Any]):
    """An object that had a key twice; the walk finds where it is."""

    key = ""


class _NoNumber:
    """NaN, Infinity, or a number that overflows."""


_NO_NUMBER = _NoNumber()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated, seen = _Repeated(found), set()
    for key, _ in pairs:
        if key in seen:
            repeated.key = key
        seen.add(key)
    return repeated


def _constant(_: str) -> _NoNumber:
    return _NO_NUMBER


def _integer(text: str) -> int | _NoNumber:
    # Python itself refuses integers of thousands of digits, with an error that is no JSON error.
    return int(text) if len(text) <= _MAX_DIGITS else _NO_NUMBER


def _float(text: str) -> float | _NoNumber:
    found = float(text)
    return found if abs(found) != float("inf") else _NO_NUMBER


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)


def _refuse(path: str, message: str, code: str) -> NoReturn:
    raise BadRequest.of(path, message, code)


def check_size(body: str, *, is_base64: bool) -> None:
    """Raises PayloadTooLarge for more than ``MAX_BODY`` bytes."""
    if is_base64:
        size = len(body) * 3 // 4 - body[-2:].count("=")
    else:
        # A letter has four bytes at most: most bodies need not be encoded to be measured.
        is_small = len(body) * 4 <= MAX_BODY or body.isascii()
        size = len(body) if is_small else len(body.encode(errors="surrogatepass"))
    if size > MAX_BODY:
        raise PayloadTooLarge(f"The body is larger than {MAX_BODY} bytes")


def read_object(body: str, *, is_base64: bool) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises BadRequest where it is not JSON in UTF-8, not an object, repeats a key, nests deeper than
    ``MAX_DEPTH`` or has a number that none is; Invalid where a text has control characters or half
    a surrogate pair, or an integer has more than 64 bits.
    """
    try:
        text = base64.b64decode(body, validate=True).decode() if is_base64 else body
    except (binascii.Error, UnicodeDecodeError):
        _refuse("body", "The body is not text in UTF-8", "encoding")
    try:
        found = _decoder.decode(text)
    except json.JSONDecodeError as error:
        _refuse(f"body.{error.pos}", "The body is not JSON", "json_invalid")
    except RecursionError:
        _refuse("body", f"The body nests deeper than {MAX_DEPTH}", "depth")
    if not isinstance(found, dict):
        _refuse("body", "The body is not a JSON object", "json_type")
    _walk(found)
    return found


def _walk(body: dict[str, Any]) -> None:
    pending: list[tuple[Any, str, int]] = [(body, "body", 1)]
    while pending:
        value, path, depth = pending.pop()
        if isinstance(value, str):
            check_text(value, path)
        elif isinstance(value, dict):
            if depth > MAX_DEPTH:
                _refuse(path, f"The body nests deeper than {MAX_DEPTH}", "depth")
            if isinstance(value, _Repeated):
                _refuse(f"{path}.{_shown(value.key)}", "The key is there twice", "duplicate")
            for key, inner in value.items():
                if _UNCLEAN.search(key):
                    check_text(key, path)
                pending.append((inner, f"{path}.{key}", depth + 1))
        elif isinstance(value, list):
            if depth > MAX_DEPTH:
                _refuse(path, f"The body nests deeper than {MAX_DEPTH}", "depth")
            pending.extend((inner, f"{path}.{n}", depth + 1) for n, inner in enumerate(value))
        elif isinstance(value, _NoNumber):
            _refuse(path, "This is not a number that JSON has", "number")
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise Invalid.of(path, "The number is too large", "number")


def _shown(key: str) -> str:
    return _UNCLEAN.sub("?", key)[:100]


def check_text(value: str, path: str) -> None:
    """Raises Invalid where a text has control characters or half a surrogate pair."""
    if _UNCLEAN.search(value):
        raise Invalid.of(path, "Control characters are not accepted", "control_characters")


def check_parameter(value: str, path: str) -> None:
    """A query's or header's value. Raises Invalid for what no route can want."""
    if len(value) > MAX_TEXT:
        raise Invalid.of(path, f"Longer than {MAX_TEXT} characters", "string_too_long")
    check_text(value, path)


def check_query(text: str, known: Container[str]) -> None:
    """A query's names, as it was sent. Raises Invalid for those that are not among the ``known``.

    A filter that nobody looks at, or the other one of two, would be an answer to another question.
    """
    names = Counter(name for name, _ in parse_qsl(text, keep_blank_values=True))
    found = tuple(
        FieldError(
            f"query.{printable(name, 100)}",
            "There is no such parameter" if name not in known else "The parameter is there twice",
            "extra_forbidden" if name not in known else "duplicate",
        )
        for name, times in names.items()
        if name not in known or times > 1
    )
    if found:
        raise Invalid(found[0].message, errors=found)


def _day(value: object) -> object:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise ValueError("not a date, like 2026-12-24")
    return value


Day = Annotated[date, BeforeValidator(_day)]
"""A date, written ``yyyy-mm-dd``: pydantic would take seconds since 1970 and instants as well."""


def printable(value: str, length: int) -> str:
    """At most ``length`` characters of a text that is only kept to be shown."""
    return "".join(letter for letter in value[:length] if letter.isprintable())
