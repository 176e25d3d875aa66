"""Signing in, staying signed in and signing out, by the user pool.

The access token goes to the app, the refresh token only into a cookie that scripts cannot read.
"""

from dataclasses import dataclass
from typing import Any

from consulta.core.errors import Invalid, Unauthorized
from consulta.people import cognito

FIRST_SIGN_IN = "NEW_PASSWORD_REQUIRED"

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
_ENDED = {
    "NotAuthorizedException",
    "RefreshTokenReuseException",
    "InvalidParameterException",
    "UserNotFoundException",
}
_SESSION_ENDED = "The session has ended: sign in again"
# Nothing to revoke, or nothing that is ours.
_NOTHING_TO_REVOKE = _ENDED | {"UnauthorizedException", "UnsupportedTokenTypeException"}


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Tokens of a person who is signed in; ``expires_in`` seconds is the access token's life."""

    access_token: str
    expires_in: int
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The password is right, but a new one is wanted first. ``session`` lives three minutes."""

    session: str


def sign_in(email: str, password: str) -> SignedIn | Challenge:
    """Sign in with a password. Raises Unauthorized, TooManyRequests."""
    return _enter(
        "initiate_auth",
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email, "PASSWORD": password},
    )


def set_new_password(email: str, session: str, new_password: str) -> SignedIn | Challenge:
    """Answer a challenge. Raises Unauthorized, TooManyRequests, Invalid for a refused password."""
    return _enter(
        "respond_to_auth_challenge",
        ChallengeName=FIRST_SIGN_IN,
        Session=session,
        ChallengeResponses={"USERNAME": email, "NEW_PASSWORD": new_password},
    )


def refresh(refresh_token: str) -> SignedIn:
    """New tokens. Raises Unauthorized where the session has ended.

    By GetTokensFromRefreshToken: with rotation on, Cognito takes no other call. Where the pool does
    not rotate, the token that was sent stays good and is handed on.
    """
    if not refresh_token:
        raise Unauthorized(_SESSION_ENDED)
    try:
        answer = cognito.call(
            "get_tokens_from_refresh_token",
            ClientId=cognito.pool().client_id,
            RefreshToken=refresh_token,
        )
    except cognito.Refused as refused:
        if refused.code in _ENDED:
            raise Unauthorized(_SESSION_ENDED) from None
        raise
    return _signed_in(answer["AuthenticationResult"], refresh_token)


def sign_out(refresh_token: str) -> None:
    """Revoke a refresh token and the access tokens made by it; whatever it is, it is gone then.

    The authorizer verifies tokens without asking Cognito, so an access token works until it
    expires, at most 15 minutes.
    """
    if not refresh_token:
        return
    try:
        cognito.call("revoke_token", ClientId=cognito.pool().client_id, Token=refresh_token)
    except cognito.Refused as refused:
        if refused.code not in _NOTHING_TO_REVOKE:
            raise


def _enter(operation: str, **request: Any) -> SignedIn | Challenge:
    try:
        answer = cognito.call(operation, ClientId=cognito.pool().client_id, **request)
    except cognito.Refused as refused:
        if refused.code in cognito.PASSWORD_REFUSED:
            raise Invalid.of(
                "body.new_password", "The password does not meet the policy", "password_policy"
            ) from None
        if refused.code in _WRONG:
            raise Unauthorized("The email or the password is wrong") from None
        raise
    challenge = answer.get("ChallengeName")
    if challenge == FIRST_SIGN_IN:
        return Challenge(answer["Session"])
    if challenge:
        raise Unauthorized("This account asks for a sign-in step that is not offered here")
    return _signed_in(answer["AuthenticationResult"], "")


def _signed_in(result: dict[str, Any], refresh_token: str) -> SignedIn:
    return SignedIn(
        result["AccessToken"], result["ExpiresIn"], result.get("RefreshToken", refresh_token)
    )
