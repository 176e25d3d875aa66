"""Who is paid for an appointment, as far as booking and moving it depend on that.

Payees and payments are money's, which imports this package: they are read here as plain rows.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.keys import Key, Tenant
from consulta.core.time import from_text
from consulta.scheduling.records import AppointmentItem, PaymentStatus

PAYEE, PAYMENT = "PAYEE", "PAYMENT"
# Which account of a payee a provider pays; by hand it is whoever has any.
_ACCOUNTS = {"stripe": ("stripe_account",), "mercadopago": ("mercadopago_user",)}
_ANY_ACCOUNT = ("stripe_account", "mercadopago_user")
# Money of it is with a payee, or about to be.
_WITH_PAYEE = frozenset(
    {
        PaymentStatus.PROCESSING,
        PaymentStatus.DEPOSIT_PAID,
        PaymentStatus.PAID,
        PaymentStatus.PARTIALLY_REFUNDED,
    }
)

Found = dict[Key, table.Raw]


def payee_keys(tenant: Tenant, expert_id: str) -> list[Key]:
    """The expert as a payee, and the practice: the first with an account is paid."""
    return [tenant.item(PAYEE, payee_id) for payee_id in (expert_id, tenant.practice)]


def captures_later(tenant: Tenant, expert_id: str, found: Found) -> bool:
    """Whether a payment to this expert can be authorized first: only Stripe's accounts do that."""
    for key in payee_keys(tenant, expert_id):
        payee = _row(found, key)
        if payee.get("stripe_account"):
            return bool(payee.get("charges_enabled"))
    return False


def move_keys(appointment: AppointmentItem, expert_id: str) -> list[Key]:
    """What has to be read before an appointment with money in it is moved to this expert."""
    if appointment.payment_status not in _WITH_PAYEE or not appointment.payment_id:
        return []
    return [_payment_key(appointment), *payee_keys(appointment.tenant, expert_id)]


def check_payee(appointment: AppointmentItem, expert_id: str, found: Found) -> None:
    """Raises Conflict where the money is with one payee, and another would be paid from now on.

    A payment stays with its payee: it would have to be given back and made again.
    """
    if expert_id == appointment.expert_id or not move_keys(appointment, expert_id):
        return
    payment = _row(found, _payment_key(appointment))
    provider = str(payment.get("provider"))
    if payee_of(appointment.tenant, expert_id, provider, found) != payment.get("payee_id"):
        raise Conflict(
            "What was paid is with another payee: give it back, or stay with the expert",
            extra={"code": "other_payee", "payment_status": str(appointment.payment_status)},
        )


def payee_of(tenant: Tenant, expert_id: str, provider: str, found: Found) -> str:
    """Who is paid for this expert, out of a batch that holds :func:`payee_keys`."""
    own, _ = payee_keys(tenant, expert_id)
    accounts: Iterable[str] = _ACCOUNTS.get(provider, _ANY_ACCOUNT)
    is_own = any(_row(found, own).get(account) for account in accounts)
    return expert_id if is_own else tenant.practice


def capture_before(appointment: AppointmentItem, found: Found) -> datetime | None:
    """Until when what is authorized for it can be captured; None where nothing is."""
    if not appointment.payment_id:
        return None
    ends = _row(found, _payment_key(appointment)).get("capture_before")
    return from_text(ends) if ends else None


def _payment_key(appointment: AppointmentItem) -> Key:
    return appointment.tenant.item(PAYMENT, str(appointment.payment_id))


def _row(found: Found, key: Key) -> dict[str, Any]:
    return table.from_raw(found.get(key, {}))
