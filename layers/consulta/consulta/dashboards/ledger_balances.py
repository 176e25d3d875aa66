"""GET /v1/ledger/balances: what each kind of account holds, from figures: one batch, no posting."""

from consulta.aggregates import figures
from consulta.aggregates.catalog import BALANCE, BOOK
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.time import from_text, now
from consulta.dashboards.schema_ledger import Balance, Balances, BalancesFilter
from consulta.money.books.ledger import PLATFORM, payee_book
from consulta.people.records import PRACTICE


def of(by: Principal, wanted: BalancesFilter) -> Balances:
    """Of one book, or of the practice's own and the platform's with it."""
    tenant = by.tenant
    books = [wanted.book] if wanted.book else [payee_book(tenant.practice), PLATFORM]
    rows = {book: (BOOK, book, figures.TOTAL) for book in books}
    walk = (PRACTICE, tenant.practice, figures.WALK)
    instant, found = now(), figures.read(tenant, [*rows.values(), walk])
    items = [
        Balance(book=book, account=account, balance=Amount(amount=value, currency=currency))
        for book, row in rows.items()
        for figure, value in sorted(found[row].items())
        for name, account, currency in [_parts(figure)]
        if name == BALANCE and value
    ]
    changed = figures.latest(found[row] for row in rows.values())
    return Balances(
        items=items,
        complete=figures.is_complete(found[walk], BALANCE),
        as_of=instant,
        changed_at=from_text(changed) if changed else None,
    )


def _parts(figure: str) -> tuple[str, str, str]:
    """``balance.commission.EUR`` in its three parts."""
    name, _, rest = figure.partition(".")
    account, _, currency = rest.rpartition(".")
    return name, account, currency
