"""Reviews: who writes, sees, answers and hides them; and what they never tell."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from consulta.aggregates import walk
from consulta.audit import fields
from consulta.core import ids, item, table
from consulta.core.bus import Event
from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import Role
from consulta.core.time import to_text
from consulta.people.records import EXPERT, PRACTICE
from consulta.scheduling import review_views, reviews, transitions
from consulta.scheduling.records import APPOINTMENT, AppointmentItem
from consulta.scheduling.review_records import REVIEW, ReviewItem, id_of
from consulta.scheduling.schema.booking import CancelRequest
from tests.faults import Faults
from tests.unit.people.calling import MEMBER, Answer, call, signed_in
from tests.unit.scheduling.world import BY, Clock, World

WORDS = "Listens well. My knee is better."
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Desk:
    """A practice with two experts and two patients, and a visit that is over."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        for module in (item, reviews, review_views):
            monkeypatch.setattr(module, "now", lambda: clock.at)
        self.world = World()
        self.helena, self.rui = self.world.expert("Helena"), self.world.expert("Rui")
        self.ines, self.ana = self.world.patient("Inês"), self.world.patient("Ana")
        self.service = self.world.service(self.helena, self.rui, price=0)

    def booked(self, patient: str = "", expert: str = "") -> str:
        """A confirmed appointment; it is over by now."""
        start = self.clock.at.replace(minute=0, second=0, microsecond=0) + DAY
        who = (expert or self.helena, patient or self.ines)
        found = self.world.book(self.service, *who, start, confirm=True).id
        self.clock.at = start + timedelta(hours=2)
        return found

    def visit(self, patient: str = "", expert: str = "") -> str:
        """A completed one."""
        appointment_id = self.booked(patient, expert)
        table.transact(transitions.complete_actions(self.appointment(appointment_id), BY))
        return appointment_id

    def appointment(self, appointment_id: str) -> AppointmentItem:
        found = table.get(AppointmentItem, self.world.tenant.item(APPOINTMENT, appointment_id))
        assert found
        return found

    def ask(
        self, method: str, path: str = "", body: Any = None, *, who: Any = None, **request: Any
    ) -> Answer:
        context = who or self.patient(self.ines)
        return call("reviews", method, f"/v1/reviews{path}", body, context=context, **request)

    def patient(self, patient_id: str) -> dict[str, str]:
        return signed_in("patient", self.world.practice, patient_id, f"person-{patient_id}")

    def member(self, role: str = "owner", subject: str = "") -> dict[str, str]:
        return signed_in(role, self.world.practice, subject, f"person-{role}")

    def write(self, appointment_id: str, rating: int = 5, **more: Any) -> Answer:
        who = self.patient(self.appointment(appointment_id).patient_id)
        body = {"appointment_id": appointment_id, "rating": rating, "comment": WORDS}
        return self.ask("POST", "", body, who=who, **more)

    def written(self, patient: str = "", expert: str = "", rating: int = 5) -> dict[str, Any]:
        answer = self.write(self.visit(patient, expert), rating)
        assert answer.status == 201, answer.body
        return dict(answer.body)

    def stored(self, review_id: str) -> ReviewItem:
        found = table.get(ReviewItem, self.world.tenant.item(REVIEW, review_id))
        assert found
        return found

    def listed(self, who: Any = None, query: str = "") -> list[str]:
        answer = self.ask("GET", who=who, query=query)
        assert answer.status == 200, answer.body
        return [one["id"] for one in answer.body["items"]]


@pytest.fixture
def desk(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(Clock(monkeypatch), monkeypatch)


@pytest.fixture
def faults(tables: Any) -> Iterator[Faults]:
    with Faults(tables) as found:
        yield found


# ---------------------------------------------------------------- writing


def test_a_patient_reviews_a_visit(desk: Desk) -> None:
    appointment_id = desk.visit()
    answer = desk.write(appointment_id, 4)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/reviews/{answer.body['id']}"
    assert answer.body == {
        "id": id_of(appointment_id),
        "expert": {"id": desk.helena, "name": "Helena"},
        "service": {"id": desk.service, "name": "First consultation"},
        "rating": 4,
        "comment": WORDS,
        "status": "published",
        "written_on": answer.body["written_on"],
        "edited_on": None,
        "reply": None,
        "author": {"id": desk.ines, "name": "Inês"},
        "appointment_id": appointment_id,
        "mine": True,
        "hidden_reason": None,
        "editable_until": answer.body["editable_until"],
        "version": 1,
    }
    until = datetime.fromisoformat(answer.body["editable_until"])
    assert until == desk.clock.at + timedelta(days=30)
    assert desk.ask("GET", f"/{answer.body['id']}").body == answer.body


def test_the_day_is_the_practices(desk: Desk) -> None:
    key = desk.world.tenant.item(PRACTICE, desk.world.practice)
    table.transact([table.update(key, set_={"zone": "Pacific/Auckland"})])
    appointment_id = desk.visit()
    desk.clock.at = desk.clock.at.replace(hour=13) + DAY
    review = desk.write(appointment_id).body
    stored = desk.stored(review["id"])
    assert stored.local_date == (desk.clock.at.date() + DAY).isoformat()
    assert (review["written_on"], stored.zone) == (stored.local_date, "Pacific/Auckland")
    # What figures are made of.
    assert (stored.expert_id, stored.service_id) == (desk.helena, desk.service)
    assert (stored.patient_id, stored.status, stored.rating) == (desk.ines, "published", 5)
    assert (stored.entity, stored.version) == (REVIEW, 1)


def test_a_visit_has_one_review(desk: Desk) -> None:
    appointment_id = desk.visit()
    first = desk.write(appointment_id, 5, headers={"Idempotency-Key": "k"})
    again = desk.write(appointment_id, 5, headers={"Idempotency-Key": "k"})
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    second = desk.write(appointment_id, 1)
    assert (second.status, second.body["existing_id"]) == (409, first.body["id"])
    assert second.body["errors"][0]["path"] == "body.appointment_id"
    assert desk.stored(first.body["id"]).rating == 5
    other = desk.write(appointment_id, 1, headers={"Idempotency-Key": "k"})
    assert (other.status, other.body["errors"][0]["code"]) == (422, "reused")


def test_two_at_once_leave_one(desk: Desk, faults: Faults) -> None:
    appointment_id = desk.visit()
    ratings = iter((1, 2))
    other: list[Answer] = []
    meanwhile = faults.meanwhile(lambda: other.append(desk.write(appointment_id, next(ratings))))
    faults.next("TransactWriteItems", meanwhile)
    late = desk.write(appointment_id, 5)
    assert ([one.status for one in other], late.status) == ([201], 409)
    assert desk.stored(other[0].body["id"]).rating == 1


@pytest.mark.parametrize("fault", ["conflict", "throttle", "lost_call", "lost_answer"])
def test_a_fault_on_the_way_changes_nothing(desk: Desk, faults: Faults, fault: str) -> None:
    appointment_id = desk.visit()
    faults.next("TransactWriteItems", getattr(faults, fault))
    answer = desk.write(appointment_id, 3, headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.body["rating"]) == (201, 3)
    assert desk.listed() == [answer.body["id"]]


def test_only_its_patient_writes(desk: Desk) -> None:
    appointment_id = desk.visit()
    body = {"appointment_id": appointment_id, "rating": 5}
    assert desk.ask("POST", "", body, who=desk.patient(desk.ana)).status == 404
    for who in (desk.member(), desk.member("expert", desk.helena)):
        assert desk.ask("POST", "", body, who=who).status == 403
    stranger = signed_in("patient", "prac_01JC0NS0TADEM0000000000009", desk.ines)
    assert desk.ask("POST", "", body, who=stranger).status == 404
    assert desk.listed() == []


def test_a_patient_who_was_deleted_writes_nothing(desk: Desk, faults: Faults) -> None:
    first, second = desk.visit(), desk.visit()
    review = desk.write(first, headers={"Idempotency-Key": "k"})
    assert review.status == 201
    path = f"/v1/patients/{desk.ines}"

    def delete() -> None:
        owner = signed_in("owner", desk.world.practice)
        assert call("patients", "DELETE", path, context=owner).status == 204

    # Between reading the appointment and writing; and whoever is still signed in later.
    faults.next("TransactWriteItems", faults.meanwhile(delete))
    for _ in range(2):
        assert desk.write(second).status == 404
    assert desk.write(first).status == 404
    assert desk.listed(desk.member()) == [review.body["id"]]


@pytest.mark.parametrize("status", ["confirmed", "no_show", "cancelled"])
def test_only_what_was_completed(desk: Desk, status: str) -> None:
    if status == "cancelled":
        appointment_id = desk.booked()
        desk.clock.at -= DAY
        request = CancelRequest.model_validate({"reason_code": "illness"})
        found = desk.appointment(appointment_id)
        table.transact(transitions.cancel_actions(found, BY, request, "patient"))
    else:
        appointment_id = desk.booked()
    if status == "no_show":
        table.transact(transitions.no_show_actions(desk.appointment(appointment_id), BY))
    assert desk.appointment(appointment_id).status == status
    assert desk.write(appointment_id).status == 409
    assert desk.listed() == []


def test_what_stops_being_completed_meanwhile_has_no_review(desk: Desk, faults: Faults) -> None:
    appointment_id = desk.visit()
    key = desk.appointment(appointment_id).key
    undone = table.update(key, set_={"status": "no_show"}, add={"version": 1})
    faults.next("TransactWriteItems", faults.meanwhile(lambda: table.transact([undone])))
    answer = desk.write(appointment_id)
    assert (answer.status, "existing_id" in answer.body) == (409, False)
    assert desk.listed() == []


def test_ninety_days(desk: Desk) -> None:
    first, second = desk.visit(), desk.visit()
    last = desk.appointment(second).end + timedelta(days=90)
    desk.clock.at = last
    assert desk.write(first).status == 409
    assert desk.write(second).status == 201


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"rating": 0}, "body.rating"),
        ({"rating": 6}, "body.rating"),
        ({"rating": "5"}, "body.rating"),
        ({"rating": 4.5}, "body.rating"),
        ({"comment": "x" * 2001}, "body.comment"),
        ({"patient_id": "pat_1"}, "body.patient_id"),
    ],
)
def test_what_a_review_may_be(desk: Desk, changes: dict[str, Any], path: str) -> None:
    body = {"appointment_id": ids.new_id("appt"), "rating": 5, **changes}
    answer = desk.ask("POST", "", body)
    assert (answer.status, answer.body["errors"][0]["path"]) == (422, path)


# ---------------------------------------------------------------- changing and deleting


def test_the_author_changes_it_for_thirty_days(desk: Desk) -> None:
    review = desk.written()
    path, other = f"/{review['id']}", desk.patient(desk.ana)

    def change(body: Any, version: int = 1, who: Any = None) -> Answer:
        return desk.ask("PATCH", path, body, who=who, headers={"If-Match": f'"{version}"'})

    assert change({"rating": 1}, who=other).status == 403
    assert change({"rating": 1}, who=desk.member()).status == 403
    assert change({"rating": 5}).body["version"] == 1
    changed = change({"rating": 2, "comment": ""})
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.body["rating"], changed.body["comment"]) == (2, "")
    assert changed.body["edited_on"]
    assert changed.body["written_on"] == review["written_on"]
    assert change({"rating": 3}).status == 412
    desk.clock.at = datetime.fromisoformat(review["editable_until"])
    assert change({"rating": 3}, 2).status == 200
    desk.clock.at += timedelta(milliseconds=1)
    assert change({"rating": 4}, 3).status == 409
    assert desk.stored(review["id"]).rating == 3


def test_somebody_else_was_faster(desk: Desk, faults: Faults) -> None:
    review = desk.written()
    path, owner = f"/{review['id']}", desk.member()

    def other() -> None:
        assert desk.ask("POST", f"{path}/reply", {"text": "Thank you."}, who=owner).status == 200

    for headers, status in (({}, 409), ({"If-Match": "*"}, 412)):
        faults.next("TransactWriteItems", faults.meanwhile(other))
        assert desk.ask("PATCH", path, {"rating": 1}, headers=headers).status == status
        desk.clock.at += MINUTE
        gone = table.change(desk.stored(review["id"]), BY, remove=["reply"])
        table.transact([gone])
    assert desk.stored(review["id"]).rating == 5


def test_what_is_deleted_is_nowhere_and_does_not_come_back(desk: Desk) -> None:
    review = desk.written()
    path, owner = f"/{review['id']}", desk.member()
    desk.ask("POST", f"{path}/reply", {"text": "Thank you."}, who=owner)
    desk.ask("POST", f"{path}/hide", {"reason": "Names a colleague"}, who=owner)
    assert desk.ask("DELETE", path, who=desk.patient(desk.ana)).status == 404
    assert desk.ask("DELETE", path, who=owner).status == 403
    assert desk.ask("DELETE", path, headers={"If-Match": '"1"'}).status == 412
    desk.clock.at += timedelta(days=400)
    assert desk.ask("DELETE", path).status == 204
    stored = desk.stored(review["id"])
    assert stored.deleted_at
    raw = json.dumps(table.get_raw(stored.key))
    assert not any(words in raw for words in (WORDS, "Thank you", "colleague"))
    for who in (None, owner, desk.patient(desk.ana)):
        assert desk.ask("GET", path, who=who).status == 404
    wide = f"from={to_text(desk.clock.at - timedelta(days=401))[:10]}T00:00:00Z"
    for query in (f"expert_id={desk.helena}", wide, "limit=50"):
        assert desk.listed(owner, query) == []
    assert desk.listed(None, "mine=true") == []
    assert desk.ask("DELETE", path).status == 404
    assert desk.ask("POST", f"{path}/publish", who=owner).status == 404


def test_a_deleted_review_is_not_written_again(desk: Desk) -> None:
    appointment_id = desk.visit()
    path = f"/{desk.write(appointment_id).body['id']}"
    assert desk.ask("DELETE", path).status == 204
    assert desk.write(appointment_id).status == 409


# ---------------------------------------------------------------- replies and moderation


def test_the_expert_it_is_about_answers(desk: Desk) -> None:
    review = desk.written()
    path = f"/{review['id']}/reply"
    helena, rui = desk.member("expert", desk.helena), desk.member("expert", desk.rui)
    for who in (rui, None, desk.patient(desk.ana)):
        assert desk.ask("POST", path, {"text": "Hello"}, who=who).status == 403
    for role in ("viewer", "billing"):
        assert desk.ask("POST", path, {"text": "Hello"}, who=desk.member(role)).status == 403
    said = desk.ask("POST", path, {"text": "Thank you."}, who=helena)
    assert (said.status, said.body["version"]) == (200, 2)
    reply = {"text": "Thank you.", "by": "expert", "written_on": review["written_on"]}
    assert said.body["reply"] == reply
    assert desk.ask("POST", path, {"text": "Thank you."}, who=helena).body["version"] == 2
    late = desk.ask("POST", path, {"text": "x"}, who=helena, headers={"If-Match": '"1"'})
    assert late.status == 412
    replaced = desk.ask("POST", path, {"text": "Thanks!"}, who=desk.member("admin"))
    assert replaced.body["reply"] == {**reply, "text": "Thanks!", "by": "practice"}
    # Everybody reads it.
    shown = desk.ask("GET", f"/{review['id']}", who=desk.patient(desk.ana)).body
    assert shown["reply"]["text"] == "Thanks!"
    assert desk.ask("POST", path, {"text": ""}, who=helena).status == 422


def test_what_is_hidden_is_for_its_author_and_members(desk: Desk) -> None:
    review = desk.written()
    path, owner, ana = f"/{review['id']}", desk.member(), desk.patient(desk.ana)
    for who in (None, ana, desk.member("expert", desk.helena), desk.member("viewer")):
        assert desk.ask("POST", f"{path}/hide", {"reason": "No"}, who=who).status == 403
        assert desk.ask("POST", f"{path}/publish", who=who).status == 403
    assert desk.ask("POST", f"{path}/hide", {"reason": ""}, who=owner).status == 422
    hidden = desk.ask("POST", f"{path}/hide", {"reason": "Names a colleague"}, who=owner)
    assert (hidden.body["status"], hidden.body["version"]) == ("hidden", 2)
    same = desk.ask("POST", f"{path}/hide", {"reason": "Names a colleague"}, who=owner)
    assert same.body["version"] == 2
    for who in (None, owner, desk.member("expert", desk.rui), desk.member("viewer")):
        shown = desk.ask("GET", path, who=who)
        assert (shown.status, shown.body["hidden_reason"]) == (200, "Names a colleague")
    assert desk.ask("GET", path, who=ana).status == 404
    # Nobody hides it from the author, and the author does not undo it by editing.
    assert desk.listed(None, "mine=true") == [review["id"]]
    assert desk.ask("PATCH", path, {"rating": 1}).body["status"] == "hidden"
    for who in (None, ana):
        assert desk.listed(who) == desk.listed(who, f"expert_id={desk.helena}") == []
        assert desk.ask("GET", who=who, query="status=hidden").status == 403
    assert desk.listed(owner) == desk.listed(owner, "status=hidden") == [review["id"]]
    assert desk.listed(owner, "status=published") == []
    back = desk.ask("POST", f"{path}/publish", who=owner)
    assert (back.body["status"], back.body["hidden_reason"]) == ("published", None)
    assert desk.ask("POST", f"{path}/publish", who=owner).body["version"] == back.body["version"]
    assert desk.listed(ana) == [review["id"]]
    assert desk.stored(review["id"]).hidden_at is None


def test_a_role_of_the_practices_own_moderates(desk: Desk) -> None:
    review = desk.written()
    granted = frozenset({"reviews:read", "reviews:write", "reviews:moderate"})
    member = Membership(desk.world.practice, Role.CUSTOM, MEMBER, "", granted)
    who = authorizer_context("person-c", [member], operator=False)
    path = f"/{review['id']}"
    assert desk.ask("POST", f"{path}/reply", {"text": "Thanks"}, who=who).status == 200
    hidden = desk.ask("POST", f"{path}/hide", {"reason": "Spam"}, who=who)
    assert (hidden.status, hidden.body["author"]) == (200, None)


# ---------------------------------------------------------------- what is told to whom


@pytest.mark.parametrize(
    ("role", "subject", "knows"),
    [
        ("patient", "ines", True),
        ("patient", "ana", False),
        ("patient", "", False),
        ("owner", "", True),
        ("admin", "", True),
        ("viewer", "", True),
        # May see all appointments, and no patients.
        ("billing", "", False),
        ("expert", "helena", True),
        # Sees patients, and not that this one was with somebody else.
        ("expert", "rui", False),
    ],
)
def test_a_review_tells_nobody_who_is_a_patient(
    desk: Desk, role: str, subject: str, knows: bool
) -> None:
    review = desk.written()
    who = desk.member(role, getattr(desk, subject) if subject else "")
    [listed] = desk.ask("GET", who=who).body["items"]
    shown = desk.ask("GET", f"/{review['id']}", who=who).body
    assert shown == listed
    text = json.dumps(shown, ensure_ascii=False)
    # Behind the prefix is when it was booked, and by another it would be found again.
    visit = review["appointment_id"].partition("_")[2]
    assert (desk.ines in text, "Inês" in text, visit in text) == (knows,) * 3
    assert bool(shown["author"]) is knows
    is_author = subject == "ines"
    assert (shown["mine"], bool(shown["editable_until"])) == (is_author, is_author)
    # No time of day either: it would say who was there.
    assert "T" not in shown["written_on"]


def test_an_expert_who_is_not_published_is_nobody_to_patients(desk: Desk) -> None:
    review, other = desk.written(), desk.written(desk.ana, desk.rui)
    table.transact(
        [table.update(desk.world.tenant.item(EXPERT, desk.helena), set_={"published": False})]
    )
    ana, owner = desk.patient(desk.ana), desk.member()
    of_helena = f"expert_id={desk.helena}"
    assert desk.ask("GET", who=ana, query=of_helena).status == 404
    assert desk.ask("GET", who=ana, query=f"expert_id={ids.new_id('exp')}").status == 404
    names = {one["id"]: one["expert"]["name"] for one in desk.ask("GET", who=ana).body["items"]}
    assert names == {review["id"]: None, other["id"]: "Rui"}
    assert desk.ask("GET", f"/{review['id']}", who=ana).body["expert"]["name"] is None
    # Whoever was there knows who it was; members see everybody.
    assert desk.listed(None, f"mine=true&{of_helena}") == [review["id"]]
    assert desk.ask("GET", f"/{review['id']}").body == review
    assert desk.listed(owner, of_helena) == [review["id"]]
    assert desk.ask("GET", f"/{review['id']}", who=owner).body["expert"]["name"] == "Helena"


def test_the_words_stay_where_they_are(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    review = desk.written()
    desk.ask("POST", f"/{review['id']}/reply", {"text": "My answer."}, who=desk.member())
    raw = table.get_raw(desk.stored(review["id"]).key)
    assert raw
    keys = {"pk": raw["pk"], "sk": raw["sk"]}
    event = Event.of_record({"dynamodb": {"Keys": keys, "NewImage": raw}})
    assert event
    said = json.dumps([str(event), capsys.readouterr().out])
    assert not any(words in said for words in ("knee", "My answer", "Inês"))
    for name in ("comment", "reply", "hidden_reason"):
        assert fields.permission_for(REVIEW, name) == "patients:read"
    content = fields.content(raw)
    practice = desk.world.practice
    assert fields.subject_of(REVIEW, review["id"], practice, content) == desk.ines


# ---------------------------------------------------------------- lists


def many(desk: Desk, count: int) -> list[dict[str, Any]]:
    """Reviews of the last year, oldest first, as items: (id, expert, rating, status, patient)."""
    random, tenant = Random(7), desk.world.tenant
    made: list[dict[str, Any]] = []
    for number in range(count):
        at = desk.clock.at - timedelta(days=3 * (count - number))
        review_id = ids.new_id("rev")
        one: dict[str, Any] = {
            "id": review_id,
            "expert_id": random.choice((desk.helena, desk.rui)),
            "patient_id": random.choice((desk.ines, desk.ana)),
            "rating": random.randint(1, 5),
            "status": random.choice(("published", "published", "hidden")),
            "at": at,
        }
        place = f"{to_text(at)}#{review_id}"
        stored = ReviewItem.create(
            tenant.item(REVIEW, review_id),
            REVIEW,
            BY,
            appointment_id=ids.new_id("appt"),
            service_id=desk.service,
            zone="UTC",
            local_date=at.date().isoformat(),
            l1pk=tenant.listing_by(REVIEW, "MONTH", place[:7]),
            l2pk=tenant.listing_by(REVIEW, "EXPERT", one["expert_id"]),
            l3pk=tenant.listing_by(REVIEW, "PATIENT", one["patient_id"]),
            l1sk=place,
            l2sk=place,
            l3sk=place,
            walkpk=tenant.listing(REVIEW),
            walksk=review_id,
            **{n: v for n, v in one.items() if n not in ("id", "at")},
        )
        table.transact([table.put_new(stored)])
        made.append(one)
    return made


def read(desk: Desk, who: Any, query: str, limit: int = 7) -> list[str]:
    """A whole list, page by page."""
    found: list[str] = []
    cursor = ""
    while True:
        parts = (f"limit={limit}", query, f"cursor={cursor}" if cursor else "")
        asked = "&".join(part for part in parts if part)
        page = desk.ask("GET", who=who, query=asked).body
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_lists_have_what_is_asked_for_the_newest_first(desk: Desk) -> None:
    made = list(reversed(many(desk, 60)))
    owner, ines = desk.member(), desk.patient(desk.ines)

    def wanted(**of: Any) -> list[str]:
        return [r["id"] for r in made if all(r[name] == value for name, value in of.items())]

    assert read(desk, owner, "") == wanted()
    assert read(desk, ines, "") == wanted(status="published")
    for expert in (desk.helena, desk.rui):
        assert read(desk, owner, f"expert_id={expert}") == wanted(expert_id=expert)
        published = wanted(expert_id=expert, status="published")
        assert read(desk, ines, f"expert_id={expert}") == published
    assert read(desk, owner, "rating=3") == wanted(rating=3)
    assert read(desk, owner, "rating=3&status=hidden") == wanted(rating=3, status="hidden")
    assert read(desk, ines, "mine=true") == wanted(patient_id=desk.ines)
    mine = wanted(patient_id=desk.ines, expert_id=desk.rui, status="hidden")
    assert mine
    assert read(desk, ines, f"mine=true&expert_id={desk.rui}&status=hidden") == mine
    assert read(desk, owner, f"service_id={ids.new_id('svc')}") == []
    since = made[20]["at"]
    recent = [r["id"] for r in made if r["at"] >= since]
    text = to_text(since)
    assert read(desk, owner, f"from={text}") == recent
    until = f"to={text}&from={to_text(since - timedelta(days=30))}"
    assert read(desk, owner, until) == [r["id"] for r in made[21:31]]


def test_a_list_refuses_what_it_cannot_answer(desk: Desk) -> None:
    many(desk, 3)
    owner = desk.member()
    cursor = desk.ask("GET", who=owner, query="limit=1").body["next_cursor"]
    assert desk.ask("GET", who=owner, query=f"limit=1&rating=1&cursor={cursor}").status == 400
    assert desk.ask("GET", query=f"limit=1&cursor={cursor}").status == 400
    for query in ("limit=51", "rating=6", "status=gone"):
        assert desk.ask("GET", who=owner, query=query).status == 422
    assert desk.ask("GET", who=owner, query="mine=true").status == 403
    backwards = "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z"
    assert desk.ask("GET", who=owner, query=backwards).status == 422
    years = "from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"
    assert desk.ask("GET", who=owner, query=years).status == 422


def test_another_practices_reviews_are_not_there(desk: Desk) -> None:
    review = desk.written()
    stranger, path = signed_in("owner"), f"/{review['id']}"
    assert desk.listed(stranger) == desk.listed(stranger, f"expert_id={desk.helena}") == []
    for method, rest, body in (
        ("GET", "", None),
        ("PATCH", "", {"rating": 1}),
        ("DELETE", "", None),
        ("POST", "/reply", {"text": "Mine?"}),
        ("POST", "/hide", {"reason": "Mine?"}),
        ("POST", "/publish", None),
    ):
        assert desk.ask(method, path + rest, body, who=stranger).status == 404, rest
    assert desk.ask("GET", path).body == review


# ---------------------------------------------------------------- statistics


def statistics(desk: Desk, who: Any = None, expert: str = "") -> dict[str, Any]:
    query = f"expert_id={expert}" if expert else ""
    answer = desk.ask("GET", "/statistics", who=who, query=query)
    assert answer.status == 200, answer.body
    return dict(answer.body)


def test_nothing_has_no_average(desk: Desk) -> None:
    walk.walk(desk.world.tenant)
    found = statistics(desk)
    assert (found["reviews"], found["average"], found["complete"]) == (0, None, True)
    assert found["ratings"] == {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}


def test_statistics_are_of_what_is_published(desk: Desk) -> None:
    made = many(desk, 25)
    owner = desk.member()
    gone, hidden = [one for one in made if one["status"] == "published"][:2]
    author = desk.patient(gone["patient_id"])
    assert desk.ask("DELETE", f"/{gone['id']}", who=author).status == 204
    body = {"reason": "Spam"}
    assert desk.ask("POST", f"/{hidden['id']}/hide", body, who=owner).status == 200
    walk.walk(desk.world.tenant)
    counted = [r for r in made if r["status"] == "published" and r not in (gone, hidden)]
    for expert in ("", desk.helena, desk.rui):
        ratings = [r["rating"] for r in counted if expert in ("", r["expert_id"])]
        expected = Counter({str(stars): 0 for stars in range(1, 6)})
        expected.update(str(rating) for rating in ratings)
        for who in (owner, None):
            found = statistics(desk, who, expert)
            assert (found["reviews"], found["ratings"]) == (len(ratings), dict(expected))
            assert abs(found["average"] - sum(ratings) / len(ratings)) <= 0.05
            assert found["expert_id"] == (expert or None)
            assert found["changed_at"]


def test_statistics_of_who_is_not_there(desk: Desk) -> None:
    draft = desk.world.expert("Nova", published=False)
    walk.walk(desk.world.tenant)
    assert desk.ask("GET", "/statistics", query=f"expert_id={draft}").status == 404
    assert statistics(desk, desk.member(), draft)["reviews"] == 0
    unknown = f"expert_id={ids.new_id('exp')}"
    assert desk.ask("GET", "/statistics", who=desk.member(), query=unknown).status == 404


def test_until_older_ones_are_counted_the_answer_says_so(desk: Desk) -> None:
    many(desk, 3)
    key = desk.world.tenant.figures(PRACTICE, desk.world.practice, "WALK")
    done = table.put_values(key, {"done": 2}, table="aggregates")
    table.transact([done])
    assert statistics(desk)["complete"] is False
    walk.walk(desk.world.tenant)
    assert statistics(desk)["complete"] is True
