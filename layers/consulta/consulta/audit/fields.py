"""What of an item the audit keeps: pure.

Personal fields are named here, each with the permission that it takes to see it. A field that
sounds personal is treated so in an entity that nobody has thought of, too: forgetting must not
leak.
"""

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Raw = Mapping[str, Mapping[str, Any]]

# Who, when and where from are columns of the row; they are no content.
STAMPS = frozenset(
    {"pk", "sk", "entity", "version", "created_at", "updated_at", "updated_by", "request_id"}
)
# Derived from the other fields (a list of patients is ordered by their names), or a column.
DERIVED = frozenset({f"{at}{part}" for at in ("l1", "l2", "l3", "walk") for part in ("pk", "sk")})
UNKEPT = DERIVED | {"origin"}

# Kept as a keyed hash only: whoever reads the audit can neither use nor guess them.
SECRET = frozenset(
    {"ciphertext", "digest", "token_digest", "email_digest"}
    | {"secret", "secret_hash", "client_secret"}
)

PATIENTS, NOTES, MEMBERS = "patients:read", "notes:read", "members:read"
MESSAGES = "messages:read"
_SOUND_PERSONAL = {
    "email": PATIENTS,
    "name": PATIENTS,
    "phone": PATIENTS,
    "address": PATIENTS,
    "notes": NOTES,
    "note": NOTES,
    "cancel_note": NOTES,
    "reschedule_note": NOTES,
    "recipients": MEMBERS,
    "mailed": MEMBERS,
}
# entity → field → the permission to see it, where it is not as above.
_STAFF = {"name": MEMBERS, "email": MEMBERS}
PERSONAL: dict[str, dict[str, str]] = {
    "MEMBER": _STAFF,
    "INVITATION": {**_STAFF, "expert": MEMBERS},
    "EXPERT": {"name": MEMBERS, "bio": MEMBERS, "title": MEMBERS},
    "NOTE": {"text": NOTES},
    "MESSAGE": {"text": MESSAGES},
    # What a patient tells of a visit, what they are answered, and why it was hidden.
    "REVIEW": {"comment": PATIENTS, "reply": PATIENTS, "hidden_reason": PATIENTS},
    # Google names a calendar by its owner's address.
    "CALENDAR_CONNECTION": {"calendar_id": MEMBERS},
}
# Names of things, and where a practice is.
PLAIN = frozenset(
    {(entity, "name") for entity in ("PRACTICE", "SERVICE", "RESOURCE", "ROLE", "API_KEY", "SSO")}
) | {("PRACTICE", "address")}
# Where a change came from: personal, too.
ORIGIN = PATIENTS


def permission_for(entity: str, field: str) -> str | None:
    """What a caller needs to see this field in clear; None where it is not personal."""
    if (entity, field) in PLAIN:
        return None
    return PERSONAL.get(entity, {}).get(field) or _SOUND_PERSONAL.get(field)


def is_secret(field: str, value: object) -> bool:
    """Whether no value of this field is ever kept; bytes are always ciphertexts."""
    return field in SECRET or isinstance(value, bytes)


def plain(value: Any) -> Any:
    """A value as JSON has it, the same whichever way it was read.

    Numbers are integers, or text where they are not whole; sets are sorted lists.
    """
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else str(value.normalize())
        case Mapping():
            return {name: plain(part) for name, part in value.items()}
        case set() | frozenset():
            return sorted((plain(part) for part in value), key=str)
        case list() | tuple():
            return [plain(part) for part in value]
        case _:
            return value


def from_attribute(attribute: Mapping[str, Any]) -> Any:
    """The value of DynamoDB's attribute; bytes may be base64 text, as Lambda's events have them."""
    ((kind, value),) = attribute.items()
    match kind:
        case "N":
            return plain(Decimal(value))
        case "B":
            return base64.b64decode(value) if isinstance(value, str) else bytes(value)
        case "L":
            return [from_attribute(part) for part in value]
        case "M":
            return {name: from_attribute(part) for name, part in value.items()}
        case "SS" | "NS" | "BS":
            return sorted((from_attribute({kind[0]: part}) for part in value), key=str)
        case _:
            return None if kind == "NULL" else value


def content(image: Raw | None) -> dict[str, Any]:
    """An image's own fields, without stamps and list keys; None is an item that is not there."""
    return {
        name: from_attribute(value)
        for name, value in (image or {}).items()
        if name not in STAMPS and name not in UNKEPT
    }


def stamps(image: Raw) -> dict[str, Any]:
    """An image's stamps."""
    return {name: from_attribute(value) for name, value in image.items() if name in STAMPS}


def canonical(value: Any) -> bytes:
    """One spelling of a JSON value, for hashing."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=bytes.hex
    ).encode()


def subject_of(entity: str, item_id: str, practice: str, fields: Mapping[str, Any]) -> str:
    """Whose personal fields these are: a patient, a person, else the practice's own."""
    if entity in {"PATIENT", "INVITATION"}:
        return item_id
    for name in ("patient_id", "person_id", "member_id"):
        if fields.get(name):
            return str(fields[name])
    return practice
