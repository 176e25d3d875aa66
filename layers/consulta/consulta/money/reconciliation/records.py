"""Stored items of reconciliation: a run per UTC day, and the differences that runs have seen."""

from pynamodb.attributes import JSONAttribute, NumberAttribute, UnicodeAttribute

from consulta.core import ids
from consulta.core.item import InstantAttribute, Item
from consulta.core.keys import Key, Tenant

RECONCILIATION, DIFFERENCE = "RECONCILIATION", "RECONCILIATION_DIFFERENCE"
ASKED, RUNNING, FINISHED = "asked", "running", "finished"


class OutOfTime(Exception):
    """The invocation ends before an account has been read: the next one goes on with it."""


class RunItem(Item):
    """What the run of one UTC day came to; its id is the day, ``yyyy-mm-dd``.

    The platform's own (tenant ``PLAT``) is the run: all counts together, and its place while it is
    under way; a practice's is its part. ``counts`` has the differences per class as the run left
    them, ``accounts`` and ``transactions`` how much was compared. ``balances``: [{"account",
    "currency", "provider", "ledger", "explained", "unsettled"}, …], minor units, ``provider`` null
    where it is not told. ``failures``: [{"account", "why"}, …], of the run the first
    500. ``after`` is the last practice that is done, in a practice's part that is under way its
    last account; ``held_until`` until when nobody else goes on with it. Listed on l1 by day.
    """

    state = UnicodeAttribute()
    started_at = InstantAttribute(null=True)
    finished_at = InstantAttribute(null=True)
    counts = JSONAttribute(default=dict)
    accounts = NumberAttribute(default=0)
    transactions = NumberAttribute(default=0)
    balances = JSONAttribute(default=list)
    failures = JSONAttribute(default=list)
    after = JSONAttribute(null=True)
    held_until = InstantAttribute(null=True)
    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()


class DifferenceItem(Item):
    """One difference; the same one in a later run is the same item.

    ``kind`` is its class, ``cause`` a code of :class:`matching.Cause`. ``scope`` is the look that
    finds it, ``account`` the balance, ``key`` the posting's. ``expected`` is the ledger's amount,
    ``found`` the provider's, ``net`` the difference it makes to the balance, in minor units of
    ``currency``. ``at`` is when it moved. ``first_day`` and ``last_day`` are the runs' days that
    saw it. Lists: l1 the practice's, l2 everybody's, both by ``first_seen``; l3 the scope's open
    ones.
    """

    kind = UnicodeAttribute()
    cause = UnicodeAttribute()
    state = UnicodeAttribute()
    provider = UnicodeAttribute()
    scope = UnicodeAttribute()
    account = UnicodeAttribute()
    posting_key = UnicodeAttribute()
    provider_id = UnicodeAttribute(null=True)
    payment_id = UnicodeAttribute(null=True)
    currency = UnicodeAttribute()
    expected = NumberAttribute()
    found = NumberAttribute()
    net = NumberAttribute()
    at = InstantAttribute(null=True)
    first_seen = InstantAttribute()
    last_seen = InstantAttribute()
    resolved_at = InstantAttribute(null=True)
    first_day = UnicodeAttribute()
    last_day = UnicodeAttribute()
    l1pk = UnicodeAttribute()
    l1sk = UnicodeAttribute()
    l2pk = UnicodeAttribute()
    l2sk = UnicodeAttribute()
    l3pk = UnicodeAttribute(null=True)
    l3sk = UnicodeAttribute(null=True)


def run_key(tenant: Tenant, day: str) -> Key:
    """The run of a day, or a practice's part of it."""
    return tenant.item(RECONCILIATION, day)


def difference_id(scope: str, account: str, key: str, currency: str) -> str:
    """The same for the same difference, on whatever day it is seen."""
    return ids.derived("diff", "\0".join((scope, account, key, currency)))
