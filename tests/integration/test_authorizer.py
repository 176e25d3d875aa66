"""The authorizer on moto's DynamoDB: what it reads for a token or key, and what comes of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from consulta.core import keys, table
from consulta.core.errors import MfaRequired
from consulta.core.identity import Membership, authorizer_context, principal_of
from consulta.core.item import Actor
from consulta.core.keys import Tenant, all_practices
from consulta.core.permissions import GRANTS, Role
from consulta.core.time import now, to_text
from consulta.people import memberships, session_rows, tokens
from consulta.people.authorization import Memory, context_of
from consulta.people.credentials import NewKey, checksum, key_id
from consulta.people.policy import default_policy
from consulta.people.records import PRACTICE, PracticeItem
from consulta.people.tokens import Claims
from tests.faults import Faults
from tests.unit.people.calling import MEMBER, call
from tests.unit.people.calling import OTHER_PRACTICE as OTHER_ID
from tests.unit.people.calling import PRACTICE as PRACTICE_ID

PERSON, SESSION = "person-1", "session-1"
CREATE = {"name": "Calendar", "permissions": ["patients:read", "appointments:read"]}


@pytest.fixture
def faults(tables: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Counts the calls; a token is good for its person."""
    expires_at = int(time.time()) + 900
    monkeypatch.setattr(
        tokens, "verify", lambda token: Claims(token, False, expires_at, SESSION, "")
    )
    with Faults(tables) as made:
        yield made


def make_practice(practice_id: str = PRACTICE_ID, **security: bool) -> None:
    item = PracticeItem.create(
        Tenant(practice_id).item(PRACTICE, practice_id),
        PRACTICE,
        Actor("test", "test"),
        name="Clínica Aurora",
        zone="Europe/Madrid",
        currency="EUR",
        country="ES",
        commission_bps=1000,
        policy=default_policy("EUR"),
        l1pk=all_practices(),
        l1sk=practice_id,
    )
    rules = [table.update(item.key, set_={"security": PracticeItem.policy.serialize(security)})]
    table.transact([table.put_new(item)])
    if security:
        table.transact(rules)


def join(role: Role, practice: str = PRACTICE_ID, subject: str = "", **more: str) -> None:
    table.transact([memberships.put(PERSON, Membership(practice, role, MEMBER, subject))])
    if more:
        table.transact([table.update(keys.membership(PERSON, practice), set_=dict(more))])


def begin_session(session: str = SESSION, **more: Any) -> None:
    values = {"entity": "SESSION", "expires_at": int(time.time()) + 3600, "mfa": False} | more
    table.transact([table.put_values(keys.session(PERSON, session), values)])


def make_role(*permissions: str, role_id: str = "role_1") -> None:
    row = Tenant(PRACTICE_ID).item("ROLE", role_id)
    table.transact([table.put_values(row, {"permissions": list(permissions)})])


@dataclass(frozen=True)
class Reads:
    """Calls of the table by kind."""

    query: int = 0
    batch: int = 0
    get: int = 0


def reads(faults: Faults) -> Reads:
    calls = faults.calls
    found = Reads(calls["Query"], calls["BatchGetItem"], calls["GetItem"])
    assert sum(calls.values()) == found.query + found.batch + found.get
    return found


def asked(token: str = PERSON) -> dict[str, str]:
    return context_of(f"Bearer {token}", Memory())


# access tokens


def test_a_token_costs_one_query_and_one_batch(faults: Faults) -> None:
    for practice in (PRACTICE_ID, OTHER_ID):
        make_practice(practice)
    join(Role.OWNER)
    join(Role.CUSTOM, OTHER_ID, role_id="role_1")
    begin_session()
    faults.calls.clear()
    context = asked()
    assert reads(faults) == Reads(query=1, batch=1)
    assert context["session"] == SESSION
    assert principal_of(context, PRACTICE_ID, "r").role is Role.OWNER
    # The role is another practice's: there it is not.
    assert principal_of(context, OTHER_ID, "r").permissions == frozenset()


def test_many_old_sessions_hide_no_membership(faults: Faults) -> None:
    make_practice()
    join(Role.VIEWER)
    for number in range(60):
        begin_session(f"0-old-{number}", ended_at=to_text(now()))
    begin_session()
    faults.calls.clear()
    assert principal_of(asked(), None, "r").role is Role.VIEWER
    assert reads(faults) == Reads(query=1, batch=1)


@pytest.mark.parametrize(
    "session",
    [
        {"session": "another-session"},
        {"ended_at": "2026-11-21T10:00:00.000Z"},
        {"expires_at": 1},
    ],
)
def test_a_token_without_a_live_session_is_refused(faults: Faults, session: Any) -> None:
    make_practice()
    join(Role.OWNER)
    begin_session(**session)
    answer = call("members", "GET", "/v1/members", context=asked())
    assert (answer.status, answer.body["detail"]) == (401, "This session has ended: sign in again")


def test_a_session_of_somebody_else_is_none(faults: Faults) -> None:
    make_practice()
    begin_session()
    assert asked("person-2") == {"problem": "ended"}


def test_a_custom_role_is_read_with_the_practice(faults: Faults) -> None:
    make_practice()
    make_role("patients:read", "practice:own")
    join(Role.CUSTOM, role_id="role_1")
    begin_session()
    faults.calls.clear()
    principal = principal_of(asked(), None, "r")
    assert (principal.role, principal.permissions) == (Role.CUSTOM, {"patients:read"})
    assert reads(faults) == Reads(query=1, batch=1)


def test_the_practice_decides_what_experts_see(faults: Faults) -> None:
    make_practice(experts_see_all=True)
    make_practice(OTHER_ID)
    for practice in (PRACTICE_ID, OTHER_ID):
        join(Role.EXPERT, practice, "exp_01JC0NS0TADEM0000000000000")
    begin_session()
    context = asked()
    assert principal_of(context, PRACTICE_ID, "r").sees_all("appointments")
    assert not principal_of(context, OTHER_ID, "r").sees_all("appointments")


def test_a_second_factor_is_asked_for_per_practice(faults: Faults) -> None:
    make_practice(mfa_required=True)
    make_practice(OTHER_ID)
    for practice in (PRACTICE_ID, OTHER_ID):
        join(Role.VIEWER, practice)
    begin_session()
    context = asked()
    for practice, status in ((PRACTICE_ID, 403), (OTHER_ID, 200)):
        headers = {"Consulta-Practice": practice}
        answer = call("members", "GET", "/v1/members", context=context, headers=headers)
        assert answer.status == status
        if status == 403:
            assert answer.body["type"] == "urn:consulta:problem:mfa-required"


@pytest.mark.parametrize(("own", "other"), [(PRACTICE_ID, OTHER_ID), (OTHER_ID, PRACTICE_ID)])
def test_single_sign_on_is_a_second_factor_in_its_practice_only(
    faults: Faults, own: str, other: str
) -> None:
    for practice in (PRACTICE_ID, OTHER_ID):
        make_practice(practice, mfa_required=True)
        join(Role.VIEWER, practice)
    begin_session(mfa_practice=own)
    context = asked()
    assert principal_of(context, own, "r").role is Role.VIEWER
    with pytest.raises(MfaRequired):
        principal_of(context, other, "r")
    # An authenticator app's code counts everywhere, also when it comes later.
    session_rows.set_mfa(PERSON, SESSION, mfa=True)
    assert principal_of(asked(), other, "r").role is Role.VIEWER


def test_who_is_deactivated_is_out(faults: Faults) -> None:
    make_practice()
    join(Role.ADMIN, deactivated_at=to_text(now()))
    begin_session()
    assert call("members", "GET", "/v1/members", context=asked()).status == 403


def test_what_changed_counts_after_a_minute_at_most(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_practice()
    join(Role.OWNER)
    begin_session()
    memory, instant = Memory(), time.time()
    monkeypatch.setattr(time, "time", lambda: instant)
    assert "person" in context_of(f"Bearer {PERSON}", memory)
    table.transact([table.update(keys.session(PERSON, SESSION), set_={"ended_at": "now"})])
    instant += 59
    assert "person" in context_of(f"Bearer {PERSON}", memory)
    instant += 2
    assert context_of(f"Bearer {PERSON}", memory) == {"problem": "ended"}


def test_a_part_that_was_not_read_is_read_again(faults: Faults) -> None:
    make_practice(mfa_required=True)
    join(Role.OWNER)
    begin_session()
    faults.next("BatchGetItem", faults.unprocessed)
    # The session came first, the practice with its rule only on asking again.
    assert '"b":"mfa"' in asked()["memberships"]
    assert faults.calls["BatchGetItem"] == 2


# API keys


def make_key(role: str = "owner", person: str = PERSON, **body: Any) -> dict[str, Any]:
    context = authorizer_context(
        person, [Membership(PRACTICE_ID, Role(role), MEMBER)], operator=False, session=SESSION
    )
    answer = call("api_keys", "POST", "/v1/api-keys", CREATE | body, context=context)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body
    return made


def test_a_key_costs_two_reads_and_gives_its_permissions(faults: Faults) -> None:
    make_practice()
    join(Role.OWNER)
    made = make_key()
    faults.calls.clear()
    context = asked(made["key"])
    assert reads(faults) == Reads(get=2)
    principal = principal_of(context, None, "r", "203.0.113.10|curl")
    assert principal.permissions == {"patients:read", "appointments:read"}
    assert (principal.person, principal.role, principal.session) == (PERSON, Role.OWNER, "")
    assert principal.actor == Actor(f"key:{made['id']}", "r", "203.0.113.10|curl")
    assert call("patients", "GET", "/v1/patients", context=context).status == 200
    assert call("members", "GET", "/v1/members", context=context).status == 403


def test_a_key_that_was_made_up_is_refused_without_a_read(faults: Faults) -> None:
    join(Role.OWNER)
    good = make_key()["key"]
    faults.calls.clear()
    for wrong in (good[:-1], good[:-1] + "~", good[:-6] + "000000", "ck_live_x", "ck_"):
        assert asked(wrong) == {"problem": "key"}
    assert reads(faults) == Reads()


def test_a_key_with_another_secret_is_refused_by_its_hash(faults: Faults) -> None:
    join(Role.OWNER)
    made, other = make_key(), NewKey.make()
    forged = other.text[:8] + made["key"][8:34] + other.text[34:-6]
    forged += checksum(forged)
    assert key_id(forged) == made["id"]
    faults.calls.clear()
    assert asked(forged) == {"problem": "key"}
    assert reads(faults) == Reads(get=1)


def test_a_key_never_does_more_than_its_member_now(faults: Faults) -> None:
    make_practice()
    join(Role.OWNER)
    made = make_key(permissions=["patients:read", "patients:write"])
    row = keys.membership(PERSON, PRACTICE_ID)
    table.transact([table.update(row, set_={"role": "viewer"})])
    assert principal_of(asked(made["key"]), None, "r").permissions == {"patients:read"}
    make_role("patients:write", role_id="role_2")
    table.transact([table.update(row, set_={"role": "custom", "role_id": "role_2"})])
    assert principal_of(asked(made["key"]), None, "r").permissions == {"patients:write"}


def test_an_experts_key_sees_what_the_practice_opens(faults: Faults) -> None:
    make_practice(experts_see_all=True, mfa_required=True)
    join(Role.EXPERT, subject="exp_01JC0NS0TADEM0000000000000")
    made = make_key("owner", permissions=["appointments:read", "appointments:all"])
    faults.calls.clear()
    principal = principal_of(asked(made["key"]), None, "r")
    assert reads(faults) == Reads(get=2, batch=1)
    assert principal.sees_all("appointments")
    # It was made in a session that the practice had let in.
    assert principal.expert == "exp_01JC0NS0TADEM0000000000000"


@pytest.mark.parametrize(
    "change",
    [
        {"deactivated_at": "2026-11-21T10:00:00.000Z"},
        # Left, and let in again: somebody new, as far as keys go.
        {"member": "mem_01JC0NS0TADEM0000000000009"},
    ],
)
def test_a_key_ends_with_its_member(faults: Faults, change: dict[str, str]) -> None:
    join(Role.OWNER)
    made = make_key()
    assert "person" in asked(made["key"])
    table.transact([table.update(keys.membership(PERSON, PRACTICE_ID), set_=dict(change))])
    assert asked(made["key"]) == {"problem": "key"}


def test_a_key_without_a_membership_is_refused(faults: Faults) -> None:
    assert asked(make_key()["key"]) == {"problem": "key"}


def test_a_key_is_in_its_own_practice_only(faults: Faults) -> None:
    for practice in (PRACTICE_ID, OTHER_ID):
        make_practice(practice)
        join(Role.OWNER, practice)
    context = asked(make_key()["key"])
    for practice, status in ((PRACTICE_ID, 200), (OTHER_ID, 404)):
        headers = {"Consulta-Practice": practice}
        answer = call("patients", "GET", "/v1/patients", context=context, headers=headers)
        assert answer.status == status


def test_a_permission_that_slipped_into_a_key_still_does_nothing(faults: Faults) -> None:
    join(Role.OWNER)
    made = make_key()
    everything = sorted(GRANTS[Role.OWNER])
    table.transact([table.update(keys.api_key(made["id"]), set_={"permissions": everything})])
    permissions = principal_of(asked(made["key"]), None, "r").permissions
    assert permissions == GRANTS[Role.OWNER] - {
        "api_keys:write",
        "members:write",
        "roles:write",
        "sso:write",
        "practice:own",
    }


def test_an_expired_key_is_refused_and_remembered_no_longer(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(Role.OWNER)
    made = make_key()
    memory, instant = Memory(), time.time() + 90 * 86_400 - 10
    monkeypatch.setattr(time, "time", lambda: instant)
    assert "person" in context_of(f"Bearer {made['key']}", memory)
    instant += 11
    assert context_of(f"Bearer {made['key']}", memory) == {"problem": "key"}
