"""A practice's row of walks: which generation of its figures is complete, and who may count.

{"done": generation that is complete, "runs": how many walks were begun,
 while one is under way: "run", "gen", "entities", "before", and
 "stuck": generation whose walk ended with what it could not count,
 "counted": generation that counted first, where none had walked}
"""

from dataclasses import dataclass

from consulta.aggregates import catalog
from consulta.aggregates.catalog import aggregates_table, walk_key
from consulta.aggregates.rows import number
from consulta.core import table
from consulta.core.keys import Tenant
from consulta.core.table import Raw
from consulta.core.time import now, to_text


class NewerGeneration(RuntimeError):
    """Newer code has counted item ``pk``, or walks its practice or has walked it.

    Its figures are not for this code to undo, nor to add to: what this code counts is less.
    """

    def __init__(self, pk: str) -> None:
        super().__init__("the figures are of a newer generation")
        self.pk = pk


@dataclass(frozen=True, slots=True)
class WalkState:
    """A practice's walk: the last generation that is complete, and the run under way (0: none)."""

    done: int
    runs: int
    run: int
    gen: int
    entities: frozenset[str]
    before: int


def read(tenant: Tenant) -> WalkState:
    """Raises NewerGeneration where newer code walks or has walked: its figures are not ours."""
    raw = table.get_raw(walk_key(tenant), table=aggregates_table()) or {}
    # A walk of generation 2 kept one cursor for all segments, and no run: it begins anew.
    state = WalkState(
        # The first generation needed no walk.
        done=number(raw, "done") or 1,
        runs=number(raw, "runs"),
        run=number(raw, "run"),
        gen=number(raw, "gen"),
        entities=frozenset(raw.get("entities", {}).get("S", "").split(",")),
        before=number(raw, "before"),
    )
    if max(state.done, state.gen) > catalog.GENERATION:
        raise NewerGeneration(walk_key(tenant).pk)
    return state


def begin(tenant: Tenant) -> None:
    """Nothing of a new practice is older than its figures: they are complete.

    Where older code has counted its first items, a walk must come. Twice changes nothing. Raises as
    :func:`consulta.core.table.transact`.
    """
    unwalked = " AND ".join(f"attribute_not_exists({name})" for name in ("done", "stuck", "runs"))
    row = table.update(
        walk_key(tenant),
        set_={"done": catalog.GENERATION, "updated_at": to_text(now())},
        condition=f"{unwalked} AND (attribute_not_exists(counted) OR counted >= :mine)",
        values={":mine": catalog.GENERATION},
        table=aggregates_table(),
        label="walk",
    )
    table.written([row])


@dataclass(slots=True)
class Generations:
    """Of the code that has walked a practice, that walks it, and that was the first to count."""

    done: int
    gen: int
    counted: int

    @classmethod
    def of(cls, raw: Raw | None) -> "Generations":
        """The row of DynamoDB's attribute map."""
        return cls(*(number(raw, name) for name in ("done", "gen", "counted")))

    @property
    def newest(self) -> int:
        """0 where nobody has been here."""
        return max(self.done, self.gen, self.counted)

    def written(self) -> None:
        """A transaction with :meth:`none_newer` went through."""
        self.counted = self.counted or catalog.GENERATION

    def none_newer(self, tenant: Tenant, at: str) -> table.Action:
        """That no newer code walks the practice, or has walked it, since this was read.

        A row of contributions would be found by that walk; for a new item without one, none comes
        back. Where nobody has walked yet, it is written down which code was the first to count: the
        beginning of a new practice may be heard of after its first items.
        """
        condition = " AND ".join(
            f"(attribute_not_exists({name}) OR {name} <= :mine)" for name in ("done", "gen")
        )
        where, mine, name = walk_key(tenant), {":mine": catalog.GENERATION}, aggregates_table()
        if self.done or self.counted:
            return table.check(where, condition, values=mine, table=name, label="walk")
        return table.update(
            where,
            set_={"counted": catalog.GENERATION, "updated_at": at},
            condition=f"{condition} AND attribute_not_exists(counted)",
            values=mine,
            table=name,
            label="walk",
        )
