"""A practice whose expert has a calendar at Google: the simulator, the queue and the worker."""

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import boto3
import pytest
import requests

from consulta.calendars.records import ConnectionItem, connection_key
from consulta.core import aws, settings, table
from consulta.core.bus import Event
from consulta.core.identity import Membership
from consulta.core.permissions import Role
from consulta.core.time import now
from consulta.people import memberships
from consulta.people.records import EXPERT, ExpertItem
from consulta.scheduling.busy import CALENDAR, Row, entries
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from tests.integration.test_providers import Simulator
from tests.unit.people.calling import MEMBER, Answer, call, handler, signed_in
from tests.unit.scheduling.world import World

EMAIL = "helena@gmail.example"
PUBLIC, APP = "https://api.consulta.example", "https://app.consulta.example"
PERSON = "person-1"


@dataclass
class Stage:
    """One practice with one expert, and everything around them."""

    google: Simulator
    world: World
    expert: str
    queue: str

    # people

    def call(self, method: str, path: str = "", body: Any = None, **more: Any) -> Answer:
        """As the practice's owner, about the expert."""
        context = more.pop("context", None) or signed_in("owner", self.world.practice)
        query = more.pop("query", f"expert_id={self.expert}" if method != "POST" else "")
        path = f"/v1/calendars/google{path}"
        return call("calendars", method, path, body, context=context, query=query, **more)

    def begin(self) -> tuple[str, str]:
        """Begin a consent: Google's address, and the browser's cookie."""
        begun = self.call("POST", "/connect", {"expert_id": self.expert})
        assert begun.status == 200, begun.body
        return begun.body["url"], begun.cookies[0].partition(";")[0]

    def consent(self, url: str) -> str:
        """What the browser is sent back with."""
        answer = requests.get(url, allow_redirects=False, timeout=5)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["Location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == (
            f"{PUBLIC}/v1/calendars/google/callback"
        )
        return back.query

    def come_back(self, query: str, cookie: str) -> Answer:
        """The browser is back."""
        return call(
            "calendars",
            "GET",
            "/v1/calendars/google/callback",
            query=query,
            cookies=[cookie] if cookie else [],
        )

    def connect(self) -> None:
        """All of it, and the first sync."""
        url, cookie = self.begin()
        done = self.come_back(self.unquoted(self.consent(url)), cookie)
        assert done.headers["Location"] == f"{APP}/?calendar=connected"
        self.work()

    @staticmethod
    def unquoted(query: str) -> str:
        """As the gateway hands it to the function: parsed."""
        return "&".join(f"{name}={values[0]}" for name, values in parse_qs(query).items())

    # the queue

    def messages(self) -> list[dict[str, Any]]:
        """Take what is in the queue out of it."""
        sqs, found = aws.client("sqs"), []
        while got := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for one in got:
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=one["ReceiptHandle"])
                found.append(one)
        return found

    def deliver(self, *bodies: Any, tries: int = 1) -> list[str]:
        """Give messages to the worker under its own policy; those that come again."""
        records = [
            {
                "messageId": f"m{number}",
                "receiptHandle": "handle",
                "body": json.dumps(body),
                "attributes": {"ApproximateReceiveCount": str(tries)},
            }
            for number, body in enumerate(bodies)
        ]
        context = SimpleNamespace(aws_request_id="aws-1", function_name="test")
        answer = handler("calendar_sync")({"Records": records}, context)
        return [one["itemIdentifier"] for one in answer["batchItemFailures"]]

    def work(self) -> None:
        """Do all that is in the queue, and what that puts there."""
        while found := self.messages():
            again = self.deliver(*(json.loads(one["Body"]) for one in found))
            assert not again

    def sync(self) -> list[str]:
        """One sync of busy times, without whatever it asks for."""
        message = {"kind": "sync", "practice": self.world.practice, "id": self.expert}
        return self.deliver(message)

    def told(self, appointment_id: str, **more: Any) -> list[str]:
        """The bus tells of a change of an appointment."""
        event = Event(self.world.practice, APPOINTMENT, appointment_id, 1, "changed")
        return self.deliver({"detail-type": APPOINTMENT, "detail": asdict(event)}, **more)

    # Google's side

    def control(self, path: str, body: Any = None) -> Any:
        return self.google.control(path, body)

    def at_google(self, calendar: str = EMAIL, *, deleted: bool = False) -> list[dict[str, Any]]:
        """The events in a calendar."""
        stored = requests.get(f"{self.google.url}/_control/stored", timeout=5).json()
        events = stored["calendars"].get(calendar, [])
        return [event for event in events if deleted or event["status"] != "cancelled"]

    def channels(self) -> list[dict[str, Any]]:
        """The open push channels."""
        stored = requests.get(f"{self.google.url}/_control/stored", timeout=5).json()
        return [channel for channel in stored["channels"] if channel["open"]]

    def by_hand(self, start: datetime | str, end: datetime | str, **more: Any) -> str:
        """The expert makes an event at Google; its id."""
        body = {"start": _text(start), "end": _text(end), **more}
        made = self.control(f"calendars/{quote(EMAIL)}/events", body)
        return str(made["id"])

    def change_by_hand(self, event_id: str, **more: Any) -> None:
        wish = {name: _text(value) for name, value in more.items()}
        self.control(f"calendars/{quote(EMAIL)}/events/{event_id}", wish)

    def delete_by_hand(self, event_id: str) -> None:
        self.control(f"calendars/{quote(EMAIL)}/events/{event_id}/delete")

    # ours

    def busy(self, day: date) -> list[tuple[int, int]]:
        """What the expert's own calendar has on a UTC day, as booking reads it."""
        key = self.world.tenant.external(self.expert, day)
        row = Row.read(key, CALENDAR, table.get_raw(key))
        return sorted((busy.start, busy.end) for _, busy in entries([row], 0))

    def busy_days(self) -> list[str]:
        """The UTC days that have something."""
        partition = self.world.tenant.external(self.expert, date(2026, 1, 1)).pk
        raws = table.Query(partition, consistent=True).all()
        return [
            raw["sk"]["S"].partition("#")[0]
            for raw in raws
            if raw["sk"]["S"].endswith("#EXTERNAL") and raw.keys() - {"pk", "sk", "version"}
        ]

    def item(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def connection(self) -> ConnectionItem:
        found = table.get(ConnectionItem, connection_key(self.world.tenant, self.expert))
        assert found
        return found

    def expert_item(self) -> ExpertItem:
        found = table.get(ExpertItem, self.world.tenant.item(EXPERT, self.expert))
        assert found
        return found


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def stage_of(google: Simulator, environment: pytest.MonkeyPatch) -> Stage:
    """The stage, with an account at Google in Lisbon."""
    google.control("reset")
    google.control("accounts", {"email": EMAIL, "zone": "Europe/Lisbon"})
    google.control("consent", {"email": EMAIL, "times": 99})
    secret = {"client_id": "local.apps.googleusercontent.com", "client_secret": "GOCSPX-local"}
    made = boto3.client("secretsmanager").create_secret(
        Name="google", SecretString=json.dumps(secret)
    )
    queue = aws.client("sqs").create_queue(QueueName="calendars")["QueueUrl"]
    values = {
        "GOOGLE_SECRET_ARN": made["ARN"],
        "GOOGLE_AUTH_BASE": google.url,
        "GOOGLE_TOKEN_BASE": google.url,
        "GOOGLE_API_BASE": google.url,
        "TOKENS_KEY_ID": boto3.client("kms").create_key()["KeyMetadata"]["KeyId"],
        "CALENDAR_QUEUE_URL": queue,
        "APP_URL": APP,
        "PUBLIC_URL": PUBLIC,
        # Nothing listens there: what Google tells is told by the tests.
        "API_URL": "http://127.0.0.1:9",
    }
    for name, value in values.items():
        environment.setenv(name, value)
    settings.reset()
    world = World()
    member = Membership(world.practice, Role.OWNER, MEMBER, "")
    table.transact([memberships.put(PERSON, member)])
    return Stage(google, world, world.expert(), queue)


def soon(**ahead: float) -> datetime:
    """A full hour in the next days, the same in the whole run."""
    at = now().replace(minute=0, second=0, microsecond=0)
    return at + timedelta(**ahead)
