"""What the audit keeps of an item, and what of it is personal."""

import base64
import importlib
import pkgutil
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st
from pynamodb.attributes import BinaryAttribute

import consulta
from consulta.audit import fields
from consulta.core.item import Item, ListedItem, TrackedItem
from consulta.core.permissions import all_permissions

# Fields of text that name no person: states, ids, kinds, dates, currencies, zones.
SOUNDS_PERSONAL = ("email", "name", "phone", "note", "notes", "address", "bio", "token", "secret")
ENTITY_OF = {
    "TokensItem": "MERCADOPAGO_TOKENS",
    "ApiKeyItem": "API_KEY",
    "ReportScheduleItem": "REPORTSCHEDULE",
    "IdentityProviderItem": "SSO",
}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=12)
    | st.integers(-(10**12), 10**12)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


def items() -> list[type[Item]]:
    """Every stored item of the project."""
    for found in pkgutil.walk_packages(consulta.__path__, "consulta."):
        importlib.import_module(found.name)
    pending: list[type[Item]] = [Item]
    known: list[type[Item]] = []
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls not in {Item, ListedItem, TrackedItem}:
            known.append(cls)
    return known


def entity_of(cls: type[Item]) -> str:
    return ENTITY_OF.get(cls.__name__, cls.__name__.removesuffix("Item").upper())


def test_every_field_that_sounds_personal_is_encrypted_or_named_plain() -> None:
    found = items()
    assert len(found) > 10
    for cls in found:
        if not cls.__module__.startswith("consulta."):
            continue
        entity = entity_of(cls)
        for name, attribute in cls.get_attributes().items():
            if isinstance(attribute, BinaryAttribute):
                assert fields.is_secret(name, b"x")
            elif any(name == s or name.endswith(f"_{s}") for s in SOUNDS_PERSONAL):
                covered = fields.permission_for(entity, name) or fields.is_secret(name, "")
                assert covered or (entity, name) in fields.PLAIN, f"{entity}.{name}"


def test_the_permissions_are_permissions() -> None:
    named = {p for declared in fields.PERSONAL.values() for p in declared.values()}
    assert named | {fields.PATIENTS, fields.NOTES, fields.ORIGIN} <= all_permissions()


@pytest.mark.parametrize(
    ("entity", "name", "expected"),
    [
        ("PATIENT", "phone", "patients:read"),
        ("PATIENT", "notes", "notes:read"),
        ("MESSAGE", "text", "messages:read"),
        ("APPOINTMENT", "cancel_note", "notes:read"),
        ("MEMBER", "email", "members:read"),
        ("SOMETHING_NEW", "email", "patients:read"),
        ("SERVICE", "name", None),
        ("PATIENT", "trust", None),
    ],
)
def test_who_may_see_a_field(entity: str, name: str, expected: str | None) -> None:
    assert fields.permission_for(entity, name) == expected


@pytest.mark.parametrize(
    ("entity", "known", "expected"),
    [
        ("PATIENT", {}, "x_1"),
        ("INVITATION", {"patient_id": "pat_1"}, "x_1"),
        ("APPOINTMENT", {"patient_id": "pat_1", "expert_id": "exp_1"}, "pat_1"),
        ("MESSAGE", {"patient_id": "pat_1", "sender": "practice"}, "pat_1"),
        ("MEMBER", {"person_id": "sub-1"}, "sub-1"),
        ("EXPERT", {"member_id": "mem_1"}, "mem_1"),
        ("REPORT", {}, "prac_1"),
    ],
)
def test_whose_fields_they_are(entity: str, known: dict[str, Any], expected: str) -> None:
    assert fields.subject_of(entity, "x_1", "prac_1", known) == expected


@given(st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=6))
def test_an_image_reads_the_same_however_it_came(values: dict[str, Any]) -> None:
    """As DynamoDB's client gives it, and as Lambda's event does: bytes are base64 text there."""
    image = {name: TypeSerializer().serialize(value) for name, value in values.items()}
    assert fields.content(image) == fields.content(_as_event(image))
    assert fields.canonical(fields.content(image)) == fields.canonical(
        fields.content(dict(reversed(image.items())))
    )


def _as_event(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64encode(bytes(part)).decode()
            if name == "B" and not isinstance(part, dict)
            else _as_event(part)
            for name, part in value.items()
        }
    return [_as_event(part) for part in value] if isinstance(value, list) else value


def test_numbers_have_one_spelling() -> None:
    assert fields.plain(Decimal("5.0")) == 5
    assert fields.plain(Decimal("5.50")) == "5.5"
    assert fields.from_attribute({"N": "5.50"}) == "5.5"
    assert fields.from_attribute({"NS": ["3", "1"]}) == [1, 3]
    assert fields.from_attribute({"NULL": True}) is None


def test_stamps_and_list_keys_are_no_content() -> None:
    image = {name: {"S": "x"} for name in ("pk", "l2sk", "walkpk", "updated_by", "origin", "trust")}
    assert fields.content(image) == {"trust": "x"}
    assert fields.stamps(image) == {"pk": "x", "updated_by": "x"}
