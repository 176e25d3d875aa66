"""The authorizer's answer and its memory of a minute."""

import json
from types import SimpleNamespace

import pytest

from consulta.core.identity import Membership
from consulta.core.permissions import Role
from consulta.people import authorization, memberships, tokens
from consulta.people.authorization import LIFETIME_S, MAX_REMEMBERED, Memory
from consulta.people.tokens import BadToken, Claims, Flaw
from tests.unit.people.calling import MEMBER, PRACTICE, handler

JOINED = Membership(PRACTICE, Role.OWNER, MEMBER)


class Pool:
    """Tokens are their person's name; ``asked`` counts verifications."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 1_000_000.0
        self.expires_at = 1_000_900
        self.operator = False
        self.joined = [JOINED]

    def verify(self, token: str) -> Claims:
        self.asked += 1
        if token in ("expired", "invalid"):
            raise BadToken(Flaw(token))
        return Claims(token, self.operator, self.expires_at)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    made = Pool()
    monkeypatch.setattr(tokens, "verify", made.verify)
    monkeypatch.setattr(memberships, "of", lambda person: made.joined)
    monkeypatch.setattr(authorization, "time", SimpleNamespace(time=lambda: made.now))
    return made


def test_a_good_token_gives_ids_only(pool: Pool) -> None:
    context = authorization.context_of("Bearer person-1", Memory())
    assert set(context) == {"person", "operator", "memberships", "session", "key"}
    assert json.loads(context["memberships"]) == [
        {"p": PRACTICE, "r": "owner", "m": MEMBER, "s": ""}
    ]


@pytest.mark.parametrize(
    ("header", "problem"),
    [(None, "missing"), ("Bearer expired", "expired"), ("Bearer invalid", "invalid")],
)
def test_a_bad_token_is_marked_and_never_remembered(
    pool: Pool, header: str | None, problem: str
) -> None:
    memory = Memory()
    assert authorization.context_of(header, memory) == {"problem": problem}
    assert len(memory) == 0


def test_a_token_is_looked_at_once_a_minute(pool: Pool) -> None:
    memory = Memory()
    for _ in range(3):
        authorization.context_of("Bearer person-1", memory)
    assert pool.asked == 1
    pool.now += LIFETIME_S
    authorization.context_of("Bearer person-1", memory)
    assert pool.asked == 2


def test_no_token_is_remembered_past_its_end(pool: Pool) -> None:
    memory = Memory()
    pool.expires_at = int(pool.now) + 5
    authorization.context_of("Bearer person-1", memory)
    pool.now += 6
    authorization.context_of("Bearer person-1", memory)
    assert pool.asked == 2


def test_who_is_nobody_yet_is_asked_for_again(pool: Pool) -> None:
    memory = Memory()
    pool.joined = []
    assert authorization.context_of("Bearer person-1", memory)["memberships"] == "[]"
    pool.joined = [JOINED]
    assert PRACTICE in authorization.context_of("Bearer person-1", memory)["memberships"]


def test_an_operator_without_memberships_is_remembered(pool: Pool) -> None:
    memory = Memory()
    pool.joined, pool.operator = [], True
    assert authorization.context_of("Bearer person-1", memory)["operator"] == "1"
    assert len(memory) == 1


def test_the_memory_is_bounded_and_forgets_the_oldest(pool: Pool) -> None:
    memory = Memory()
    for number in range(MAX_REMEMBERED + 5):
        memory.put(f"token-{number}", {}, pool.expires_at)
    assert len(memory) == MAX_REMEMBERED
    assert memory.get("token-4") is None
    assert memory.get("token-5") == {}


def test_the_memory_holds_no_tokens(pool: Pool) -> None:
    memory = Memory()
    memory.put("very-secret-token", {}, pool.expires_at)
    assert "very-secret-token" not in repr(vars(memory))


@pytest.mark.parametrize("event", [{}, {"headers": None}, {"headers": {"authorization": ""}}])
def test_the_authorizer_lets_a_request_without_a_token_through_marked(event: dict) -> None:
    context = SimpleNamespace(aws_request_id="1", function_name="authorizer")
    assert handler("authorizer")(event, context) == {
        "isAuthorized": True,
        "context": {"problem": "missing"},
    }
