"""Checks requests against the Stripe SDK's own parameter types.

Stripe takes form-encoded bodies. They are parsed into nested objects and validated by pydantic
against the SDK's TypedDicts, rebuilt more strictly: unknown keys are refused, `Literal[…] | str`
(the SDK's way to stay open for new values) is narrowed to the literals, and the SDK's own request
options (api_key, idempotency_key …) are no parameters.
"""

import re
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, Union

import typing_extensions as te
from pydantic import ConfigDict, TypeAdapter, ValidationError
from stripe import StripeContext
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject

from local.simulators.stripe.errors import invalid_request

_NAMES = {"Mapping": typing.Mapping, "StripeContext": StripeContext}
_OPTIONS = frozenset(RequestOptions.__annotations__)


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`a[b][0]=x` and `a[]=x` as nested objects and lists."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        *parents, last = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", key) or [key]
        node = root
        for part in parents:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise invalid_request(f"Invalid object: {key}", param=key)
        node[last or str(len(node))] = value
    return {key: _listed(value, key) for key, value in root.items()}


def _listed(value: Any, key: str) -> Any:
    """An object whose keys are 0, 1, 2 … is a list, except in metadata, which is free-form."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(item, name) for name, item in value.items()}
    if key != "metadata" and list(inner) == [str(n) for n in range(len(inner))]:
        return list(inner.values())
    return inner


@cache
def _strict(hint: Any) -> Any:
    if te.is_typeddict(hint):
        return _strict_dict(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _strict_union(args)
    if origin in (te.NotRequired, te.Required):
        return origin[_strict(args[0])]
    if origin is list:
        return list[_strict(args[0])]  # type: ignore[misc]
    return hint


def _strict_dict(hint: Any) -> Any:
    hints = te.get_type_hints(hint, localns=_NAMES, include_extras=True)
    strict = te.TypedDict(  # type: ignore[misc]
        hint.__name__, {k: _strict(v) for k, v in hints.items() if k not in _OPTIONS}
    )
    strict.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return strict


def _strict_union(args: tuple[Any, ...]) -> Any:
    kept = [a for a in args if typing.get_origin(a) is not UntypedStripeObject]
    literals = [v for a in kept if typing.get_origin(a) is Literal for v in typing.get_args(a)]
    if any(literals) and str in kept:
        kept.remove(str)
    return Union[tuple(_strict(a) for a in kept)]  # noqa: UP007 - built from a tuple


@cache
def _adapter(params: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_strict(params))


def check(params: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The data with the types that the SDK declares, or Stripe's error naming the parameter.

    Errors: parameter_unknown, parameter_missing, parameter_invalid_empty,
    parameter_invalid_integer, and an invalid_request_error without a code for other values.
    """
    _refuse_empty(params, data)
    try:
        checked: dict[str, Any] = _adapter(params).validate_python(data)
    except ValidationError as error:
        raise _as_stripe_error(error) from None
    return checked


def _refuse_empty(params: Any, data: dict[str, Any]) -> None:
    """An empty string means "unset", which only some parameters allow."""
    hints = te.get_type_hints(params, localns=_NAMES)
    for name, value in data.items():
        if value == "" and "Literal['']" not in str(hints.get(name)):
            raise invalid_request(
                f"You passed an empty string for '{name}'. We assume empty values are an attempt "
                f"to unset a parameter; however '{name}' cannot be unset.",
                param=name,
                code="parameter_invalid_empty",
            )


def _as_stripe_error(error: ValidationError) -> Exception:
    # Of a union pydantic reports every branch: what is unknown says most, then what is missing.
    order = {"extra_forbidden": 0, "missing": 1}
    first = min(error.errors(), key=lambda e: order.get(e["type"], 2))
    name = _name(first["loc"])
    if first["type"] == "extra_forbidden":
        return invalid_request(
            f"Received unknown parameter: {name}", param=name, code="parameter_unknown"
        )
    if first["type"] == "missing":
        return invalid_request(
            f"Missing required param: {name}.", param=name, code="parameter_missing"
        )
    if first["type"].startswith("int_"):
        return invalid_request(
            f"Invalid integer: {first['input']}", param=name, code="parameter_invalid_integer"
        )
    if first["type"] == "literal_error":
        return invalid_request(
            f"Invalid {name}: must be one of {first.get('ctx', {}).get('expected', '')}", param=name
        )
    return invalid_request(f"Invalid {name}: {first['msg']}", param=name)


def _name(location: tuple[int | str, ...]) -> str:
    """('a', 'b', 0) -> a[b][0], without the union branches that pydantic adds."""
    parts = [
        str(part)
        for part in location
        if not re.search(r"\W|Params|^(int|str|bool|list|dict|float)$", str(part))
    ]
    return parts[0] + "".join(f"[{part}]" for part in parts[1:])
