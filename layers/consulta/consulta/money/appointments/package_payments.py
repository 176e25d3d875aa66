"""What money does to a package, and what a session's end does to the package's money.

Source: MONEY_AND_BOOKING_RULES §2 and §9. Session k of N earns ⌊P·k/N⌋ − ⌊P·(k−1)/N⌋ of the price P
when it is over, whether or not it is paid by then; what was never used goes back by the policy.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from consulta.core import table
from consulta.core.errors import Conflict
from consulta.core.item import Actor
from consulta.core.time import now, to_text
from consulta.money.appointments.policy import Preview
from consulta.money.paying import returning
from consulta.money.paying.changes import Change
from consulta.money.paying.orders import Order
from consulta.money.paying.parts import UNPAID
from consulta.money.records import PaymentItem, Provider
from consulta.scheduling import package_sessions, packages, terms
from consulta.scheduling.records import AppointmentItem, PackageItem
from consulta.scheduling.schema.packages import PackageStatus

CANCELLED = "package_cancelled"


def part(package: PackageItem, sessions: int) -> int:
    """What so many of its sessions cost, the first ones: minor units of its currency."""
    return int(package.price) * sessions // int(package.sessions)


def pay_for(change: Change, package: PackageItem, shown: Mapping[str, str]) -> list[table.Action]:
    """A payment has succeeded: the package can be used from now on.

    Sessions that are over already, of one that a member had confirmed, are earned at once. Raises
    Conflict where it is paid already, or was cancelled.
    """
    if package.payment_status not in UNPAID:
        raise Conflict("The package is paid already")
    if package.status == PackageStatus.CANCELLED:
        raise Conflict("The package was cancelled")
    values: dict[str, object] = dict(shown)
    if package.status == PackageStatus.PENDING:
        made = packages.activation(package, now())
        values |= {"status": made["status"], "valid_until": to_text(made["valid_until"])}
    change.earn(part(package, int(package.settled)))
    return [table.change(package, change.by, set_=values)]


def payments_of(package: PackageItem) -> list[PaymentItem]:
    """What was really paid for it."""
    order = Order.read(package.tenant, package.order_id)
    return [payment for payment in order.payments() if payment.captured]


def session_over(
    appointment: AppointmentItem, by: Actor
) -> tuple[list[table.Action], list[Change]]:
    """A session took place, or was forfeited: its part of the price is earned.

    Empty for appointments without a package. The changes are part of the same transaction, and it
    holds for the package as it was read.
    """
    package = _package(appointment)
    if package is None:
        return [], []
    over = int(package.settled) + 1
    amount = part(package, over) - part(package, over - 1)
    changes = []
    for payment in payments_of(package):
        change, before = Change(payment, by), int(payment.earned)
        change.earn(amount)
        amount -= change.number("earned") - before
        changes.append(change)
    return [table.change(package, by, set_={"settled": over})], changes


def session_returned(
    appointment: AppointmentItem, by: Actor
) -> tuple[list[table.Action], list[Change]]:
    """A session is given back. Where its package was cancelled meanwhile, so is its price.

    Empty for appointments without a package.
    """
    package = _package(appointment)
    if package is None:
        return [], []
    parts = [
        package_sessions.returned(appointment, package.status, now(), by),
        package_sessions.session_returned(appointment),
    ]
    worth = _worth(package)
    return parts, give_back(payments_of(package), worth, by) if worth else []


def can_withdraw(package: PackageItem, at: datetime) -> bool:
    """Whether the patient may withdraw from the purchase by law at that moment."""
    return terms.is_within(terms.withdraw_until(package.policy, package.created_at), at)


def keeps_unused(package: PackageItem, at: datetime) -> bool:
    """Whether the price of what is not used stays with the practice, if it is cancelled then."""
    return package.policy["package"]["unused"] == "none" and not can_withdraw(package, at)


def _worth(package: PackageItem) -> int:
    """What goes back with a session: its price, where the package was cancelled meanwhile."""
    ended = package.cancelled_at
    if package.status != PackageStatus.CANCELLED or ended is None or keeps_unused(package, ended):
        return 0
    used = int(package.used)
    return part(package, used) - part(package, used - 1)


def preview(shown: Preview, appointment: AppointmentItem, party: str) -> Preview:
    """What cancelling means for the session of a package, besides what ``shown`` says."""
    package = _package(appointment)
    if package is None:
        return shown
    is_returned = package_sessions.is_returned(appointment, party, now())
    worth = returning.movable(payments_of(package), _worth(package))
    return replace(
        shown,
        session="returned" if is_returned else "forfeited",
        paid=shown.paid + worth,
        kept=shown.kept + (0 if is_returned else worth),
        refund=shown.refund + (worth if is_returned else 0),
    )


def session_ended(
    appointment: AppointmentItem, party: str, by: Actor
) -> tuple[list[table.Action], list[Change]]:
    """An appointment of a package was cancelled: its session goes back, or is forfeited."""
    if package_sessions.is_returned(appointment, party, now()):
        return session_returned(appointment, by)
    return session_over(appointment, by)


def give_back(paid: list[PaymentItem], refund: int, by: Actor) -> list[Change]:
    """Ask ``refund`` back of the payments, the newest first, as far as it is still there."""
    changes = []
    amounts = returning.amounts(paid, refund)
    for payment, amount in zip(reversed(paid), reversed(amounts), strict=True):
        change = Change(payment, by)
        if amount > 0:
            if payment.provider == Provider.MANUAL:
                change.give_back_by_hand(amount, CANCELLED)
            else:
                change.request_refund(amount, CANCELLED)
            changes.append(change)
    return changes


def _package(appointment: AppointmentItem) -> PackageItem | None:
    if not appointment.package_id:
        return None
    return table.get(PackageItem, package_sessions.key(appointment.tenant, appointment.package_id))
