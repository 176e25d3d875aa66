"""GET /v1/payouts/balance: what of a payee's money is where, as the ledger has it."""

from consulta.aggregates import figures
from consulta.aggregates.catalog import BALANCE, BOOK
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.time import from_text
from consulta.money.accounts import payouts
from consulta.money.books import ledger
from consulta.money.schema.payouts import CurrencyBalance, PayeeBalance
from consulta.people.records import PRACTICE

# The ledger's accounts by what the API calls them.
_SHOWN = {
    "unsettled": ledger.UNSETTLED,
    "pending": ledger.PENDING,
    "available": ledger.AVAILABLE,
    "in_transit": ledger.TRANSIT,
    "paid_out": ledger.BANK,
}


def balance(by: Principal, payee: str | None) -> PayeeBalance:
    """A payee's balances: two rows, whatever the history. Raises Forbidden, NotFound."""
    tenant = by.tenant
    payee_id = payouts.payee_of(by, payee) or tenant.practice
    key = (BOOK, ledger.payee_book(payee_id), figures.TOTAL)
    walk = (PRACTICE, tenant.practice, figures.WALK)
    found = figures.read(tenant, [key, walk])
    row = found[key]
    names = {f"{BALANCE}.{account}" for account in _SHOWN.values()}
    currencies = {name.rpartition(".")[2] for name in row if name.rpartition(".")[0] in names}
    return PayeeBalance(
        payee=payee_id,
        balances=[_of_currency(row, currency) for currency in sorted(currencies)],
        complete=figures.is_complete(found[walk], BALANCE),
        as_of=from_text(row.updated_at) if row.updated_at else None,
    )


def _of_currency(row: figures.Figures, currency: str) -> CurrencyBalance:
    amounts = {
        shown: Amount(amount=row[f"{BALANCE}.{account}.{currency}"], currency=currency)
        for shown, account in _SHOWN.items()
    }
    return CurrencyBalance(currency=currency, **amounts)
