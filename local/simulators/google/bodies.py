"""Request bodies, query parameters and `fields`: unknown names are refused, as Google does.

Source: the discovery document of Calendar API v3. What is read-only is taken and ignored, so that
an event that was read can be sent back.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from werkzeug.datastructures import MultiDict

from local.simulators.google.errors import bad_parameter, bad_request
from local.simulators.google.state import Object

READ_ONLY = {
    "created",
    "creator",
    "etag",
    "hangoutLink",
    "htmlLink",
    "iCalUID",
    "kind",
    "organizer",
    "originalStartTime",
    "recurringEventId",
    "sequence",
    "updated",
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


class _Body(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=False
    )


class When(_Body):
    """A date, for all day, or a dateTime."""

    date: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    date_time: str | None = None
    time_zone: str | None = None


class Attendee(_Body):
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")]
    id: str | None = None
    display_name: str | None = None
    organizer: bool | None = None
    self_: bool | None = Field(None, alias="self")
    resource: bool | None = None
    optional: bool | None = None
    response_status: Literal["needsAction", "declined", "tentative", "accepted"] | None = None
    comment: str | None = None
    additional_guests: int | None = None


class Properties(_Body):
    private: dict[str, str | None] | None = None
    shared: dict[str, str | None] | None = None


class Reminder(_Body):
    method: Literal["email", "popup"]
    minutes: Annotated[int, Field(ge=0, le=40320)]


class Reminders(_Body):
    use_default: bool | None = None
    overrides: Annotated[list[Reminder], Field(max_length=5)] | None = None


class SolutionKey(_Body):
    type: str | None = None


class CreateRequest(_Body):
    request_id: str | None = None
    conference_solution_key: SolutionKey | None = None
    status: dict[str, Any] | None = None


class Conference(_Body):
    create_request: CreateRequest | None = None
    conference_id: str | None = None
    conference_solution: dict[str, Any] | None = None
    entry_points: list[dict[str, Any]] | None = None
    notes: str | None = None
    parameters: dict[str, Any] | None = None
    signature: str | None = None


class Source(_Body):
    title: str | None = None
    url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None


class EventBody(_Body):
    """What insert, patch and update take. Null clears a field."""

    id: str | None = None
    summary: str | None = None
    description: str | None = None
    location: str | None = None
    color_id: str | None = None
    start: When | None = None
    end: When | None = None
    status: Literal["confirmed", "tentative", "cancelled"] | None = None
    transparency: Literal["opaque", "transparent"] | None = None
    visibility: Literal["default", "public", "private", "confidential"] | None = None
    event_type: Literal["default", "focusTime", "outOfOffice", "workingLocation"] | None = None
    attendees: list[Attendee] | None = None
    extended_properties: Properties | None = None
    reminders: Reminders | None = None
    conference_data: Conference | None = None
    source: Source | None = None
    guests_can_invite_others: bool | None = None
    guests_can_modify: bool | None = None
    guests_can_see_other_guests: bool | None = None
    anyone_can_add_self: bool | None = None
    ical_uid: str | None = Field(None, alias="iCalUID")
    kind: str | None = None
    etag: str | None = None
    created: str | None = None
    updated: str | None = None
    html_link: str | None = None
    hangout_link: str | None = None
    sequence: int | None = None
    creator: dict[str, Any] | None = None
    organizer: dict[str, Any] | None = None
    recurring_event_id: str | None = None
    original_start_time: When | None = None


class ChannelBody(_Body):
    """What events.watch takes."""

    id: str | None = None
    type: str | None = None
    address: str | None = None
    token: Annotated[str, StringConstraints(max_length=256)] | None = None
    expiration: int | str | None = None
    params: dict[str, str] | None = None
    payload: bool | None = None
    kind: str | None = None
    resource_id: str | None = None
    resource_uri: str | None = None


def read(model: type[_Body], what: str, sent: Any) -> Object:
    """The body by the provider's names, with only what was sent.

    Errors: 400, for an unknown name with Google's sentence for that.
    """
    if not isinstance(sent, dict):
        raise bad_request("Invalid JSON payload received.", "parseError")
    try:
        found = model.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["", *(str(part) for part in first["loc"][:-1])])
        name = first["loc"][-1] if first["loc"] else what
        if first["type"] == "extra_forbidden":
            raise bad_request(
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{what}{place}': "
                "Cannot find field."
            ) from None
        raise bad_request(f"Invalid value for: {what}{place}.{name}", "invalid") from None
    return found.model_dump(by_alias=True, exclude_unset=True)


# --- query parameters ---------------------------------------------------------------------------

Parse = Callable[[str, str], Any]


def _boolean(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise bad_parameter(name, f"Invalid boolean value: '{value}'.")
    return value == "true"


def _text(name: str, value: str) -> str:
    if not value:
        raise bad_parameter(name, f"Invalid string value for: {name}", "invalid")
    return value


def _moment(name: str, value: str) -> datetime:
    found = moment(value, None)
    if found is None:
        # A + that was not escaped arrives as a space: a mistake worth seeing here.
        raise bad_parameter(name, "Bad Request", "badRequest")
    return found


def _zone(name: str, value: str) -> ZoneInfo:
    found = zone(value)
    if found is None:
        raise bad_parameter(name, "Invalid time zone.", "invalid")
    return found


def _number(lowest: int, highest: int) -> Parse:
    """Beyond `highest` Google gives less than was asked for."""

    def parse(name: str, value: str) -> int:
        if not re.fullmatch(r"\d{1,9}", value) or int(value) < lowest:
            message = f"Invalid value '{value}'. Values must be within the range: [{lowest}, …]"
            raise bad_parameter(name, message)
        return min(int(value), highest)

    return parse


def _one_of(*values: str) -> Parse:
    def parse(name: str, value: str) -> str:
        if value not in values:
            raise bad_parameter(name, f"Invalid string value: '{value}'. Allowed: {values}")
        return value

    return parse


_UPDATES = _one_of("all", "externalOnly", "none")
_ROLE = _one_of("freeBusyReader", "reader", "writer", "owner")
_COMMON: dict[str, Parse] = {
    "alt": _one_of("json"),
    "fields": _text,
    "key": _text,
    "prettyPrint": _boolean,
    "quotaUser": _text,
}
_WRITE: dict[str, Parse] = {
    "conferenceDataVersion": _number(0, 1),
    "maxAttendees": _number(1, 250),
    "sendUpdates": _UPDATES,
    "supportsAttachments": _boolean,
}
_LIST: dict[str, Parse] = {
    "iCalUID": _text,
    "maxAttendees": _number(1, 250),
    "maxResults": _number(1, 2500),
    "orderBy": _one_of("startTime", "updated"),
    "pageToken": _text,
    "q": _text,
    "showDeleted": _boolean,
    "showHiddenInvitations": _boolean,
    "singleEvents": _boolean,
    "syncToken": _text,
    "timeMax": _moment,
    "timeMin": _moment,
    "timeZone": _zone,
    "updatedMin": _moment,
}
# May come more than once.
_REPEATED = ("eventTypes", "privateExtendedProperty")
PARAMETERS: dict[str, dict[str, Parse]] = {
    "calendarList.list": {
        "maxResults": _number(1, 250),
        "minAccessRole": _ROLE,
        "pageToken": _text,
        "showDeleted": _boolean,
        "showHidden": _boolean,
    },
    "events.list": {**_LIST, **dict.fromkeys(_REPEATED, _text)},
    "events.get": {"maxAttendees": _number(1, 250), "timeZone": _zone},
    "events.insert": _WRITE,
    "events.patch": _WRITE,
    "events.update": _WRITE,
    "events.delete": {"sendUpdates": _UPDATES},
    "events.watch": {"eventTypes": _text},
    "channels.stop": {},
}


def parameters(operation: str, args: MultiDict[str, str]) -> Object:
    """The query by name, parsed. Errors: 400."""
    known = {**_COMMON, **PARAMETERS[operation]}
    found: Object = {}
    for name, values in args.lists():
        if name not in known:
            raise bad_request(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query '
                f"parameter. Field '{name}' could not be found in request message."
            )
        if name in _REPEATED:
            found[name] = [known[name](name, value) for value in values]
        elif len(values) > 1:
            raise bad_parameter(name, f"Parameter {name} may be given once")
        else:
            found[name] = known[name](name, values[0])
    return found


def moment(text: str, default_zone: ZoneInfo | None) -> datetime | None:
    """An RFC 3339 time; None where it is none, or where nothing says its offset."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        return found.replace(tzinfo=default_zone) if default_zone else None
    return found


def zone(name: str) -> ZoneInfo | None:
    """An IANA time zone; None where there is none of that name."""
    return ZoneInfo(name) if name in available_timezones() else None


# --- partial responses --------------------------------------------------------------------------

Shape = dict[str, Any]


def _shape(names: str) -> Shape:
    return {name: {} for name in names.split()}


def _shape_of(model: type[_Body]) -> Shape:
    return {field.alias or name: {} for name, field in model.model_fields.items()}


_EVENT = _shape_of(EventBody)
_LISTING = _shape(
    "kind etag summary description updated timeZone accessRole defaultReminders "
    "nextPageToken nextSyncToken"
)
_CALENDAR = _shape(
    "kind etag id summary description timeZone accessRole primary selected hidden colorId "
    "conferenceProperties defaultReminders"
)
# What can be selected; below what is named here anything can.
_SHAPES: dict[str, Shape] = {
    "events.list": {**_LISTING, "items": _EVENT},
    "calendarList.list": {**_LISTING, "items": _CALENDAR},
    "events.watch": _shape_of(ChannelBody),
}
_TOKENS = re.compile(r"[A-Za-z*]+|[,()/]")


def select(operation: str, expression: str | None, answer: Any) -> Any:
    """The parts of an answer that `fields` names: `a,b(c,d/e)`. Errors: 400."""
    if expression is None or answer is None:
        return answer
    wanted = _parse(expression)
    _check(wanted, _SHAPES.get(operation, _EVENT))
    return _pick(wanted, answer)


def _parse(expression: str) -> Object:
    tokens = _TOKENS.findall(expression)
    if "".join(tokens) != expression.replace(" ", ""):
        raise _bad_selection(expression)

    def group() -> Object:
        found: Object = {}
        while True:
            inner = found
            while True:
                name = tokens.pop(0) if tokens else ""
                if not name or name in ",()/":
                    raise _bad_selection(expression)
                inner = inner.setdefault(name, {})
                if tokens[:1] != ["/"]:
                    break
                tokens.pop(0)
            if tokens[:1] == ["("]:
                tokens.pop(0)
                inner.update(group())
                if tokens[:1] != [")"]:
                    raise _bad_selection(expression)
                tokens.pop(0)
            if tokens[:1] != [","]:
                return found
            tokens.pop(0)

    wanted = group()
    if tokens:
        raise _bad_selection(expression)
    return wanted


def _check(wanted: Object, shape: Shape) -> None:
    for name, inner in wanted.items():
        if shape and name != "*" and name not in shape:
            raise _bad_selection(name)
        _check(inner, shape.get(name, {}))


def _pick(wanted: Object, value: Any) -> Any:
    if not wanted or "*" in wanted:
        return value
    if isinstance(value, list):
        return [_pick(wanted, part) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: _pick(wanted[name], part) for name, part in value.items() if name in wanted}


def _bad_selection(what: str) -> Exception:
    return bad_parameter("fields", f"Invalid field selection {what}")
