"""A hold that has ended, as the sweep's work."""

from collections.abc import Callable, Sequence

from consulta.core import table
from consulta.core.item import Actor
from consulta.core.keys import Key
from consulta.core.time import now
from consulta.scheduling import transitions
from consulta.scheduling.records import AppointmentItem, Status
from consulta.scheduling.sweep import Worker

# Ends one hold; False where it did not, because of a payment that may still succeed.
Expire = Callable[[AppointmentItem, Actor], bool]


def expire(appointment: AppointmentItem, by: Actor, *, also: Sequence[table.Action] = ()) -> bool:
    """Held → expired where nobody is paying, with the parts ``also`` in the same transaction.

    False where somebody else changed it meanwhile.
    """
    try:
        table.transact([*transitions.expire_actions(appointment, by), *also])
    except table.ConditionFailed:
        return False
    return True


def worker(end_hold: Expire, by: Actor) -> Worker:
    """The sweep's work on due holds, ending each by ``end_hold``."""

    def work(key: Key) -> bool:
        appointment = table.get(AppointmentItem, key)
        if appointment is None or appointment.status != Status.HELD:
            return True
        if transitions.hold_alive(appointment, now()):
            # It was extended, and the extension wrote a due row of its own.
            return True
        return end_hold(appointment, by)

    return work
