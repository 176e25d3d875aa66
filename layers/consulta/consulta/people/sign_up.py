"""Accounts that people make for themselves, and passwords that they forgot: by mailed codes.

Which addresses have accounts is nobody's business: asking for a mail has one answer whatever comes
of it, and a code that is not good has one, too.
"""

from consulta.core.errors import Invalid, TooManyRequests
from consulta.people import accounts, cognito, sessions

# Taken, already confirmed, never confirmed, made by a practice and not yet entered …
_NOTHING_SENT = {
    "UsernameExistsException",
    "AliasExistsException",
    "UserNotFoundException",
    "UserNotConfirmedException",
    "NotAuthorizedException",
    "InvalidParameterException",
    "CodeDeliveryFailureException",
}
_WRONG_CODE = {
    "AliasExistsException",
    "CodeMismatchException",
    "ExpiredCodeException",
    "InvalidParameterException",
    "NotAuthorizedException",
    "UserNotConfirmedException",
    "UserNotFoundException",
}


def sign_up(email: str, password: str) -> None:
    """Make an account, of which Cognito mails a code. Where there is one, nothing changes.

    Raises TooManyRequests, Invalid for a refused password.
    """
    _send(
        "sign_up",
        Username=email,
        Password=password,
        UserAttributes=[{"Name": "email", "Value": email}],
    )


def resend(email: str) -> None:
    """Mail the code of a sign-up again, where one waits for it."""
    _send_quietly("resend_confirmation_code", email)


def confirm(email: str, code: str, password: str | None) -> None:
    """Prove the address by its code. Raises Invalid.

    Somebody else may have signed up with the address first, and waits for its owner to confirm what
    they can then sign in to. So who reads the mail may say which password holds.
    """
    _enter("confirm_sign_up", Username=email, ConfirmationCode=code)
    if password is None:
        return
    try:
        cognito.call(
            "admin_set_user_password",
            UserPoolId=cognito.pool().user_pool_id,
            Username=email,
            Password=password,
            Permanent=True,
        )
    except cognito.Refused as refused:
        accounts.refuse_password(refused, "body.password")
        raise


def forgot_password(email: str) -> None:
    """Mail a code for a new password, where there is an account that may have one."""
    _send_quietly("forgot_password", email)


def reset_password(
    email: str, code: str, new_password: str, *, origin: str, request_id: str
) -> None:
    """A new password by the mailed code; every session of the person ends.

    Raises Invalid for a code that is not good, and for a refused password.
    """
    _enter(
        "confirm_forgot_password",
        Username=email,
        ConfirmationCode=code,
        Password=new_password,
    )
    # Whoever had the old password may be signed in still.
    person = accounts.of(email).person
    sessions.end_all(person)
    sessions.tell("password_reset", person, "", origin=origin, request_id=request_id)


def _send(operation: str, **request: object) -> None:
    try:
        cognito.call(operation, ClientId=cognito.pool().client_id, **request)
    except cognito.Refused as refused:
        accounts.refuse_password(refused, "body.password")
        if refused.code not in _NOTHING_SENT:
            raise


def _send_quietly(operation: str, email: str) -> None:
    try:
        _send(operation, Username=email)
    except TooManyRequests:
        # Cognito counts per account: saying so would tell that there is one.
        return


def _enter(operation: str, **request: object) -> None:
    refusal = Invalid.of("body.code", "The code is wrong or has expired: ask for a new one", "code")
    try:
        cognito.call(operation, ClientId=cognito.pool().client_id, **request)
    except TooManyRequests:
        # As above. A right code is refused then, too: guessing must not pay.
        raise refusal from None
    except cognito.Refused as refused:
        accounts.refuse_password(refused, "body.new_password")
        if refused.code in _WRONG_CODE:
            raise refusal from None
        raise
