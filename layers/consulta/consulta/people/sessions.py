"""Signing in, staying signed in and signing out, by the user pool and a row per session.

The access token goes to the app, the refresh token only into a cookie that scripts cannot read.
What a session's row says comes before what Cognito says: ``session_rows``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from consulta.core import trail
from consulta.core.cursor import decode, encode
from consulta.core.errors import NotFound, TooManyRequests, Unauthorized
from consulta.core.identity import Account, refuse_key
from consulta.core.time import from_epoch, now
from consulta.people import accounts, cognito, memberships, session_rows
from consulta.people.schema.me import DeviceOut, DevicePage
from consulta.people.session_rows import MAX_SIBLINGS, Row, Standing, digest

NEW_PASSWORD, MFA = "NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA"
_OFFERED = {NEW_PASSWORD: "new_password_required", MFA: "mfa_required"}

# One answer for all of them: which addresses have accounts is nobody's business.
_WRONG = {
    "NotAuthorizedException",
    "UserNotFoundException",
    "UserNotConfirmedException",
    "PasswordResetRequiredException",
    "InvalidParameterException",
    "CodeMismatchException",
    "ExpiredCodeException",
}
_REUSED = "RefreshTokenReuseException"
_ENDED = {
    _REUSED,
    "NotAuthorizedException",
    "InvalidParameterException",
    "UserNotFoundException",
    # The app client: a practice's single sign-on was removed.
    "ResourceNotFoundException",
}
SESSION_ENDED = "The session has ended: sign in again"
_WRONG_PASSWORD = "The email or the password is wrong"  # noqa: S105  # a sentence
_WRONG_ANSWER = "The code is wrong, or the sign-in has expired: sign in again"
# Nothing to revoke, or nothing that is ours.
_NOTHING_TO_REVOKE = _ENDED | {"UnauthorizedException", "UnsupportedTokenTypeException"}
_PART = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who is signed in; ``expires_in`` seconds is the access token's life.

    ``refresh_token`` is as the cookie has it, with the ids of ``Ticket`` before it.
    """

    access_token: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The password is right, but there is a step to do first. ``session`` lives three minutes."""

    session: str
    challenge: str = "new_password_required"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The cookie's value: whose session, and its refresh token."""

    person: str
    session: str
    token: str

    def __str__(self) -> str:
        return f"{self.person}.{self.session}.{self.token}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The parts of a cookie's value; None where it is none of ours."""
        person, _, rest = text.partition(".")
        session, _, token = rest.partition(".")
        if not (_PART.fullmatch(person) and _PART.fullmatch(session) and token):
            return None
        return cls(person, session, token)


def sign_in(email: str, password: str, *, origin: str, request_id: str) -> SignedIn | Challenge:
    """Sign in with a password. Raises Unauthorized, TooManyRequests."""
    answer = _ask(
        "initiate_auth",
        _WRONG_PASSWORD,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": password},
    )
    return _entered(answer, mfa=False, origin=origin, request_id=request_id)


def set_new_password(
    email: str, session: str, new_password: str, *, origin: str, request_id: str
) -> SignedIn | Challenge:
    """Choose a password at the first sign-in.

    Raises Unauthorized, TooManyRequests, Invalid for a refused password.
    """
    answer = _ask(
        "respond_to_auth_challenge",
        _WRONG_PASSWORD,
        ChallengeName=NEW_PASSWORD,
        Session=session,
        ChallengeResponses={"USERNAME": email, "NEW_PASSWORD": new_password},
    )
    return _entered(answer, mfa=False, origin=origin, request_id=request_id)


def answer_mfa(
    email: str, session: str, code: str, *, origin: str, request_id: str
) -> SignedIn | Challenge:
    """Give the authenticator app's code. Raises Unauthorized, TooManyRequests."""
    answer = _ask(
        "respond_to_auth_challenge",
        _WRONG_ANSWER,
        ChallengeName=MFA,
        Session=session,
        ChallengeResponses={"USERNAME": email, "SOFTWARE_TOKEN_MFA_CODE": code},
    )
    return _entered(answer, mfa=True, origin=origin, request_id=request_id)


def begin(
    result: dict[str, Any], *, mfa: bool, origin: str, request_id: str, mfa_practice: str = ""
) -> SignedIn:
    """Open the session of tokens that Cognito has just given, and tell the practices' audit.

    ``result`` is an ``AuthenticationResult`` with its RefreshToken; ``mfa`` whether a second factor
    was shown; ``mfa_practice`` the one practice where it counts as one, by single sign-on: what a
    practice's own provider vouches for binds no other. ``origin`` is ``address|user agent``.
    """
    claims = _claims(result["AccessToken"])
    ticket = Ticket(claims["sub"], claims["origin_jti"], result["RefreshToken"])
    session_rows.open_row(
        ticket.person,
        ticket.session,
        claims["client_id"],
        ticket.token,
        mfa=mfa,
        mfa_practice=mfa_practice,
        origin=origin,
    )
    tell(
        "sign_in",
        ticket.person,
        ticket.session,
        origin=origin,
        request_id=request_id,
        facts=lambda practice: {
            "second_factor": "yes" if mfa or practice == mfa_practice else "no"
        },
    )
    return SignedIn(result["AccessToken"], int(result["ExpiresIn"]), str(ticket))


def refresh(cookie: str, *, origin: str, request_id: str) -> SignedIn:
    """New tokens, and the next cookie. Raises Unauthorized where the session has ended.

    The row is asked before Cognito is. By GetTokensFromRefreshToken: with rotation on, Cognito
    takes no other call. Where the pool does not rotate, the token that was sent stays good and is
    handed on.
    """
    ticket = Ticket.parse(cookie)
    row = session_rows.read(ticket.person, ticket.session) if ticket else None
    if ticket is None or row is None or row.ended_at is not None:
        raise Unauthorized(SESSION_ENDED)
    if not row.lives(now()):
        _close(row, ticket.token)
        raise Unauthorized(SESSION_ENDED)
    standing = row.standing(digest(ticket.token), now())
    if standing is Standing.REUSED:
        raise _reused(row, ticket.token, origin, request_id)
    if standing is Standing.GRACE and len(row.siblings) >= MAX_SIBLINGS:
        raise TooManyRequests
    try:
        answer = cognito.call(
            "get_tokens_from_refresh_token", ClientId=row.client_id, RefreshToken=ticket.token
        )
    except cognito.Refused as refused:
        if refused.code not in _ENDED:
            raise
        if refused.code != _REUSED:
            session_rows.end(row.person, row.session)
        elif standing is Standing.CURRENT:
            # Used at Cognito, past us: by a thief, who needs nothing but the token there.
            raise _reused(row, ticket.token, origin, request_id) from None
        # Else Cognito's ten seconds, which began before ours, are over: a late repetition.
        raise Unauthorized(SESSION_ENDED) from None
    result = answer["AuthenticationResult"]
    given = result.get("RefreshToken", ticket.token)
    _remember(row, ticket, given)
    return SignedIn(
        result["AccessToken"],
        int(result["ExpiresIn"]),
        str(Ticket(row.person, row.session, given)),
    )


def _remember(row: Row, ticket: Ticket, given: str) -> None:
    """Write the rotation; of two at once each finds its place, the second among the siblings.

    Whether the token was good was decided when it came; that another was faster makes it no reuse.
    """
    presented, new = digest(ticket.token), digest(given)
    while not session_rows.rotated(row, presented, new):
        again = session_rows.read(row.person, row.session)
        if again is None or again.ended_at is not None:
            _revoke(row.client_id, given)
            raise Unauthorized(SESSION_ENDED)
        if len(again.siblings) >= MAX_SIBLINGS:
            raise TooManyRequests
        row = again


def _reused(row: Row, token: str, origin: str, request_id: str) -> Unauthorized:
    """End a session whose token came a second time; the one or the other holder is a thief."""
    if _close(row, token):
        tell("session_reuse", row.person, row.session, origin=origin, request_id=request_id)
    return Unauthorized(SESSION_ENDED)


def sign_out(cookie: str, *, origin: str, request_id: str) -> None:
    """End the cookie's session, here and at Cognito; whatever it is, it is gone then.

    The authorizer remembers a good token for at most a minute.
    """
    ticket = Ticket.parse(cookie)
    row = session_rows.read(ticket.person, ticket.session) if ticket else None
    if ticket is None or row is None:
        return
    if _close(row, ticket.token):
        tell("sign_out", row.person, row.session, origin=origin, request_id=request_id)


def sign_out_everywhere(account: Account, *, origin: str, request_id: str) -> None:
    """End every session of the caller, on all devices. Raises Forbidden for an API key."""
    refuse_key(account)
    end_all(account.person)
    tell("sign_out_all", account.person, account.session, origin=origin, request_id=request_id)


def end_all(person: str) -> None:
    """End every session of a person. Our rows first: they count at once, whatever comes then."""
    session_rows.end_all(person)
    try:
        cognito.call(
            "admin_user_global_sign_out",
            UserPoolId=cognito.pool().user_pool_id,
            Username=person,
        )
    except cognito.Refused as refused:
        if refused.code != "UserNotFoundException":
            raise


def listing(account: Account, limit: int, cursor: str | None) -> DevicePage:
    """The caller's sessions that live, in no particular order.

    Ended ones are filtered out of what was read, so a page may be short; the cursor goes on.
    """
    refuse_key(account)
    scope = (account.person, "/v1/me/sessions")
    page = session_rows.page(account.person, limit, decode(cursor, *scope))
    rows = [Row.read(raw) for raw in page.items]
    return DevicePage(
        items=[_out(row, account) for row in rows if row.lives(now())],
        next_cursor=encode(page.last_key, *scope),
    )


def end_one(account: Account, session: str, *, origin: str, request_id: str) -> None:
    """End one of the caller's sessions, this one or another device's. Raises NotFound.

    Its refresh token is not known here, so Cognito is not told: the row is what refreshing and the
    authorizer go by.
    """
    refuse_key(account)
    if not session_rows.end(account.person, session):
        raise NotFound
    tell("sign_out", account.person, session, origin=origin, request_id=request_id)


def tell(
    kind: str,
    person: str,
    session: str,
    *,
    origin: str,
    request_id: str,
    facts: Callable[[str], dict[str, str]] = lambda _: {},
) -> None:
    """Record what happened to a person's session in the audit of every practice they are in.

    ``facts`` gives what else there is to say, by the practice's id.

    The session's id stays with its person: who knows it could end the session by a made-up cookie.
    So the audit has a digest, enough to tell sessions apart.
    """
    known = {"session": digest(session)[:16]} if session else {}
    for membership in memberships.of(person):
        trail.record(
            kind,
            membership.practice,
            by=person,
            request_id=request_id,
            origin=origin,
            facts=known | facts(membership.practice),
        )


def _ask(operation: str, wrong: str, **request: Any) -> dict[str, Any]:
    try:
        return cognito.call(operation, ClientId=cognito.pool().client_id, **request)
    except cognito.Refused as refused:
        accounts.refuse_password(refused, "body.new_password")
        if refused.code in _WRONG:
            raise Unauthorized(wrong) from None
        raise


def _entered(
    answer: dict[str, Any], *, mfa: bool, origin: str, request_id: str
) -> SignedIn | Challenge:
    challenge = answer.get("ChallengeName")
    if challenge in _OFFERED:
        return Challenge(answer["Session"], _OFFERED[challenge])
    if challenge:
        raise Unauthorized("This account asks for a sign-in step that is not offered here")
    return begin(answer["AuthenticationResult"], mfa=mfa, origin=origin, request_id=request_id)


def _claims(access_token: str) -> dict[str, Any]:
    import jwt  # noqa: PLC0415  # 76 ms, and only signing in needs it

    # Not verified: it came from Cognito itself, over TLS, in the answer to our own call. The
    # signature tells who made a token that somebody brings; nobody brought this one.
    claims: dict[str, Any] = jwt.decode(access_token, options={"verify_signature": False})
    return claims


def _close(row: Row, token: str) -> bool:
    """End a session here and, by one of its tokens, at Cognito; False where it had ended."""
    ended = session_rows.end(row.person, row.session)
    _revoke(row.client_id, token)
    return ended


def _revoke(client_id: str, token: str) -> None:
    try:
        cognito.call("revoke_token", ClientId=client_id, Token=token)
    except cognito.Refused as refused:
        if refused.code not in _NOTHING_TO_REVOKE:
            raise


def _out(row: Row, account: Account) -> DeviceOut:
    return DeviceOut(
        id=row.session,
        current=row.session == account.session,
        address=row.address,
        user_agent=row.user_agent,
        mfa=row.mfa,
        mfa_practice_id=row.mfa_practice or None,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=from_epoch(row.expires_at),
    )
