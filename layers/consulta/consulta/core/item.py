"""Stored items: PynamoDB attributes map them; reading and writing is ``table``'s.

PynamoDB's own save, query and transactions are not used: its ``save`` drops attributes that it does
not know, and its transactions send parts in an order of their own, so that reasons do not match.
"""

from datetime import datetime
from typing import Any, NamedTuple, Self

from pynamodb.attributes import Attribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from consulta.core.keys import Key, Tenant, parse_item, tenant_of
from consulta.core.time import from_text, now, to_text


class Actor(NamedTuple):
    """Who changes something: a person's id, ``key:…``, ``webhook:stripe``, ``schedule``, ``sweep``.

    ``origin`` is where a person or key called from, for the audit: address and user agent.
    """

    id: str
    request_id: str
    origin: str = ""


class InstantAttribute(Attribute[datetime]):
    """An aware datetime as RFC 3339 text in UTC, so that text order is time's order."""

    attr_type = "S"

    def serialize(self, value: datetime) -> str:
        """See :func:`consulta.core.time.to_text`."""
        return to_text(value)

    def deserialize(self, value: str) -> datetime:
        """See :func:`consulta.core.time.from_text`."""
        return from_text(value)


class Item(Model):
    """What every stored item has. ``version`` is 1 when made and rises with every write."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    entity = UnicodeAttribute()
    version = NumberAttribute(default=1)
    created_at = InstantAttribute()
    updated_at = InstantAttribute()
    updated_by = UnicodeAttribute()
    request_id = UnicodeAttribute()
    origin = UnicodeAttribute(null=True)

    @property
    def key(self) -> Key:
        """Its key."""
        return Key(self.pk, self.sk)

    @property
    def tenant(self) -> Tenant:
        """The practice that it belongs to."""
        return tenant_of(self.pk)

    @property
    def item_id(self) -> str:
        """Its id, ``appt_01J…``."""
        return parse_item(self.pk)[1]

    @classmethod
    def create(cls, key: Key, entity: str, by: Actor, **attributes: Any) -> Self:
        """A new item in memory, stamped; ``table.put_new`` writes it."""
        instant = now()
        return cls(
            pk=key.pk,
            sk=key.sk,
            entity=entity,
            created_at=instant,
            updated_at=instant,
            updated_by=by.id,
            request_id=by.request_id,
            origin=by.origin or None,
            **attributes,
        )

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """The item of DynamoDB's attribute map."""
        return cls.from_raw_data(raw)


class ListedItem(Item):
    """An item on the list ``l1`` and on the walk of its entity."""

    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()
    walkpk = UnicodeAttribute()
    walksk = UnicodeAttribute()


class TrackedItem(ListedItem):
    """An item that an expert and a patient have lists of, too: ``l2`` and ``l3``."""

    l2pk = UnicodeAttribute()
    l2sk = UnicodeAttribute()
    l3pk = UnicodeAttribute()
    l3sk = UnicodeAttribute()
