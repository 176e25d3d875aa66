"""Whom a dashboard is about, and its days and months on the practice's calendar. Pure."""

from calendar import monthrange
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from consulta.core.keys import Tenant
from consulta.core.time import local_day


class Subject(NamedTuple):
    """Whose dashboard it is: figures of (``kind``, ``id``), and the list of their appointments."""

    tenant: Tenant
    kind: str
    id: str
    zone: str
    now: datetime
    sees_patients: bool
    former_zones: tuple[str, ...] = ()

    @property
    def today(self) -> date:
        """The practice's calendar day."""
        return local_day(self.now, self.zone)

    @property
    def monday(self) -> date:
        """The day on which this ISO week began."""
        return self.today - timedelta(days=self.today.weekday())

    def month(self, offset: int = 0) -> date:
        """The first day of this month, or of the one ``offset`` months away."""
        number = self.today.year * 12 + self.today.month - 1 + offset
        return date(number // 12, number % 12 + 1, 1)

    @property
    def last_of_month(self) -> date:
        """The last day of this month."""
        return self.today.replace(day=monthrange(self.today.year, self.today.month)[1])

    def midnight_after(self, day: date) -> datetime:
        """The instant at which ``day`` ends on the practice's clocks."""
        return self._midnights_after(day)[0]

    def over_by(self, day: date) -> datetime:
        """When no item can be stamped with ``day`` any more, in whatever zone the practice was."""
        return max(self._midnights_after(day))

    def begun_by(self, day: date) -> datetime:
        """Before which no item can be stamped with what comes after ``day``, the same way."""
        return min(self._midnights_after(day))

    def _midnights_after(self, day: date) -> list[datetime]:
        zones = (self.zone, *self.former_zones)
        return [datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)) for zone in zones]
