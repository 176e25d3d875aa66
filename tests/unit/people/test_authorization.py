"""The authorizer's answer and its memory of a minute."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.errors import Forbidden, MfaRequired, Unauthorized
from consulta.core.identity import account_of, principal_of, refuse_key
from consulta.core.permissions import GRANTS, Role
from consulta.people import authorization, memberships, tokens
from consulta.people.authorization import LIFETIME_S, MAX_REMEMBERED, Memory
from consulta.people.memberships import Row
from consulta.people.tokens import BadToken, Claims, Flaw
from tests.unit.people.calling import MEMBER, PRACTICE, handler

JOINED = Row(PRACTICE, Role.OWNER, MEMBER, subject="", role_id="", active=True)


class Pool:
    """Tokens are their person's name; ``asked`` counts verifications.

    What the reads would find: ``joined``, ``session`` and ``security``, the practice's rules.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.now = 1_000_000.0
        self.expires_at = 1_000_900
        self.operator = False
        self.client = ""
        self.joined = [JOINED]
        self.session: dict[str, Any] | None = {"expires_at": 2_000_000, "mfa": False}
        self.security: dict[str, bool] = {}

    def verify(self, token: str) -> Claims:
        self.asked += 1
        if token in ("expired", "invalid"):
            raise BadToken(Flaw(token))
        return Claims(token, self.operator, self.expires_at, "session-1", self.client)

    def read(self, wanted: list[keys.Key]) -> dict[keys.Key, table.Raw]:
        """The batch: the session first, then what the memberships need."""
        found = {JOINED.practice_key: table.to_raw({"security": json.dumps(self.security)})}
        assert wanted[0].sk == "SESSION#session-1"
        if self.session is not None:
            found[wanted[0]] = table.to_raw(self.session)
        return {key: raw for key, raw in found.items() if key in wanted}


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    made = Pool()
    monkeypatch.setattr(tokens, "verify", made.verify)
    monkeypatch.setattr(memberships, "rows", lambda person: made.joined)
    monkeypatch.setattr(table, "batch_get_raw", made.read)
    monkeypatch.setattr(authorization, "time", SimpleNamespace(time=lambda: made.now))
    return made


def test_a_good_token_gives_ids_only(pool: Pool) -> None:
    context = authorization.context_of("Bearer person-1", Memory())
    assert set(context) == {"person", "operator", "memberships", "session", "key"}
    assert json.loads(context["memberships"]) == [
        {"p": PRACTICE, "r": "owner", "m": MEMBER, "s": ""}
    ]
    assert (context["session"], context["key"]) == ("session-1", "")


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (None, "missing"),
        ("Bearer expired", "expired"),
        ("Bearer invalid", "invalid"),
        ("Basic person-1", "invalid"),
        ("Bearer ck_test_nothing", "key"),
    ],
)
def test_a_bad_token_is_marked_and_never_remembered(
    pool: Pool, header: str | None, problem: str
) -> None:
    memory = Memory()
    assert authorization.context_of(header, memory) == {"problem": problem}
    assert len(memory) == 0
    with pytest.raises(Unauthorized):
        account_of({"problem": problem})


@pytest.mark.parametrize(
    "session",
    [
        None,
        {"expires_at": 2_000_000, "ended_at": "2026-11-21T10:00:00.000Z"},
        {"expires_at": 1_000_000},
        {"expires_at": 999_999},
    ],
)
def test_a_session_that_is_over_is_over_for_every_token_of_it(
    pool: Pool, session: dict[str, Any] | None
) -> None:
    memory, pool.session = Memory(), session
    assert authorization.context_of("Bearer person-1", memory) == {"problem": "ended"}
    assert len(memory) == 0


@pytest.mark.parametrize(
    ("of_token", "of_session", "is_good"),
    [
        ("", None, True),
        ("client-sso", "client-sso", True),
        ("client-sso", "client-other", False),
        ("client-sso", None, False),
    ],
)
def test_another_app_clients_token_is_good_for_its_own_session_only(
    pool: Pool, of_token: str, of_session: str | None, is_good: bool
) -> None:
    pool.client = of_token
    pool.session = {"expires_at": 2_000_000, "client_id": of_session}
    context = authorization.context_of("Bearer person-1", Memory())
    assert context.get("problem") == (None if is_good else "invalid")


def test_a_practice_may_ask_for_a_second_factor(pool: Pool) -> None:
    memory, pool.security = Memory(), {"mfa_required": True}
    context = authorization.context_of("Bearer person-1", memory)
    with pytest.raises(MfaRequired):
        principal_of(context, None, "request-1")
    # Not remembered: they may come back with one in a moment.
    pool.session = {"expires_at": 2_000_000, "mfa": True}
    context = authorization.context_of("Bearer person-1", memory)
    assert principal_of(context, None, "request-1").role is Role.OWNER
    assert len(memory) == 1


def test_who_was_deactivated_is_in_no_practice(pool: Pool) -> None:
    memory = Memory()
    pool.joined = [Row(PRACTICE, Role.OWNER, MEMBER, subject="", role_id="", active=False)]
    context = authorization.context_of("Bearer person-1", memory)
    with pytest.raises(Forbidden):
        principal_of(context, None, "request-1")
    assert len(memory) == 0


def test_no_session_is_remembered_past_its_end(pool: Pool) -> None:
    memory, pool.session = Memory(), {"expires_at": int(pool.now) + 5}
    authorization.context_of("Bearer person-1", memory)
    pool.now += 6
    assert authorization.context_of("Bearer person-1", memory) == {"problem": "ended"}


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


# what the practice says of a membership


def row(role: Role, role_id: str = "") -> Row:
    return Row(PRACTICE, role, MEMBER, subject="", role_id=role_id, active=True)


def rules(**security: bool) -> dict[keys.Key, table.Raw]:
    raw = table.to_raw({"security": json.dumps(security)})
    return {row(Role.OWNER).practice_key: raw}


def test_an_open_practice_shows_its_experts_every_appointment() -> None:
    expert = row(Role.EXPERT)
    opened = expert.resolved(rules(experts_see_all=True), mfa=False).permissions
    assert opened == GRANTS[Role.EXPERT] | {"appointments:all"}
    assert expert.resolved(rules(experts_see_all=False), mfa=False).granted is None
    assert expert.resolved({}, mfa=False).granted is None


@pytest.mark.parametrize("role", [Role.OWNER, Role.BILLING, Role.VIEWER, Role.PATIENT])
def test_an_open_practice_changes_nothing_for_the_others(role: Role) -> None:
    assert row(role).resolved(rules(experts_see_all=True), mfa=False).granted is None


def test_a_custom_role_grants_what_it_lists_and_nothing_of_an_owners() -> None:
    custom = row(Role.CUSTOM, "role_1")
    assert custom.role_key in custom.needed
    listed = ["patients:read", "practice:own", "practices:write", "made:up"]
    found = {custom.role_key: table.to_raw({"permissions": listed})}
    assert custom.resolved(found, mfa=False).permissions == {"patients:read"}


@pytest.mark.parametrize(
    "role_item",
    [None, {}, {"permissions": []}, {"permissions": ["patients:read"], "deleted_at": "2026"}],
)
def test_a_custom_role_that_is_gone_grants_nothing(role_item: dict[str, Any] | None) -> None:
    custom = row(Role.CUSTOM, "role_1")
    assert custom.role_key
    found = {} if role_item is None else {custom.role_key: table.to_raw(role_item)}
    assert custom.resolved(found, mfa=False).permissions == frozenset()
    assert row(Role.CUSTOM).resolved({}, mfa=False).permissions == frozenset()


@pytest.mark.parametrize(
    ("required", "mfa", "blocked"),
    [(True, False, "mfa"), (True, True, ""), (False, False, ""), (False, True, "")],
)
def test_a_second_factor_is_wanted_where_it_is_required(
    required: bool, mfa: bool, blocked: str
) -> None:
    assert row(Role.VIEWER).resolved(rules(mfa_required=required), mfa=mfa).blocked == blocked


def test_what_is_a_persons_own_is_not_a_keys() -> None:
    context = {"person": "person-1", "memberships": "[]", "key": "key_1"}
    with pytest.raises(Forbidden):
        refuse_key(account_of(context))
    refuse_key(account_of(context | {"key": "", "session": "session-1"}))
