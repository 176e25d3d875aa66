"""Free times."""

from datetime import datetime

from consulta.core.http import ApiModel, Id


class Slot(ApiModel):
    """A free time, on the clocks of the zone that was asked for."""

    start: datetime
    end: datetime


class Slots(ApiModel):
    """The free times of one expert for one service, in order."""

    zone: str
    service_id: Id
    expert_id: Id
    slots: list[Slot]
