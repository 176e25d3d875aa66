"""GET /v1/ledger: postings of a payment, or month by month; the newest first.

Payment and month are read by index, book and account are filtered within a read budget: a page may
be short and still go on (docs/lists.md).
"""

from datetime import timedelta

from consulta.core.cursor import decode, encode
from consulta.core.errors import Invalid
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.listing import Plan
from consulta.core.time import now, utc_months
from consulta.money.records import PAYMENT, POSTING, PostingItem
from consulta.money.schema.ledger import LedgerEntry, LedgerFilter, LedgerPage, LedgerPosting

YEAR = timedelta(days=366)


def page(by: Principal, wanted: LedgerFilter, limit: int, cursor: str | None) -> LedgerPage:
    """One page. Raises Invalid (an account without its book), BadRequest (a foreign cursor)."""
    tenant = by.tenant
    if wanted.account and not wanted.book:
        raise Invalid.of("query.book", "Say in which book the account is", "missing")
    if wanted.payment_id and wanted.month:
        raise Invalid.of("query.month", "Ask for a payment or for a month, not for both", "both")
    scope = (tenant.practice, "/v1/ledger", wanted.model_dump_json())
    raws, last_key = _plan(tenant, wanted).read(limit, decode(cursor, *scope))
    items = [_shown(PostingItem.read(raw)) for raw in raws]
    return LedgerPage(items=items, next_cursor=encode(last_key, *scope))


def _plan(tenant: Tenant, wanted: LedgerFilter) -> Plan:
    if wanted.payment_id:
        index, partitions = "l2", [tenant.listing_by(POSTING, PAYMENT, wanted.payment_id)]
    else:
        latest = now()
        months = [wanted.month] if wanted.month else list(utc_months(latest - YEAR, latest))
        index = "l1"
        partitions = [tenant.listing_by(POSTING, "MONTH", month) for month in reversed(months)]
    if not wanted.book:
        return Plan(index, tuple(partitions), None, None, newest_first=True)
    place = f"{wanted.book}/{wanted.account}" if wanted.account else wanted.book
    return Plan(
        index,
        tuple(partitions),
        None,
        None,
        newest_first=True,
        where="contains(#touched, :place)",
        names={"#touched": "touched"},
        values={":place": place},
    )


def _shown(item: PostingItem) -> LedgerPosting:
    def amount(minor: float) -> Amount:
        return Amount(amount=int(minor), currency=item.currency)

    return LedgerPosting(
        id=item.posting_key,
        event=item.event,
        payment_id=item.payment_id,
        currency=item.currency,
        entries=[
            LedgerEntry(
                book=entry["book"],
                account=entry["account"],
                debit=amount(entry["debit"]),
                credit=amount(entry["credit"]),
            )
            for entry in item.entries
        ],
        occurred_at=item.occurred_at,
    )
