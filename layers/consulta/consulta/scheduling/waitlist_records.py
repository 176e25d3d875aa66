"""Stored items of the waitlist: an entry, and under each patient which of theirs are live."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from pynamodb.attributes import ListAttribute, NumberAttribute, UnicodeAttribute

from consulta.core import table
from consulta.core.item import Actor, InstantAttribute, ListedItem
from consulta.core.keys import Key, Tenant
from consulta.core.time import in_zone, to_epoch, to_text
from consulta.people.records import PATIENT
from consulta.scheduling import slots
from consulta.scheduling.busy import Row, take_out
from consulta.scheduling.records import WAITLIST

LIVE = "waitlist of a patient"


class WaitlistStatus(StrEnum):
    """``waiting`` and ``offered`` are live."""

    WAITING = "waiting"
    OFFERED = "offered"
    BOOKED = "booked"
    EXPIRED = "expired"
    LEFT = "left"


class WaitlistItem(ListedItem):
    """Somebody who would like a time of a service, with one expert or any ("").

    ``first`` to ``last`` are dates on the clocks of ``zone``, both included; ``days`` are weekdays
    (0 is Monday), none is any; ``time_from`` and ``time_to`` are wall times that the appointment
    lies between. ``passed`` are the times (``<expert>|<start>``) that were offered in vain,
    ``ignored`` counts those that nobody answered. ``appointment_id`` is the last offer,
    ``accepted_id`` the last whose hold was lengthened to be paid. Lists, in order of joining: l1
    the service's live ones, l2 the expert's live ones, l3 all of the patient.
    """

    service_id = UnicodeAttribute()
    expert_id = UnicodeAttribute(default="")
    patient_id = UnicodeAttribute()
    zone = UnicodeAttribute()
    first = UnicodeAttribute()
    last = UnicodeAttribute()
    days: ListAttribute[Any] = ListAttribute(default=list)
    time_from = UnicodeAttribute(null=True)
    time_to = UnicodeAttribute(null=True)
    status = UnicodeAttribute()
    passed: ListAttribute[Any] = ListAttribute(default=list)
    ignored = NumberAttribute(default=0)
    appointment_id = UnicodeAttribute(null=True)
    offer_until = InstantAttribute(null=True)
    accepted_id = UnicodeAttribute(null=True)
    l2pk = UnicodeAttribute(null=True)
    l2sk = UnicodeAttribute(null=True)
    l3pk = UnicodeAttribute()
    l3sk = UnicodeAttribute()

    @property
    def ends(self) -> int:
        """The end of its last day."""
        return slots.midnight(date.fromisoformat(self.last) + timedelta(days=1), self.zone)

    def is_over(self, instant: datetime) -> bool:
        """Whether no time of its range is left."""
        return self.ends <= to_epoch(instant)

    def fits(self, start: datetime, end: datetime) -> bool:
        """Whether an appointment then is one that is waited for."""
        begins, ends = in_zone(start, self.zone), in_zone(end, self.zone)
        day = begins.date()
        if not date.fromisoformat(self.first) <= day <= date.fromisoformat(self.last):
            return False
        if self.days and day.weekday() not in {int(number) for number in self.days}:
            return False
        if self.time_from is None or self.time_to is None:
            return True
        opens = datetime.combine(day, time.fromisoformat(self.time_from), ZoneInfo(self.zone))
        closes = datetime.combine(day, time.fromisoformat(self.time_to), ZoneInfo(self.zone))
        return opens <= begins and ends <= closes


def live_key(tenant: Tenant, patient_id: str) -> Key:
    """Where a patient's live entries are."""
    return tenant.sub(PATIENT, patient_id, WAITLIST)


def live_row(tenant: Tenant, patient_id: str) -> Row:
    """A patient's live entries: id → ``<service>|<expert>|<end of its range>``."""
    key = live_key(tenant, patient_id)
    return Row.read(key, LIVE, table.get_raw(key))


def changed(
    entry: WaitlistItem, by: Actor, status: WaitlistStatus, values: Mapping[str, Any] | None = None
) -> list[table.Action]:
    """What writes its next state; with one that is not live, it leaves the lists of live ones."""
    set_ = {**(values or {}), "status": str(status)}
    if status in (WaitlistStatus.WAITING, WaitlistStatus.OFFERED):
        return [table.change(entry, by, set_=set_)]
    set_["l1pk"] = entry.tenant.listing_by(WAITLIST, "ENDED", entry.service_id)
    return [
        table.change(entry, by, set_=set_, remove=["l2pk", "l2sk"]),
        take_out(live_key(entry.tenant, entry.patient_id), LIVE, entry.item_id),
    ]


def slot(expert_id: str, start: int) -> str:
    """A time of an expert as ``passed`` has it."""
    return f"{expert_id}|{start}"


def places(
    tenant: Tenant, entry_id: str, service: str, expert: str, patient: str, at: datetime
) -> dict[str, str]:
    """A new entry's places in the lists."""
    place = f"{to_text(at)}#{entry_id}"
    found = {
        "l1pk": tenant.listing_by(WAITLIST, "SERVICE", service),
        "l1sk": place,
        "l3pk": tenant.listing_by(WAITLIST, "PATIENT", patient),
        "l3sk": place,
        "walkpk": tenant.listing(WAITLIST),
        "walksk": entry_id,
    }
    if expert:
        found |= {"l2pk": tenant.listing_by(WAITLIST, "EXPERT", expert), "l2sk": place}
    return found
