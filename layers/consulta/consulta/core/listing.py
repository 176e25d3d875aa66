"""A list that goes through several partitions, filters within a read budget, and can be resumed.

One dimension and time are an index's; whatever else is filtered is read first. A page may then be
short, or empty, and its cursor still goes on: docs/lists.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consulta.core import table
from consulta.core.errors import BadRequest, FieldError

CHUNK = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """Which partitions of which index are read, in order, and what is filtered.

    Without an ``index`` the partitions are the table's own. ``low`` and ``high`` bound the range
    key. ``budget`` is how many items one request may read, whether or not the filters let them
    through.
    """

    index: str
    partitions: tuple[str, ...]
    low: str | None
    high: str | None
    newest_first: bool
    where: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    table_name: str = ""
    budget: int = 300

    def read(self, limit: int, key: table.Raw | None) -> tuple[list[table.Raw], table.Raw | None]:
        """Up to ``limit`` items that pass the filters, and where to go on, None at the list's end.

        Raises BadRequest for a key that this plan cannot have made.
        """
        number, start = self._resume(key)
        found: list[table.Raw] = []
        budget = self.budget
        while number < len(self.partitions):
            if budget <= 0 or len(found) == limit:
                return found, start or {self._own[0]: {"S": self.partitions[number]}}
            chunk = min(budget, CHUNK if self.where else limit - len(found))
            answer = self._query(self.partitions[number]).page(chunk, start)
            # A look at nothing costs something, too: a year of empty months is no endless loop.
            budget -= max(answer.read, 1)
            room = limit - len(found)
            found += answer.items[:room]
            if len(answer.items) > room:
                return found, self._key_after(found[-1])
            start = answer.last_key
            if start is None:
                number += 1
        return found, None

    @property
    def _own(self) -> tuple[str, str]:
        return (f"{self.index}pk", f"{self.index}sk") if self.index else ("pk", "sk")

    def _query(self, partition: str) -> table.Query:
        return table.Query(
            partition,
            index=self.index,
            low=self.low,
            high=self.high,
            newest_first=self.newest_first,
            where=self.where,
            names=dict(self.names),
            values=dict(self.values),
            table=self.table_name,
        )

    def _key_after(self, raw: table.Raw) -> table.Raw:
        """Where to go on after this very item."""
        return {name: raw[name] for name in dict.fromkeys(("pk", "sk", *self._own))}

    def _resume(self, key: table.Raw | None) -> tuple[int, table.Raw | None]:
        """Which partition a cursor's key is in, and where in it.

        The key comes from outside: whatever this plan cannot have made is refused.
        """
        if key is None:
            return 0, None
        hash_name, range_name = self._own
        partition = key.get(hash_name, {}).get("S")
        if partition not in self.partitions:
            raise _not_ours()
        number = self.partitions.index(partition)
        if set(key) == {hash_name}:
            return number, None
        place = key.get(range_name, {}).get("S", "")
        in_range = (self.low or "") <= place and (self.high is None or place <= self.high)
        whole = set(key) == {"pk", "sk", *self._own} and all(part["S"] for part in key.values())
        if not whole or not in_range:
            raise _not_ours()
        return number, key


def equal(wanted: Mapping[str, str]) -> dict[str, Any]:
    """``where``, ``names`` and ``values`` of a plan that filters by equality."""
    return {
        "where": " AND ".join(f"#{name} = :{name}" for name in wanted),
        "names": {f"#{name}": name for name in wanted},
        "values": {f":{name}": value for name, value in wanted.items()},
    }


def _not_ours() -> BadRequest:
    return BadRequest(
        "The cursor is not one of this list", errors=(FieldError("query.cursor", "not a cursor"),)
    )
