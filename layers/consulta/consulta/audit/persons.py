"""A data key per person and practice. Erasure destroys it, and every field under it is gone.

They are rows of the core table, since the audit's own can never be deleted. A row without
``version`` is no business change, so making one does not call for an audit row of its own.
"""

from collections.abc import Iterable

from consulta.audit.encryption import DataKey, new_data_key, opened_data_key
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text

ENTITY = "PERSON_KEY"


def _context(tenant: Tenant, subject: str) -> dict[str, str]:
    return {"practice": tenant.practice, "person": subject}


def find(tenant: Tenant, subjects: Iterable[str]) -> dict[str, DataKey | None]:
    """The keys of those who have one, or had: None is a key that was destroyed."""
    wanted = {tenant.person_key(subject): subject for subject in dict.fromkeys(subjects)}
    found: dict[str, DataKey | None] = {}
    for key, raw in table.batch_get_raw(list(wanted)).items():
        subject = wanted[key]
        found[subject] = (
            opened_data_key(bytes(raw["wrapped"]["B"]), _context(tenant, subject))
            if "wrapped" in raw
            else None
        )
    return found


def ensure(tenant: Tenant, subjects: Iterable[str]) -> dict[str, DataKey | None]:
    """The keys of all of them, made where they have none. Two makers at once end with one key."""
    wanted = list(dict.fromkeys(subjects))
    found = find(tenant, wanted)
    for subject in wanted:
        if subject in found:
            continue
        made = new_data_key(_context(tenant, subject))
        row = {"entity": ENTITY, "wrapped": made.wrapped, "created_at": to_text(now())}
        try:
            table.transact([table.put_values(tenant.person_key(subject), row)])
        except table.ConditionFailed:
            found |= find(tenant, [subject])
        else:
            found[subject] = made
    return found


def destroy(tenant: Tenant, subject: str) -> None:
    """Make every field of this person in the audit unreadable, for ever.

    What stays says that there was a key: without it, a late record would get a new one.
    """
    table.transact(
        [
            table.update(
                tenant.person_key(subject),
                set_={"entity": ENTITY, "erased_at": to_text(now())},
                remove=["wrapped"],
            )
        ]
    )
