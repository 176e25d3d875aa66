"""Accounts in the user pool: one per email address, whatever the practices."""

from dataclasses import dataclass

from consulta.core.errors import Invalid
from consulta.people import cognito, memberships
from consulta.people.contact import fold_email

# Whoever signs in through a practice's identity provider: what is known of them is its word alone.
_FEDERATED = "EXTERNAL_PROVIDER"
_TOTP = "SOFTWARE_TOKEN_MFA"
_NEVER_SIGNED_IN = frozenset({"FORCE_CHANGE_PASSWORD", "UNCONFIRMED"})


@dataclass(frozen=True, slots=True)
class Known:
    """What the user pool knows of a person.

    ``proved`` says that they have shown the address to be theirs: by a code or an invitation mailed
    to it. A practice's identity provider proves nothing to another practice: also where an account
    is only linked to one, which may put another address there.
    """

    person: str
    email: str
    proved: bool
    mfa: bool


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
        refuse_password(refused, password_path)
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
            refuse_password(refused, password_path)
            raise
    return person


def admit(email: str, password: str | None, password_path: str) -> str | None:
    """The person id of a new account with this address, whose owner has shown it to be theirs.

    None where the address has an account that somebody signs in with: they must do that. One that
    nobody has ever signed in with counts as new, be it an administrator's or a sign-up that was
    never confirmed: then the password is set, so that nobody else's works. Raises Invalid where a
    password is needed or refused.
    """
    pool_id = cognito.pool().user_pool_id
    try:
        found = cognito.call("admin_get_user", UserPoolId=pool_id, Username=email)
    except cognito.Refused as refused:
        if refused.code != "UserNotFoundException":
            raise
        found = None
    if found is not None:
        person = _attribute(found["UserAttributes"], "sub")
        if found["UserStatus"] not in _NEVER_SIGNED_IN or memberships.of(person):
            return None
    if password is None:
        raise Invalid.of(password_path, "Choose a password for your new account", "missing")
    if found is None:
        person = ensure(email, password, password_path)
    elif found["UserStatus"] == "UNCONFIRMED":
        cognito.call(
            "admin_update_user_attributes",
            UserPoolId=pool_id,
            Username=email,
            UserAttributes=[{"Name": "email_verified", "Value": "true"}],
        )
    try:
        cognito.call(
            "admin_set_user_password",
            UserPoolId=pool_id,
            Username=email,
            Password=password,
            Permanent=True,
        )
    except cognito.Refused as refused:
        refuse_password(refused, password_path)
        raise
    return person


def of(username: str) -> Known:
    """The account with this person id or email address. Raises Refused where there is none."""
    found = cognito.call(
        "admin_get_user", UserPoolId=cognito.pool().user_pool_id, Username=username
    )
    attributes = {entry["Name"]: entry["Value"] for entry in found["UserAttributes"]}
    return Known(
        attributes["sub"],
        str(fold_email(attributes.get("email", ""))),
        attributes.get("email_verified") == "true"
        and found.get("UserStatus") != _FEDERATED
        and not _is_linked(attributes),
        _TOTP in found.get("UserMFASettingList", ()),
    )


def _is_linked(attributes: dict[str, str]) -> bool:
    return attributes.get("identities", "[]") != "[]"


def refuse_password(refused: cognito.Refused, path: str) -> None:
    """Raises Invalid where it was the password that Cognito refused."""
    if refused.code in cognito.PASSWORD_REFUSED:
        raise Invalid.of(path, "The password does not meet the policy", "password_policy")


def _attribute(attributes: list[dict[str, str]], name: str) -> str:
    return next(entry["Value"] for entry in attributes if entry["Name"] == name)
