"""A payee's connection to Mercado Pago: the seller consents, we keep the tokens.

Tokens never leave: what is shown is whose they are and until when they are good.
"""

from consulta.core import keys, table
from consulta.core.errors import Busy, Conflict, NotFound
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.money.accounts import payees
from consulta.money.accounts.payees import Owner
from consulta.money.mercadopago import tokens as mercadopago_tokens
from consulta.money.mercadopago.tokens import Tokens, TokensItem
from consulta.money.records import PayeeItem, Provider
from consulta.money.schema.connect import ConnectionIn, ConnectionOut


def connect(by: Principal, body: ConnectionIn) -> ConnectionOut:
    """Exchange the consent's code for the seller's tokens and keep them.

    Connecting the same seller again renews the tokens. Raises Conflict where the seller is
    connected to another payee, or the payee to another seller; ProviderFailed where Mercado Pago
    does not take the code.
    """
    tenant, payee_id = by.tenant, payees.resolve(by, body.payee)
    payees.ensure(tenant, payee_id, by.actor)
    tokens = mercadopago_tokens.exchange(body.code, body.redirect_uri)
    # The code is spent: from here on a lost race is tried again, not reported.
    for _ in table.attempts(payees.DEADLINE_S):
        payee = payees.ensure(tenant, payee_id, by.actor)
        if payee.mercadopago_user not in (None, tokens.user_id):
            raise Conflict("The payee is connected to another seller: disconnect that first")
        try:
            table.transact(_writes(tenant, payee, tokens, by.actor))
        except table.ConditionFailed as failed:
            if failed.label == "account":
                raise Conflict("The seller is connected to another payee") from None
            continue
        break
    payees.update_readiness(tenant, payee_id, by.actor)
    return get(by, payee_id)


def _writes(tenant: Tenant, payee: PayeeItem, tokens: Tokens, by: Actor) -> list[table.Action]:
    stored = mercadopago_tokens.find(tenant, payee.item_id)
    if stored:
        return [mercadopago_tokens.replaced(stored, tokens, by)]
    owner = Owner(tenant.practice, payee.item_id)
    return [
        payees.account_row(Provider.MERCADOPAGO, tokens.user_id, owner),
        table.put_new(mercadopago_tokens.new_item(tenant, payee.item_id, tokens, by)),
        table.change(payee, by, set_={"mercadopago_user": tokens.user_id}),
    ]


def get(by: Principal, payee: str) -> ConnectionOut:
    """The connection's state. Raises NotFound where there is none."""
    payee_id = payees.resolve(by, payee)
    return _out(payee_id, _stored(by.tenant, payee_id))


def disconnect(by: Principal, payee: str) -> None:
    """Forget the seller's tokens. Raises NotFound where there is no connection."""
    payee_id = payees.resolve(by, payee)
    _stored(by.tenant, payee_id)
    forget(by.tenant.practice, payee_id, by.actor)


def forget(practice: str, payee_id: str, by: Actor) -> None:
    """Forget the seller's tokens, as ``mp-connect`` asks when the seller withdraws the consent.

    Does nothing where there is no connection.
    """
    tenant = Tenant(practice)
    for _ in table.attempts(payees.DEADLINE_S):
        payee = payees.find(tenant, payee_id)
        if payee is None or not payee.mercadopago_user:
            return
        try:
            table.transact(
                [
                    table.change(payee, by, remove=["mercadopago_user"]),
                    table.delete(mercadopago_tokens.key_of(tenant, payee_id)),
                    table.delete(
                        keys.provider_account(Provider.MERCADOPAGO, str(payee.mercadopago_user))
                    ),
                ]
            )
        except table.ConditionFailed:
            continue
        payees.update_readiness(tenant, payee_id, by)
        return
    raise Busy


def _stored(tenant: Tenant, payee_id: str) -> TokensItem:
    found = mercadopago_tokens.find(tenant, payee_id)
    if found is None:
        raise NotFound("Mercado Pago is not connected for this payee")
    return found


def _out(payee_id: str, stored: TokensItem) -> ConnectionOut:
    return ConnectionOut(
        payee=payee_id,
        user_id=stored.user_id,
        live=stored.live,
        token_expires_at=stored.token_expires_at,
        connected_at=stored.created_at,
        version=int(stored.version),
    )
