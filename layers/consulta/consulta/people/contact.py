"""Email addresses, phone numbers and names, as they are compared and stored."""

import unicodedata
from typing import Annotated

from pydantic import BeforeValidator, EmailStr, Field

# Cognito's limit of a user name, which the email is.
MAX_EMAIL = 128


def fold_email(value: object) -> object:
    """One spelling per address: NFKC and case-folded. Anything but text is left to validation."""
    if not isinstance(value, str):
        return value
    folded = unicodedata.normalize("NFKC", value).casefold()
    # Folding case can leave what NFKC composes again, and NFKC can make spaces.
    return unicodedata.normalize("NFKC", folded).strip()


Email = Annotated[EmailStr, BeforeValidator(fold_email), Field(max_length=MAX_EMAIL)]


def fold_name(name: str) -> str:
    """A name as it is searched, without case, accents and doubled spaces: Ángela → angela."""
    # Twice, as NFKC_Casefold does: folding case can leave what decomposes further.
    folded = unicodedata.normalize("NFKD", name).casefold()
    letters = unicodedata.normalize("NFKD", folded)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(plain.split())


def to_e164(phone: str, country: str) -> str:
    """A phone number in E.164 (``+34600123456``); without ``+`` it is read as one of ``country``.

    Checked for length by country, not against the numbering plan: plans change faster than the
    library's tables, and a real number must not be refused. Raises ValueError.
    """
    import phonenumbers  # noqa: PLC0415  # 19 ms, only where a phone is written

    try:
        number = phonenumbers.parse(phone, country)
    except phonenumbers.NumberParseException:
        raise ValueError("not a phone number") from None
    if not phonenumbers.is_possible_number(number):
        raise ValueError("not a phone number")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def is_country(code: str) -> bool:
    """Whether ``code`` is an ISO 3166-1 alpha-2 country that has phone numbers."""
    import phonenumbers  # noqa: PLC0415  # see to_e164

    return code in phonenumbers.SUPPORTED_REGIONS
