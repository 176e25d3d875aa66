"""Idempotency-Key: the first request's result again, instead of a second one.

    once = Idempotent.of(tenant, caller.person, key, body)
    if once.result:
        return get(caller, once.result)
    table.transact([table.put_new(item), *once.actions(item.item_id)])

A row per caller and key holds the hash of the request and the id of what it made, written in the
same transaction. Two at once with one key: one is written, the other fails on the row's condition
(label ``LABEL``), and :meth:`Idempotent.again` tells what the first has made.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from pydantic import BaseModel

from consulta.core import table
from consulta.core.errors import Invalid
from consulta.core.keys import Key, Tenant
from consulta.core.time import now, to_epoch

LABEL = "idempotency"
# Callers may repeat a request for a day; the second day is for clocks and queues on the way.
LIFETIME = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Idempotent:
    """One request under its key; without a key nothing is remembered."""

    row: Key | None
    digest: str
    result: str = ""

    @classmethod
    def asked(
        cls, tenant: Tenant, person: str, key: str | None, body: BaseModel, about: str = ""
    ) -> Self:
        """Before the row was read: for a use case that reads it together with others."""
        # The model's name tells two resources apart that take the same body.
        text = f"{type(body).__name__}\0{about}\0{body.model_dump_json()}"
        row = tenant.idempotency(person, key) if key else None
        return cls(row, hashlib.sha256(text.encode()).hexdigest())

    @classmethod
    def of(
        cls, tenant: Tenant, person: str, key: str | None, body: BaseModel, about: str = ""
    ) -> Self:
        """With ``result`` set where this request was made before.

        ``about`` is the id in the request's path, if any: of another one, it is another request.
        Raises Invalid where the key was used with another body.
        """
        return cls.asked(tenant, person, key, body, about).again()

    def again(self) -> Self:
        """Read the row. Raises Invalid where the key was used with another body."""
        return self.seen(table.get_raw(self.row)) if self.row else self

    def seen(self, raw: table.Raw | None) -> Self:
        """What the row says, where there is one that still counts."""
        if raw is None:
            return self
        known = table.from_raw(raw)
        # The table's TTL only tidies, days late: what has run out does not count.
        if known["expires_at"] <= to_epoch(now()):
            return self
        if known["digest"] != self.digest:
            raise Invalid.of(
                "header.Idempotency-Key", "This key was used with another request", "reused"
            )
        return replace(self, result=str(known["result"]))

    def actions(self, result_id: str) -> list[table.Action]:
        """Remember ``result_id``, in the transaction that makes it."""
        if self.row is None:
            return []
        instant = now()
        return [
            table.update(
                self.row,
                set_={
                    "entity": "IDEMPOTENCY",
                    "digest": self.digest,
                    "result": result_id,
                    "expires_at": to_epoch(instant + LIFETIME),
                },
                condition="attribute_not_exists(pk) OR expires_at <= :now",
                values={":now": to_epoch(instant)},
                label=LABEL,
            )
        ]
