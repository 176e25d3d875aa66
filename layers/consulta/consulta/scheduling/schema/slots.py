"""Free times."""

from datetime import datetime

from consulta.core.http import ApiModel, Id
from consulta.scheduling.schema.availability import LocalDate
from consulta.scheduling.schema.fields import AppliedTax, Price
from consulta.scheduling.slots import DayReason


class Slot(ApiModel):
    """A free time, on the clocks of the zone that was asked for.

    ``expert_ids``, where any expert was asked for: all who are free then. ``seats_left`` of a group
    appointment, with the expert who has most.
    """

    start: datetime
    end: datetime
    expert_id: Id | None = None
    expert_ids: list[Id] | None = None
    seats_left: int | None = None


class UnavailableDay(ApiModel):
    """A local date without a free time, and why.

    ``message`` is a vacation's, or the name of the closure or holiday.
    """

    date: LocalDate
    reason: DayReason
    message: str | None = None


class Slots(ApiModel):
    """The free times for one service, in order, of one expert or of any.

    ``until`` where there were too many for one answer: ask again from there. ``days`` where they
    were asked for: those without a free time. ``price`` is all that is owed for one of them (of a
    package, for all its sessions), ``tax`` a part of it, and ``deposit`` what of it has to be paid
    to have the time.
    """

    zone: str
    service_id: Id
    expert_id: Id | None
    price: Price
    tax: AppliedTax | None
    deposit: Price | None
    slots: list[Slot]
    until: datetime | None = None
    days: list[UnavailableDay] | None = None
