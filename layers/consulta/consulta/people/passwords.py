"""The password policy: 12 characters of four classes, as the user pool has it.

Checked here too, so that the answer names the field before Cognito is called, and because the local
AWS does not check the policy when a new password is asked for at sign-in.
"""

import string
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

MIN_LENGTH, MAX_LENGTH = 12, 256
_CLASSES = (
    ("a lower-case letter", string.ascii_lowercase),
    ("an upper-case letter", string.ascii_uppercase),
    ("a digit", string.digits),
    ("a symbol", string.punctuation),
)


def check_policy(password: SecretStr) -> SecretStr:
    """Raises ValueError that says what is missing, never what was sent."""
    if len(password) < MIN_LENGTH:
        raise ValueError(f"The password needs at least {MIN_LENGTH} characters")
    text = password.get_secret_value()
    # Cognito takes a space within a password and none around it.
    if text != text.strip():
        raise ValueError("The password begins or ends with white space")
    letters = set(text)
    missing = [name for name, members in _CLASSES if letters.isdisjoint(members)]
    if missing:
        raise ValueError(f"The password needs {' and '.join(missing)}")
    return password


def _as_typed(value: object) -> object:
    # Hidden before ApiModel strips white space off every text: a password's is part of it.
    return SecretStr(value) if isinstance(value, str) else value


Password = Annotated[
    SecretStr, BeforeValidator(_as_typed), Field(min_length=1, max_length=MAX_LENGTH)
]
NewPassword = Annotated[
    SecretStr,
    BeforeValidator(_as_typed),
    Field(max_length=MAX_LENGTH, description="12 characters of four classes"),
    AfterValidator(check_policy),
]
