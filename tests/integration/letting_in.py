"""A practice whose members come by invitation: Cognito scripted by the Stubber, SES emulated."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.stub import Stubber
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from consulta.core import aws, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.people import cognito
from consulta.people.records import PRACTICE
from tests.unit.people.calling import Answer, call, signed_in

POOL_ID = "us-east-1_pool"
OPERATOR = signed_in("operator", person="operator-1")
# The first password of an account that an operator makes, and one that somebody chose.
TEMPORARY, CHOSEN = "Temporary-pass-1", "Chosen-pass-2026!"
SENDER, APP = "no-reply@consulta.example", "https://app.consulta.example"
PRACTICE_BODY = {
    "name": "Clínica Aurora",
    "zone": "Asia/Tokyo",
    "currency": "EUR",
    "country": "ES",
    "commission_percent": "12.5",
    "owner": {"email": "Olga@Example.com", "name": "Olga", "temporary_password": TEMPORARY},
}
EVA = {"email": "eva@example.com", "name": "Eva", "role": "viewer"}


class Pool:
    """What Cognito is expected to be asked, in this order, and its answers."""

    def __init__(self, stubber: Stubber) -> None:
        self.stubber = stubber

    def makes(self, email: str, sub: str, password: str = TEMPORARY) -> None:
        self.stubber.add_response(
            "admin_create_user",
            {"User": {"Attributes": [{"Name": "sub", "Value": sub}]}},
            {
                "UserPoolId": POOL_ID,
                "Username": email,
                "UserAttributes": [
                    {"Name": "email", "Value": email},
                    {"Name": "email_verified", "Value": "true"},
                ],
                "TemporaryPassword": password,
                "MessageAction": "SUPPRESS",
            },
        )

    def knows(self, email: str, sub: str, status: str = "CONFIRMED", asked: str = "") -> None:
        """The account, asked for by its address (or ``asked``)."""
        self.stubber.add_response(
            "admin_get_user",
            {
                "Username": sub,
                "UserStatus": status,
                "UserAttributes": [
                    {"Name": "sub", "Value": sub},
                    {"Name": "email", "Value": email},
                    {"Name": "email_verified", "Value": "true"},
                ],
            },
            {"UserPoolId": POOL_ID, "Username": asked or email},
        )

    def knows_not(self) -> None:
        self.stubber.add_client_error("admin_get_user", "UserNotFoundException")

    def is_taken(self) -> None:
        self.stubber.add_client_error("admin_create_user", "UsernameExistsException")

    def sets_password(
        self, email: str, password: str = TEMPORARY, *, permanent: bool = False
    ) -> None:
        self.stubber.add_response(
            "admin_set_user_password",
            {},
            {
                "UserPoolId": POOL_ID,
                "Username": email,
                "Password": password,
                "Permanent": permanent,
            },
        )

    def admits(self, email: str, sub: str) -> None:
        """A new account with the password that was chosen."""
        self.knows_not()
        self.makes(email, sub, CHOSEN)
        self.sets_password(email, CHOSEN, permanent=True)


def mails() -> list[Any]:
    """What SES was given; each has ``destinations``, ``subject`` and ``body``."""
    return list(get_backend("ses")[DEFAULT_ACCOUNT_ID]["us-east-1"].sent_messages)


def last_token() -> str:
    """The token of the link in the last mail."""
    found = re.search(rf"{re.escape(APP)}/accept\?token=(\S+)", mails()[-1].body)
    assert found
    return found[1]


@contextmanager
def scripted(environment: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Cognito by script and a verified sender; all that was scripted must have been asked."""
    environment.setenv("USER_POOL_ID", POOL_ID)
    environment.setenv("CLIENT_ID", "client-1")
    environment.setenv("SENDER_EMAIL", SENDER)
    environment.setenv("APP_URL", APP)
    aws.client("ses").verify_email_identity(EmailAddress=SENDER)
    with Stubber(aws.client("cognito-idp", cognito.READ_TIMEOUT_S)) as stubber:
        yield Pool(stubber)
        stubber.assert_no_pending_responses()


@dataclass
class Desk:
    """One practice and its people, through the functions."""

    pool: Pool
    practice: dict[str, Any]
    owner: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.owner = self.as_(Role.OWNER, self.practice["owner_member_id"], "owner-1")

    @property
    def tenant(self) -> Tenant:
        return Tenant(self.practice["id"])

    def as_(
        self,
        role: Role,
        member: str,
        person: str = "person-9",
        granted: set[str] | None = None,
    ) -> dict[str, str]:
        """What the authorizer would say of a member."""
        allowed = frozenset(granted) if granted is not None else None
        joined = Membership(self.practice["id"], role, member, granted=allowed)
        return authorizer_context(person, [joined], operator=False)

    def invite(self, context: dict[str, str] | None = None, **changes: Any) -> Answer:
        """POST /v1/invitations; ``role_id=…`` replaces the role."""
        body = EVA | changes
        if "role_id" in changes:
            body.pop("role")
        return call("invitations", "POST", "/v1/invitations", body, context=context or self.owner)

    def accept(self, token: str, **body: Any) -> Answer:
        """POST /v1/invitations/accept without an account."""
        asked = {"token": token, "password": CHOSEN, **body}
        return call("invitations", "POST", "/v1/invitations/accept", asked)

    def let_in(self, person: str = "person-2", **changes: Any) -> dict[str, Any]:
        """Invite and accept; gives the member."""
        invited = self.invite(**changes)
        assert invited.status == 201, invited.body
        self.pool.admits(invited.body["email"], person)
        accepted = self.accept(last_token())
        assert accepted.status == 201, accepted.body
        return self.member(accepted.body["member_id"])

    def member(self, member_id: str) -> dict[str, Any]:
        answer = call("members", "GET", f"/v1/members/{member_id}", context=self.owner)
        assert answer.status == 200
        return dict(answer.body)

    def members(
        self,
        method: str,
        member_id: str,
        suffix: str = "",
        body: Any = None,
        context: dict[str, str] | None = None,
        **request: Any,
    ) -> Answer:
        """Call /v1/members/{id}…, as the owner if nobody is named."""
        path = f"/v1/members/{member_id}{suffix}"
        return call("members", method, path, body, context=context or self.owner, **request)

    def owners(self) -> int:
        """How many owners the practice's row counts."""
        raw = table.get_raw(self.tenant.sub(PRACTICE, self.tenant.practice, "OWNERS"))
        assert raw
        return int(raw["owners"]["N"])


def open_practice(pool: Pool, person: str = "owner-1") -> dict[str, Any]:
    """A practice made by an operator."""
    pool.makes("olga@example.com", person)
    answer = call("practices", "POST", "/v1/practices", PRACTICE_BODY, context=OPERATOR)
    assert answer.status == 201
    return dict(answer.body)
