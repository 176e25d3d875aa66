"""Push channels: events.watch and channels.stop.

Source: https://developers.google.com/workspace/calendar/api/guides/push.
"""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from local.simulators.google.errors import GoogleError, bad_request, missing
from local.simulators.google.oauth import LOCAL_HOSTS
from local.simulators.google.state import Calendar, Channel, Grant, Object, State

LIFETIME = timedelta(days=7)
LONGEST = timedelta(days=30)
_ID = re.compile(r"[A-Za-z0-9\-_+/=]{1,64}")


def watch(state: State, grant: Grant, calendar: Calendar, sent: Object, base: str) -> Object:
    """A new channel, to which a `sync` message goes at once. An id is good once."""
    for name in ("id", "type", "address"):
        if not sent.get(name):
            raise missing(f"channel {name}")
    if not _ID.fullmatch(sent["id"]):
        raise bad_request("Invalid channel id.", "channelIdInvalid")
    if sent["type"] not in ("web_hook", "webhook"):
        raise bad_request(f"Unknown channel type: {sent['type']}", "channelUnknown")
    _check_address(sent["address"])
    if sent["id"] in state.channels:
        raise bad_request(f"Channel id {sent['id']} not unique", "channelIdNotUnique")
    channel = Channel(
        sent["id"],
        calendar.id,
        grant,
        sent["address"],
        sent.get("token"),
        calendar.resource_id,
        f"{base}/calendar/v3/calendars/{quote(calendar.id, safe='@')}/events?alt=json",
        _until(state, sent),
    )
    state.keep(state.channels, channel.id, channel)
    state.notify(channel, "sync")
    answer = {
        "kind": "api#channel",
        "id": channel.id,
        "resourceId": channel.resource_id,
        "resourceUri": channel.uri,
        "expiration": str(int(channel.until.timestamp() * 1000)),
    }
    return answer | ({"token": channel.token} if channel.token is not None else {})


def _check_address(address: str) -> None:
    """https, as Google wants it, or http to this machine, where nothing else can be had."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or parts.hostname not in LOCAL_HOSTS:
        message = f"WebHook callback must be HTTPS: {address}"
        raise GoogleError(400, "push.webhookUrlNotHttps", message)


def _until(state: State, sent: Object) -> datetime:
    now = state.clock.now()
    ttl = (sent.get("params") or {}).get("ttl")
    try:
        if sent.get("expiration") is not None:
            until = datetime.fromtimestamp(int(sent["expiration"]) / 1000, UTC)
        else:
            until = now + (timedelta(seconds=int(ttl)) if ttl is not None else LIFETIME)
    except (ValueError, OverflowError):
        raise bad_request("Invalid channel expiration.", "invalid") from None
    if until <= now:
        raise bad_request("Invalid channel expiration.", "invalid")
    return min(until, now + LONGEST)


def stop(state: State, grant: Grant, sent: Object) -> None:
    """Ends a channel of the same person's; needs the resourceId that watch gave."""
    for name in ("id", "resourceId"):
        if not sent.get(name):
            raise missing(f"channel {name}")
    channel = state.channels.get(sent["id"])
    if (
        channel is None
        or channel.stopped
        or channel.until <= state.clock.now()
        or channel.resource_id != sent["resourceId"]
        or channel.grant.email != grant.email
    ):
        message = f"Channel '{sent['id']}' not found for project '100000000001'"
        raise GoogleError(404, "notFound", message)
    channel.stopped = True
