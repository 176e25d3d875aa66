"""Payees: who is paid, through which accounts, and which experts can be paid at all.

A payee is the practice (its id is the practice's) or an expert who is paid directly (the expert's
id). An expert with no account of their own is paid through the practice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from consulta.core import keys, table
from consulta.core.errors import Forbidden, NotFound
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.money.records import PAYEE, PayeeItem, Provider
from consulta.people.records import EXPERT, ExpertItem

PRACTICE_ALIAS = "practice"
DEADLINE_S = 4.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a provider's account is."""

    practice: str
    payee: str


def resolve(by: Principal, payee: str) -> str:
    """The payee's id for ``practice`` or an expert's id.

    Raises Forbidden where an expert asks for another payee than themselves, NotFound for an expert
    that the practice does not have.
    """
    tenant = by.tenant
    payee_id = tenant.practice if payee == PRACTICE_ALIAS else payee
    if by.role is Role.EXPERT and payee_id != by.expert:
        raise Forbidden("An expert acts on their own account only")
    if payee_id != tenant.practice and table.get_raw(tenant.item(EXPERT, payee_id)) is None:
        raise NotFound
    return payee_id


def find(tenant: Tenant, payee_id: str) -> PayeeItem | None:
    """The payee, or None where nothing was connected yet."""
    return table.get(PayeeItem, tenant.item(PAYEE, payee_id))


def ensure(tenant: Tenant, payee_id: str, by: Actor) -> PayeeItem:
    """The payee, made where it is not there yet."""
    made = PayeeItem.create(
        tenant.item(PAYEE, payee_id),
        PAYEE,
        by,
        owner="practice" if payee_id == tenant.practice else "expert",
        walkpk=tenant.listing(PAYEE),
        walksk=payee_id,
    )
    try:
        table.transact([table.put_new(made)])
    except table.ConditionFailed as taken:
        # The item as it is comes with the failure.
        return PayeeItem.read(taken.old) if taken.old else ensure(tenant, payee_id, by)
    return made


def has_account(payee: PayeeItem | None) -> bool:
    """Whether any provider's account is connected."""
    return payee is not None and bool(payee.stripe_account or payee.mercadopago_user)


def is_ready(payee: PayeeItem | None) -> bool:
    """Whether it can be paid now, through one provider at least."""
    return payee is not None and bool(payee.charges_enabled or payee.mercadopago_user)


def payee_for(tenant: Tenant, expert_id: str) -> PayeeItem | None:
    """Who is paid for an expert's work: the expert with an account of their own, or the practice.

    None where neither has ever connected anything.
    """
    own_key, practice_key = (
        tenant.item(PAYEE, payee_id) for payee_id in (expert_id, tenant.practice)
    )
    found = table.batch_get_raw([own_key, practice_key])
    own = PayeeItem.read(found[own_key]) if own_key in found else None
    if has_account(own):
        return own
    return PayeeItem.read(found[practice_key]) if practice_key in found else None


def account_row(provider: str, account: str, owner: Owner) -> table.Action:
    """The lookup from a provider's account to its owner; no account has two.

    The row is in the list of all accounts, too: whoever asks the providers for all of them
    (:mod:`consulta.money.webhooks.missed`) need not visit practices that have none.
    """
    values = {"practice": owner.practice, "payee": owner.payee}
    return table.put_values(
        keys.provider_account(provider, account),
        values | _listing(provider, account, owner),
        label="account",
    )


def _listing(provider: str, account: str, owner: Owner) -> dict[str, str]:
    place = f"{owner.practice}#{provider}#{account}"
    return {"l1pk": keys.provider_accounts(), "l1sk": place}


@dataclass(frozen=True, slots=True)
class Account:
    """One account at a provider, with its place in the list of all."""

    provider: str
    account: str
    owner: Owner
    place: str


def accounts(after: str = "", page_size: int = 100) -> Iterator[Account]:
    """All accounts at the providers behind a place, those of one practice together."""
    query = table.Query(keys.provider_accounts(), index="l1", low=after or None)
    for raw in query.all(page_size):
        place = raw["l1sk"]["S"]
        if place != after:
            owner = Owner(raw["practice"]["S"], raw["payee"]["S"])
            _, provider, account = place.split("#", 2)
            yield Account(provider, account, owner, place)


def list_accounts(practice: str) -> int:
    """Put a practice's accounts into the list of all, where they are not; how many were missing.

    For accounts that were connected before there was a list.
    """
    tenant, listed = Tenant(practice), 0
    for raw in table.Query(tenant.listing(PAYEE), index="walk").all():
        payee = find(tenant, raw["walksk"]["S"])
        if payee is None:
            continue
        connected = {
            Provider.STRIPE: payee.stripe_account,
            Provider.MERCADOPAGO: payee.mercadopago_user,
        }
        for provider, account in connected.items():
            if account:
                owner = Owner(practice, payee.item_id)
                listed += _list(str(provider), str(account), owner)
    return listed


def _list(provider: str, account: str, owner: Owner) -> bool:
    """False where it is listed, and where it was disconnected meanwhile."""
    action = table.update(
        keys.provider_account(provider, account),
        set_=_listing(provider, account, owner),
        condition="attribute_exists(pk) AND attribute_not_exists(l1pk)",
    )
    return table.written([action])


def owner_of(provider: str, account: str) -> Owner | None:
    """Whose account it is: how a webhook finds the practice. None for one not ours, and for ""."""
    raw = table.get_raw(keys.provider_account(provider, account)) if account else None
    if raw is None:
        return None
    return Owner(raw["practice"]["S"], raw["payee"]["S"])


def update_readiness(tenant: Tenant, payee_id: str, by: Actor) -> None:
    """Bring ``payments_ready`` of the experts whom this payee concerns to what it is now.

    Of the practice's account these are all without one of their own. Compares and writes only what
    differs, so that running it again after a crash finishes the work.
    """
    if payee_id == tenant.practice:
        query = table.Query(tenant.listing(EXPERT), index="l1")
        experts = [ExpertItem.read(raw).item_id for raw in query.all()]
    else:
        experts = [payee_id]
    for expert_id in experts:
        _update_expert(tenant, expert_id, by)


def newcomer(practice: str, expert_id: str | None, request_id: str, origin: str) -> None:
    """Whoever came in by an invitation: as an expert they may be payable from the first moment.

    The practice's account may be ready already, of which ``people`` knows nothing.
    """
    if expert_id:
        by = Actor("invitation", request_id, origin)
        update_readiness(Tenant(practice), expert_id, by)


def _update_expert(tenant: Tenant, expert_id: str, by: Actor) -> None:
    for _ in table.attempts(DEADLINE_S):
        ready = is_ready(payee_for(tenant, expert_id))
        expert = table.get(ExpertItem, tenant.item(EXPERT, expert_id))
        if expert is None or bool(expert.payments_ready) == ready:
            return
        try:
            table.transact([table.change(expert, by, set_={"payments_ready": ready})])
        except table.ConditionFailed:
            continue
        return
