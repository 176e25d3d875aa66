"""Accounts in the user pool: one per email address, whatever the practices."""

from consulta.core.errors import Invalid
from consulta.people import cognito, memberships


def ensure(email: str, temporary_password: str | None, password_path: str) -> str:
    """The person id (Cognito's ``sub``) of the account with this address, made if need be.

    Called before any item is written, so that a crash in between leaves an account that is a member
    of nothing, and the retry finds it here: then the temporary password is set again, since the
    answer promises it. An account that is somebody already keeps its own password, or a practice
    could take over another practice's member. Without a temporary password Cognito mails one.
    """
    pool = cognito.pool()
    try:
        answer = cognito.call(
            "admin_create_user",
            UserPoolId=pool.user_pool_id,
            Username=email,
            UserAttributes=[
                {"Name": "email", "Value": email},
                {"Name": "email_verified", "Value": "true"},
            ],
            **(
                {"TemporaryPassword": temporary_password, "MessageAction": "SUPPRESS"}
                if temporary_password
                else {}
            ),
        )
        return _attribute(answer["User"]["Attributes"], "sub")
    except cognito.Refused as refused:
        _refuse_password(refused, password_path)
        if refused.code != "UsernameExistsException":
            raise
    found = cognito.call("admin_get_user", UserPoolId=pool.user_pool_id, Username=email)
    person = _attribute(found["UserAttributes"], "sub")
    is_new = found["UserStatus"] == "FORCE_CHANGE_PASSWORD"
    if temporary_password and is_new and not memberships.of(person):
        try:
            cognito.call(
                "admin_set_user_password",
                UserPoolId=pool.user_pool_id,
                Username=email,
                Password=temporary_password,
                Permanent=False,
            )
        except cognito.Refused as refused:
            _refuse_password(refused, password_path)
            raise
    return person


def email_of(person: str) -> str:
    """The address of a person's account."""
    found = cognito.call("admin_get_user", UserPoolId=cognito.pool().user_pool_id, Username=person)
    return _attribute(found["UserAttributes"], "email")


def _refuse_password(refused: cognito.Refused, path: str) -> None:
    if refused.code in cognito.PASSWORD_REFUSED:
        raise Invalid.of(path, "The password does not meet the policy", "password_policy")


def _attribute(attributes: list[dict[str, str]], name: str) -> str:
    return next(entry["Value"] for entry in attributes if entry["Name"] == name)
