"""Sessions of Stripe's embedded components, by role (rules §7): one made per call, none kept.

The client secret opens the account's components. It goes to the caller and nowhere else: no log,
no table, no cache. That one was made is in the practice's audit, or it is not given to anybody.
"""

from consulta.core.errors import Conflict, Forbidden, NotFound
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.money.accounts import payees
from consulta.money.accounts.components import Flags, components
from consulta.money.accounts.connect import record_opening, state_of
from consulta.money.accounts.payees import PRACTICE_ALIAS
from consulta.money.records import PayeeItem
from consulta.money.schema.connect import SessionIn, SessionOut
from consulta.money.secrets import stripe_secret
from consulta.money.stripe import accounts as stripe_accounts

_NO_SESSION = "This role gets no session of this account in its present state"
# Whoever may act on payments may answer disputes.
DISPUTES_PERMISSION = "payments:write"
_ROLES = frozenset({Role.OWNER, Role.ADMIN, Role.EXPERT, Role.BILLING, Role.VIEWER})


def create(by: Principal, body: SessionIn) -> SessionOut:
    """A session for what the caller's role may see of the account.

    Raises Forbidden where the table has nothing for the role and state, where an expert asks for
    another's account, and for a component that the role does not get; NotFound where no account is
    connected; Busy where the audit cannot be told.
    """
    if by.role not in _ROLES:
        raise Forbidden(_NO_SESSION)
    payee = _payee(by, body.payee)
    allowed = components(
        by.role,
        state_of(payee),
        payee.controller or {},
        Flags(
            manage_disputes=by.may(DISPUTES_PERMISSION),
            manage_refunds=payee.refund_management,
            on_behalf_of=payee.on_behalf_of,
        ),
    )
    wanted: list[str] = list(body.components or allowed)
    if not allowed or not set(wanted) <= set(allowed):
        raise Forbidden(_NO_SESSION)
    session = stripe_accounts.create_session(
        str(payee.stripe_account), {name: allowed[name] for name in wanted}
    )
    record_opening(by, payee, "account_session", components=" ".join(sorted(wanted)))
    return SessionOut(
        client_secret=session.client_secret,
        expires_at=session.expires_at,
        publishable_key=stripe_secret().publishable_key or None,
        components=sorted(wanted),
    )


def _payee(by: Principal, asked: str | None) -> PayeeItem:
    own = by.expert if by.role is Role.EXPERT else ""
    payee = payees.find(by.tenant, payees.resolve(by, asked or own or PRACTICE_ALIAS))
    if payee is None or not payee.stripe_account:
        # Who would get nothing of any account learns nothing of this one.
        raise NotFound("No account is connected for this payee")
    if not payee.controller:
        raise Conflict("The account has not been read yet")
    return payee
