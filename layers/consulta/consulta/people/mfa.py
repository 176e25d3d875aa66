"""The second factor: an authenticator app's codes (TOTP, RFC 6238), kept by the user pool.

Cognito changes a person's factors by their own access token only, so it is handed through.
"""

from urllib.parse import quote, urlencode

from consulta.core.errors import Conflict, Invalid, Unauthorized
from consulta.core.identity import Account, refuse_key
from consulta.people import accounts, cognito, session_rows, sessions
from consulta.people.schema.me import MfaSecretOut

ISSUER = "Consulta"
_WRONG_CODE = {
    "CodeMismatchException",
    "EnableSoftwareTokenMFAException",
    "ExpiredCodeException",
    "InvalidParameterException",
    "SoftwareTokenMFANotFoundException",
}
_TOKEN_OVER = {"NotAuthorizedException", "UserNotFoundException"}


def start(account: Account, authorization: str | None) -> MfaSecretOut:
    """A new secret, for the app; nothing is on until :func:`confirm`.

    Raises Conflict where it is on: whoever has but the access token must not get past the factor by
    a secret of their own. Raises Forbidden for an API key.
    """
    refuse_key(account)
    known = accounts.of(account.person)
    if known.mfa:
        raise Conflict("An authenticator app is set up: take it off first")
    answer = _ask("associate_software_token", AccessToken=_bearer(authorization))
    secret = str(answer["SecretCode"])
    # Source: google-authenticator's wiki, "Key URI Format".
    label = quote(f"{ISSUER}:{known.email}")
    query = urlencode({"secret": secret, "issuer": ISSUER})
    return MfaSecretOut(secret=secret, otpauth_uri=f"otpauth://totp/{label}?{query}")


def confirm(
    account: Account, authorization: str | None, code: str, *, origin: str, request_id: str
) -> None:
    """Turn it on by a first code; the present session counts as one with a second factor then.

    Raises Invalid for a wrong code, Forbidden for an API key.
    """
    refuse_key(account)
    token = _bearer(authorization)
    _verify(token, code, "body.code")
    _prefer(token, on=True)
    session_rows.set_mfa(account.person, account.session, mfa=True)
    sessions.tell("mfa_on", account.person, account.session, origin=origin, request_id=request_id)


def remove(
    account: Account, authorization: str | None, code: str, *, origin: str, request_id: str
) -> None:
    """Turn it off by a current code. No session counts as one with a second factor any longer.

    Raises Invalid for a wrong code, Conflict where it is off, Forbidden for an API key.
    """
    refuse_key(account)
    token = _bearer(authorization)
    if not accounts.of(account.person).mfa:
        raise Conflict("No authenticator app is set up")
    _verify(token, code, "header.Consulta-MFA-Code")
    _prefer(token, on=False)
    session_rows.change_all(account.person, mfa=False)
    sessions.tell("mfa_off", account.person, account.session, origin=origin, request_id=request_id)


def _bearer(authorization: str | None) -> str:
    # The authorizer has found it good; ``tokens`` and the cryptography under it stay unimported.
    return (authorization or "").partition(" ")[2].strip()


def _verify(token: str, code: str, path: str) -> None:
    refusal = Invalid.of(path, "The code is wrong or has expired", "code")
    try:
        answer = _ask("verify_software_token", AccessToken=token, UserCode=code)
    except cognito.Refused as refused:
        if refused.code in _WRONG_CODE:
            raise refusal from None
        raise
    if answer.get("Status") != "SUCCESS":
        raise refusal


def _prefer(token: str, *, on: bool) -> None:
    _ask(
        "set_user_mfa_preference",
        AccessToken=token,
        SoftwareTokenMfaSettings={"Enabled": on, "PreferredMfa": on},
    )


def _ask(operation: str, **request: object) -> dict[str, object]:
    try:
        return cognito.call(operation, **request)
    except cognito.Refused as refused:
        if refused.code in _TOKEN_OVER:
            raise Unauthorized(sessions.SESSION_ENDED) from None
        raise
