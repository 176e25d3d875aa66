"""Cancelling a package: what was never used goes back, as the policy of the purchase says.

Within the days in which a patient may withdraw by law it goes back whatever the policy says.
"""

from datetime import datetime

from consulta.core import table
from consulta.core.errors import Conflict, Forbidden
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.permissions import Role
from consulta.core.time import now, to_text
from consulta.money.appointments import package_payments
from consulta.money.paying import effects
from consulta.money.paying.changes import Change, shown_status
from consulta.money.paying.orders import Order
from consulta.money.records import PaymentItem, State
from consulta.scheduling import packages
from consulta.scheduling.records import PackageItem
from consulta.scheduling.schema.packages import PackageDetail, PackageStatus

DEADLINE_S = 12.0
_UNDER_WAY = frozenset({State.OPEN, State.AUTHORIZED})


def cancel(caller: Principal, package_id: str) -> PackageDetail:
    """End a package: its sessions that are booked stay, no other can be.

    P − ⌊P·used/N⌋ of what was paid goes back, or nothing where the policy says so and the right to
    withdraw has ended, or was waived. Members cancel any, patients what is not paid yet, or what
    they may withdraw from. Raises NotFound, Forbidden, Conflict by the state, and ProviderFailed
    where an open payment could not be cancelled: nothing has changed then.
    """
    by = caller.actor
    for _ in table.attempts(DEADLINE_S):
        package, instant = packages.load(caller, package_id), now()
        _check(caller, package, instant)
        made = Order.read(caller.tenant, package.order_id).payments()
        if _stopped(made, by):
            continue
        paid = [payment for payment in made if payment.captured]
        changes = _refunds(package, paid, instant, by)
        values = {
            "status": str(PackageStatus.CANCELLED),
            "cancelled_at": to_text(instant),
            "cancelled_by": "patient" if caller.role is Role.PATIENT else "practice",
            **_shown(package, changes),
        }
        parts = [action for change in changes for action in change.actions()]
        try:
            table.transact([table.change(package, by, set_=values), *parts])
        except table.ConditionFailed:
            continue
        for refund_id in (one for change in changes for one in change.refunds):
            effects.try_send(caller.tenant, refund_id, by)
        return packages.get(caller, package_id)
    raise AssertionError("attempts ends by raising Busy")


def _check(caller: Principal, package: PackageItem, at: datetime) -> None:
    if package.status == PackageStatus.CANCELLED:
        raise Conflict("The package was cancelled already", extra={"package_status": "cancelled"})
    if caller.role is Role.PATIENT:
        withdraws = package_payments.can_withdraw(package, at)
        if package.status != PackageStatus.PENDING and not withdraws:
            raise Forbidden("The practice cancels a package that can be used")
    else:
        caller.require("appointments:confirm")


def _stopped(made: list[PaymentItem], by: Actor) -> bool:
    """Cancel what is open at a provider; whether all has to be read again.

    What is being processed cannot be cancelled: should it succeed, it is given back then.
    """
    found = [payment for payment in made if payment.state in _UNDER_WAY]
    for payment in found:
        effects.stop(payment, by)
    return bool(found)


def _refunds(
    package: PackageItem, paid: list[PaymentItem], at: datetime, by: Actor
) -> list[Change]:
    if package_payments.keeps_unused(package, at):
        return []
    unused = int(package.price) - package_payments.part(package, int(package.used))
    return package_payments.give_back(paid, unused, by)


def _shown(package: PackageItem, changes: list[Change]) -> dict[str, str]:
    """Money that is back at once, by hand, is shown at once."""
    for change in changes:
        if change.payment.item_id == package.payment_id and "refunded" in change.values:
            status = shown_status(change.number("captured"), change.number("refunded"))
            return {"payment_status": str(status)}
    return {}
