"""Who is signed in, and what is theirs alone: /v1/me."""

from http import HTTPStatus

from consulta.core.http import SIGNED_IN, Api, Cursor, IdempotencyKey, Limit, needs
from consulta.core.item import Actor
from consulta.people import joining, me, mfa, sessions
from consulta.people.schema import me as s

api = Api("me")


def _from() -> dict[str, str]:
    return {"origin": api.origin, "request_id": api.request_id}


def _token() -> str | None:
    return api.current_event.headers.get("authorization")


@api.get("/v1/me")
@needs(SIGNED_IN)
def get_me(practice: s.PracticeHeader = None) -> s.MeOut:
    """Who is signed in, with memberships and permissions."""
    return api.ok(me.me(api.account, practice))


@api.post("/v1/me/memberships")
@needs(SIGNED_IN)
def join(body: s.JoinIn, key: IdempotencyKey = None) -> s.MembershipOut:
    """Become a patient of a practice that lets people in by themselves."""
    by = Actor(api.account.person, **_from())
    return api.ok(joining.join(api.account, body, key, by), status=HTTPStatus.CREATED)


@api.get("/v1/me/sessions")
@needs(SIGNED_IN)
def list_sessions(limit: Limit = 20, cursor: Cursor = None) -> s.DevicePage:
    """The devices that the caller is signed in on."""
    return api.ok(sessions.listing(api.account, limit, cursor))


@api.delete("/v1/me/sessions/<session_id>")
@needs(SIGNED_IN)
def end_session(session_id: s.SessionId) -> None:
    """Sign one device out; within a minute its access token works no more."""
    sessions.end_one(api.account, session_id, **_from())
    return api.no_content()


@api.post("/v1/me/mfa")
@needs(SIGNED_IN)
def start_mfa() -> s.MfaSecretOut:
    """A secret for an authenticator app; it is on once a code confirms it."""
    return api.ok(mfa.start(api.account, _token()), status=HTTPStatus.CREATED)


@api.post("/v1/me/mfa/confirm")
@needs(SIGNED_IN)
def confirm_mfa(body: s.MfaCodeIn) -> None:
    """Turn the second factor on by a first code."""
    mfa.confirm(api.account, _token(), body.code, **_from())
    return api.no_content()


@api.delete("/v1/me/mfa")
@needs(SIGNED_IN)
def remove_mfa(code: s.CodeHeader) -> None:
    """Turn the second factor off, by a current code."""
    mfa.remove(api.account, _token(), code, **_from())
    return api.no_content()


lambda_handler = api.handler
