"""How many owners a practice has: at least one, whatever happens at the same time.

One row per practice holds the number of active owners. It is changed in the very transaction in
which somebody becomes one or stops being one, and nobody can be the last to leave.
"""

from consulta.core import table
from consulta.core.errors import Conflict, Problem
from consulta.core.keys import Key, Tenant
from consulta.people.records import PRACTICE

LABEL = "owners"


def _row(tenant: Tenant) -> Key:
    return tenant.sub(PRACTICE, tenant.practice, "OWNERS")


def first(tenant: Tenant) -> table.Action:
    """A new practice has one."""
    return table.put_values(_row(tenant), {"entity": "OWNERS", "owners": 1}, label=LABEL)


def one_more(tenant: Tenant) -> table.Action:
    """Somebody becomes an owner, or an owner comes back."""
    return table.update(
        _row(tenant), add={"owners": 1}, condition="attribute_exists(pk)", label=LABEL
    )


def one_less(tenant: Tenant) -> table.Action:
    """An owner leaves or becomes something else; fails (label ``LABEL``) for the last."""
    return table.update(
        _row(tenant),
        add={"owners": -1},
        condition="owners > :one",
        values={":one": 1},
        label=LABEL,
    )


def last_one() -> Problem:
    """The answer to what would leave a practice without an owner."""
    return Conflict("A practice keeps at least one owner: make somebody else an owner first")
