"""Items as they are now, for what does not come from the stream: repair, walk, verify."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from consulta.aggregates import engine
from consulta.aggregates.images import Malformed
from consulta.aggregates.rows import Damaged
from consulta.core import table
from consulta.core.keys import Key, Tenant
from consulta.core.observe import failure


@dataclass(frozen=True, slots=True)
class Current:
    """Items that are there, keys of those that are not, and of those whose figures are unclear."""

    there: dict[str, engine.Change] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def read(pks: Iterable[str]) -> Current:
    """Read items consistently, in one call per hundred."""
    keys = {pk: Key(pk) for pk in pks}
    found = table.batch_get_raw(list(keys.values()))
    current = Current()
    for pk, key in keys.items():
        if key not in found:
            current.gone.append(pk)
            continue
        try:
            current.there[pk] = engine.as_of(pk, found[key])
        except Malformed as error:
            failure("an item cannot be counted", error, item=pk)
            current.unreadable.append(pk)
    return current


def settle(
    tenant: Tenant, pks: Iterable[str], *, deadline_s: float = engine.DEADLINE_S
) -> list[str]:
    """Bring the figures to what these items of one practice are now.

    An item that is gone is taken out of the figures, and one that was put back to an older version
    counts as that. Gives the keys of items that are unreadable, or what they have contributed: they
    are left as they were. Raises as :func:`consulta.aggregates.engine.apply`.
    """
    damaged: list[str] = []
    # The rows first: an item read after its row can only be older than that by being put back.
    remembered = engine.read_remembered(tenant, pks, damaged)
    current = read(remembered)
    changes = [engine.restored(change, remembered[pk]) for pk, change in current.there.items()]
    changes += [engine.vanished(pk, remembered[pk]) for pk in current.gone if remembered[pk].ord]
    engine.apply(tenant, changes, deadline_s=deadline_s)
    for pk in damaged:
        failure("a contribution row cannot be read", Damaged(pk), item=pk)
    return [*current.unreadable, *damaged]
