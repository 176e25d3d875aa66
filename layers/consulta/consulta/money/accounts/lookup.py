"""Connected accounts by the email that Stripe knows their owner by, for operators.

A row per account under the digest of its email, written in the transaction that has read it, so
that nothing is searched. Several practices' accounts may have the same owner.
"""

import hashlib

from consulta.core import keys, table, trail
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.money.records import PAYEE, PayeeItem
from consulta.money.schema.connect import AccountFound, AccountMatches, AccountSearch

MOST = 50
_DIGITS = 32


def digest_of(email: str) -> str:
    """Of an address as people may write it; the address cannot be read from it."""
    return hashlib.sha256(email.strip().casefold().encode()).hexdigest()[:_DIGITS]


def remember(
    payee: PayeeItem, account: str, email: str
) -> tuple[dict[str, str], list[table.Action]]:
    """What to set on the payee, and the rows to write with it; nothing where it is known."""
    digest = digest_of(email) if email else ""
    if not digest or digest == payee.email_digest:
        return {}, []
    row = table.update(
        keys.account_email(digest, account),
        set_={
            "entity": "ACCOUNT_EMAIL",
            "practice": payee.tenant.practice,
            "payee": payee.item_id,
        },
    )
    return {"email_digest": digest}, [*forget(payee, account), row]


def forget(payee: PayeeItem, account: str) -> list[table.Action]:
    """Remove the account's row, if it has one."""
    if not payee.email_digest:
        return []
    return [table.delete(keys.account_email(payee.email_digest, account))]


def search(by: Principal, body: AccountSearch) -> AccountMatches:
    """The accounts of one email, in all practices; each one's practice is told by its audit.

    Raises Busy where that cannot be recorded.
    """
    partition = keys.account_email(digest_of(body.email), "*").pk
    rows = {raw["sk"]["S"]: raw for raw in table.Query(partition).page(MOST).items}
    owners = {
        account: Tenant(raw["practice"]["S"]).item(PAYEE, raw["payee"]["S"])
        for account, raw in rows.items()
    }
    raws = table.batch_get_raw(list(owners.values()))
    found = []
    for account, key in owners.items():
        payee = PayeeItem.read(raws[key]) if key in raws else None
        if payee is None or payee.stripe_account != account:
            continue
        _record(by, payee)
        found.append(
            AccountFound(
                practice=payee.tenant.practice,
                payee=payee.item_id,
                stripe_account=account,
                details_submitted=payee.details_submitted,
                charges_enabled=payee.charges_enabled,
                payouts_enabled=payee.payouts_enabled,
                requirements_due=payee.requirements_due,
            )
        )
    return AccountMatches(items=found)


def _record(by: Principal, payee: PayeeItem) -> None:
    practice = payee.tenant.practice
    trail.insist("The lookup", "account_found", practice, by.actor, payee=payee.item_id)
