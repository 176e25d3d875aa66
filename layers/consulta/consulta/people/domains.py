"""Domains of email addresses, as an identity provider is found by them."""

from email_validator import EmailNotValidError, validate_email

MAX_DOMAIN = 253
# Where anybody gets an address: no practice can speak for all who have one.
_PUBLIC = """
    aol.com fastmail.com free.fr gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net googlemail.com
    hey.com hotmail.co.uk hotmail.com hotmail.es hotmail.fr hotmail.it icloud.com laposte.net
    libero.it live.com mac.com mail.com mail.ru me.com msn.com naver.com orange.fr outlook.com
    outlook.com.br outlook.es pm.me proton.me protonmail.com qq.com t-online.de terra.com.br
    tutanota.com uol.com.br web.de yahoo.co.jp yahoo.co.uk yahoo.com yahoo.com.ar yahoo.com.br
    yahoo.com.mx yahoo.de yahoo.es yahoo.fr yandex.com yandex.ru ymail.com zoho.com 126.com 163.com
"""
PUBLIC = frozenset(_PUBLIC.split())


def fold_domain(domain: str) -> str:
    """One spelling per domain: its IDNA form in lower case (``xn--clnica-4va.example``).

    Raises ValueError for what cannot stand behind an address's ``@``.
    """
    try:
        found = validate_email(f"x@{domain.strip()}", check_deliverability=False)
    except EmailNotValidError:
        raise ValueError("not a domain, like clinic.example") from None
    return found.ascii_domain.lower()


def domain_of(email: str) -> str:
    """The folded domain of an email address. Raises ValueError where it is none."""
    local, at, domain = email.rpartition("@")
    if not local or not at:
        raise ValueError("not an email address")
    return fold_domain(domain)
