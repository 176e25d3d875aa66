"""When a whole practice is closed: its closures, and the public holidays of its country.

Holidays are worked out by the library ``holidays`` (its public category) when they are set, for
this year and three more, and kept: importing it costs as much as twenty requests. Only years beyond
the kept ones are worked out when they are read.
"""

from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, Self

from consulta.core import table
from consulta.core.errors import Conflict, Invalid, PreconditionFailed
from consulta.core.http import check_version
from consulta.core.identity import Principal
from consulta.core.keys import Key, Tenant
from consulta.core.time import now
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling.records import CLOSURES, ClosuresItem
from consulta.scheduling.schema.closures import Closure, Closures, ClosuresRequest, Holiday
from consulta.scheduling.schema.closures import Holidays as HolidaysShown
from consulta.scheduling.slots import Off

YEARS_AHEAD = 3
ENGLISH = "en_US"


def key_of(tenant: Tenant) -> Key:
    """Where a practice's closures are."""
    return tenant.sub(PRACTICE, tenant.practice, CLOSURES)


@cache
def holidays_of(country: str, subdivision: str | None, year: int) -> dict[str, str]:
    """Date → name of each public holiday, in English where the library has it.

    Raises LookupError(``country`` or ``subdivision``) for one that it does not know.
    """
    # It takes most of a second to import: only where a year is not kept.
    import holidays  # noqa: PLC0415

    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        raise LookupError("country")
    if subdivision is not None and subdivision not in known[country]:
        raise LookupError("subdivision")
    found = holidays.country_holidays(country, subdiv=subdivision)
    language = ENGLISH if ENGLISH in found.supported_languages else None
    named = holidays.country_holidays(country, subdiv=subdivision, years=year, language=language)
    return {day.isoformat(): name for day, name in sorted(named.items()) if day.year == year}


@dataclass(frozen=True, slots=True)
class Closed:
    """A practice's closures on the clocks of its ``zone``; without any, it is always open."""

    zone: str = "UTC"
    closures: tuple[Off, ...] = ()
    country: str = ""
    subdivision: str | None = None
    opened: frozenset[str] = frozenset()
    days: dict[str, str] = field(default_factory=dict)
    # The last year that ``days`` covers.
    kept_until: int = 0

    @classmethod
    def of(cls, tenant: Tenant, found: dict[Key, table.Raw]) -> Self:
        """Out of a batch that holds the practice and its closures."""
        practice = found.get(tenant.item(PRACTICE, tenant.practice))
        zone = PracticeItem.read(practice).zone if practice else "UTC"
        raw = found.get(key_of(tenant))
        return cls.read(ClosuresItem.read(raw), zone) if raw else cls(zone)

    @classmethod
    def read(cls, item: ClosuresItem, zone: str) -> Self:
        """What is kept."""
        kept = item.holidays or {}
        return cls(
            zone,
            tuple(
                Off(date.fromisoformat(one["from"]), date.fromisoformat(one["to"]), one["name"])
                for one in item.closures or ()
            ),
            kept.get("country", ""),
            kept.get("subdivision"),
            frozenset(kept.get("open", ())),
            kept.get("days", {}),
            kept.get("until", 0),
        )

    def between(self, first: date, last: date) -> list[Off]:
        """The closures and holidays that have a date of ``first`` to ``last``, both included."""
        found = [one for one in self.closures if one.first <= last and first <= one.last]
        for day, name in sorted(self._days(first.year, last.year).items()):
            at = date.fromisoformat(day)
            if first <= at <= last and day not in self.opened:
                found.append(Off(at, at, name))
        return found

    def _days(self, first: int, last: int) -> dict[str, str]:
        """The holidays of these years: those that are kept, and later ones worked out now.

        Years before the kept ones have passed: nobody books there.
        """
        found = dict(self.days)
        if self.country:
            for year in range(max(first, self.kept_until + 1), last + 1):
                found |= holidays_of(self.country, self.subdivision, year)
        return found


def get(by: Principal) -> Closures:
    """The practice's closures; none, with version 0, where none were set."""
    return to_api(table.get(ClosuresItem, key_of(by.tenant)))


def put(by: Principal, body: ClosuresRequest, if_match: str | None) -> Closures:
    """Set the practice's closures; what is booked stays.

    Raises Invalid (a country or subdivision that nobody knows), PreconditionFailed, Conflict.
    """
    key = key_of(by.tenant)
    item = table.get(ClosuresItem, key)
    check_version(if_match, item.version if item else 0)
    values = {
        "closures": [one.model_dump(by_alias=True) for one in body.closures],
        "holidays": _holidays(body, now().year),
    }
    try:
        table.transact([_written(by, item, key, values)])
    except table.ConditionFailed:
        if if_match is not None:
            raise PreconditionFailed from None
        raise Conflict("The closures were changed at the same time: read them again") from None
    return get(by)


def _holidays(body: ClosuresRequest, year: int) -> dict[str, Any] | None:
    """What is kept of the holidays."""
    asked = body.holidays
    if asked is None:
        return None
    days: dict[str, str] = {}
    for number in range(year, year + YEARS_AHEAD + 1):
        try:
            days |= holidays_of(asked.country, asked.subdivision, number)
        except LookupError as unknown:
            [field_name] = unknown.args
            raise Invalid.of(
                f"body.holidays.{field_name}",
                "The public holidays of this are not known: give ISO 3166, like DE and BY",
                "unknown",
            ) from None
    return {**asked.model_dump(), "days": days, "until": year + YEARS_AHEAD}


def _written(
    by: Principal, item: ClosuresItem | None, key: Key, values: dict[str, Any]
) -> table.Action:
    if item is None:
        return table.put_new(ClosuresItem.create(key, CLOSURES, by.actor, **values))
    stored: dict[str, Any] = {"closures": ClosuresItem.closures.serialize(values["closures"])}
    if values["holidays"] is not None:
        stored["holidays"] = ClosuresItem.holidays.serialize(values["holidays"])
    gone = [name for name in values if name not in stored]
    return table.change(item, by.actor, set_=stored, remove=gone)


def to_api(item: ClosuresItem | None) -> Closures:
    """The closures as the API shows them."""
    if item is None:
        return Closures(version=0)
    kept = item.holidays
    return Closures(
        closures=[Closure.model_validate(one) for one in item.closures or ()],
        holidays=HolidaysShown(
            country=kept["country"], subdivision=kept["subdivision"], open=kept["open"]
        )
        if kept
        else None,
        days=[Holiday(date=day, name=name) for day, name in sorted(kept["days"].items())]
        if kept
        else [],
        version=int(item.version),
    )
