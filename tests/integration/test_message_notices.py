"""Mails about messages: neutral, once until the reader was there, and through what may go wrong."""

from typing import Any

import pytest

from consulta.core import table
from consulta.core.bus import Event
from consulta.core.identity import Principal
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.notifications import claims
from consulta.people import messages
from consulta.people.records import MEMBER, PATIENT
from consulta.people.schema.threads import MessageIn, ReadIn, ThreadIn
from consulta.people.thread_records import THREAD, ThreadItem
from tests.integration.test_notify import APP, HELENA, INES, Post, post  # noqa: F401  # a fixture

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over

SECRET = "I have not slept since Tuesday"


class Talk:
    """One thread of a post's patient, and its events."""

    def __init__(self, post: Post, expert: str | None) -> None:
        self.post, self.tenant = post, Tenant(post.world.practice)
        self.patient = post.world.caller(Role.PATIENT, post.patient)
        self.expert = post.world.caller(Role.EXPERT, post.expert)
        body = ThreadIn(expert_id=expert, text=SECRET)
        self.thread = messages.open_thread(self.patient, body, None).id
        self.changed()

    @property
    def item(self) -> ThreadItem:
        found = table.get(ThreadItem, self.tenant.item(THREAD, self.thread))
        assert found
        return found

    def changed(self) -> None:
        version = int(self.item.version)
        action: Any = "created" if version == 1 else "changed"
        self.post.queued.append(Event(self.tenant.practice, THREAD, self.thread, version, action))

    def send(self, by: Principal) -> str:
        message = messages.send(by, self.thread, MessageIn(text=SECRET), None)
        self.changed()
        return message.id

    def read(self, by: Principal) -> None:
        messages.mark_read(by, self.thread, ReadIn(up_to=self.item.last_message_id))
        self.changed()


@pytest.fixture
def talk(post: Post) -> Talk:
    return Talk(post, post.expert)


def test_the_reader_is_told_once_until_they_were_there(post: Post, talk: Talk) -> None:
    (mail,) = post.settle()
    assert (mail.to, mail.subject) == ([HELENA], "Há uma mensagem à sua espera")
    assert f"{APP}/messages/{talk.thread}" in mail.text
    for private in (SECRET, "Carvalho", "Duarte"):
        assert private not in mail.text + mail.subject
    talk.send(talk.patient)
    assert post.settle() == []
    talk.read(talk.expert)
    assert post.settle() == []
    talk.send(talk.expert)
    (mail,) = post.settle()
    assert (mail.to, mail.subject) == ([INES], "Tem uma mensagem nova")
    assert SECRET not in mail.text
    talk.send(talk.patient)
    (mail,) = post.settle()
    assert mail.to == [HELENA]
    assert post.history(talk.item) == {
        "expert_message#0": ("sent", None),
        "expert_message#2": ("sent", None),
        "message#0": ("sent", None),
    }


def test_what_was_read_before_the_event_came_is_not_told(post: Post, talk: Talk) -> None:
    talk.read(talk.expert)
    assert post.settle() == []


def test_events_may_come_twice_and_in_any_order(post: Post, talk: Talk) -> None:
    talk.send(talk.patient)
    events = [*post.queued, *reversed(post.queued)]
    post.queued.clear()
    assert post.deliver(*events) == []
    assert [mail.to for mail in post.mails()] == [[HELENA]]


def test_who_may_answer_for_the_practice_is_told(post: Post) -> None:
    for name, role in (("Olga Ruiz", "owner"), ("Bia Melo", "billing"), ("Vera Luz", "viewer")):
        expert = post.world.expert(name)
        address = f"{role}@example.com"
        post.member(expert, name, address)
        raw = table.get_raw(post.tenant.item("EXPERT", expert))
        assert raw
        post.edit(MEMBER, raw["member_id"]["S"], role=role, person_id=f"person-{role}")
    talk = Talk(post, None)
    (mail,) = post.settle()
    assert (mail.to, mail.subject) == (["owner@example.com"], "Uma mensagem para o consultório")
    talk.send(talk.patient)
    assert post.settle() == []
    talk.send(post.world.owner)
    (mail,) = post.settle()
    assert mail.to == [INES]


def test_nobody_writes_to_who_has_no_address_or_is_gone(post: Post, talk: Talk) -> None:
    post.settle()
    post.edit(PATIENT, post.patient, email="")
    talk.send(talk.expert)
    assert post.settle() == []
    assert post.history(talk.item)["message#0"] == ("skipped", claims.NO_ADDRESS)
    table.transact([table.update(talk.item.key, set_={"ended_at": "2026-11-21T10:00:00.000Z"})])
    talk.changed()
    assert post.settle() == []


def test_a_dead_senders_notice_is_sent_by_the_next(post: Post, talk: Talk) -> None:
    due = claims.Due(claims.Kind.EXPERT_MESSAGE, "0")
    taken = claims.take(talk.item, due, None, post.world.owner.actor)
    assert taken
    assert post.deliver(*post.queued) == ["message-0"]
    table.transact([table.update(taken.key, set_={"claimed_until": "2026-01-01T10:00:00.000Z"})])
    assert [mail.to for mail in post.settle()] == [[HELENA]]
