"""What the use cases of people share when they write: lookup rows, and whose fault a refusal is."""

from consulta.core import table
from consulta.core.errors import Conflict, FieldError, PreconditionFailed, Problem
from consulta.core.keys import Tenant

MEMBER_EMAIL, PATIENT_EMAIL, PATIENT_PHONE, PATIENT_LOGIN = (
    "MEMBER_EMAIL",
    "PATIENT_EMAIL",
    "PATIENT_PHONE",
    "PATIENT_LOGIN",
)
ROLE_NAME, INVITATION_EMAIL = "ROLE_NAME", "INVITATION_EMAIL"


def claim(tenant: Tenant, what: str, value: str, item_id: str) -> table.Action:
    """Make ``value`` this item's alone; the part's label is ``what``."""
    return table.put_values(
        tenant.unique(what, value), {"entity": "UNIQUE", "item_id": item_id}, label=what
    )


def release(tenant: Tenant, what: str, value: str) -> table.Action:
    """Give ``value`` up. The item's own version condition makes sure that it was ours."""
    return table.delete(tenant.unique(what, value), label=f"release {what}")


def holder(tenant: Tenant, what: str, value: str) -> str | None:
    """The id of the item that has ``value``, or None."""
    raw = table.get_raw(tenant.unique(what, value))
    return str(table.from_raw(raw)["item_id"]) if raw else None


def taken(path: str, message: str, failed: table.ConditionFailed) -> Problem:
    """The 409 of a value that another item has; it names that item."""
    existing = table.from_raw(failed.old)["item_id"] if failed.old else None
    return duplicate(path, message, existing)


def duplicate(path: str, message: str, existing_id: str | None) -> Problem:
    """See :func:`taken`."""
    return Conflict(
        message,
        errors=(FieldError(path, message, "duplicate"),),
        extra={"existing_id": existing_id},
    )


def lost_race(if_match: str | None) -> Problem:
    """Somebody else wrote between our reading and our writing."""
    if if_match is not None:
        return PreconditionFailed()
    return Conflict("It was changed at the same time: read it again and repeat")
