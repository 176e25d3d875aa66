"""Email through SES: one recipient a message, plain text, nothing of it logged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from botocore.exceptions import ClientError

from consulta.core import aws, settings

# What SES says of a mail that it will not take later either (SES API, SendEmail and SendRawEmail):
# the rest is throttling, a quota, an outage, or a permission that somebody has to give.
_REFUSALS = frozenset(
    {
        "InvalidParameterValue",
        "MailFromDomainNotVerifiedException",
        "MessageRejected",
        "ValidationError",
    }
)
# One address and nothing else: no second recipient, no further header. Quoted local parts, which
# may hold anything, have not been seen in a practice.
_ADDRESS = re.compile(r"[^\s,;:<>()\[\]\"\\@\x00-\x1f\x7f]+@[^\s,;:<>()\[\]\"\\@\x00-\x1f\x7f]+")


class MailSettings(settings.Settings):
    """The verified sender of every mail."""

    sender_email: str


class BadAddress(ValueError):
    """An address that no mail can be sent to; its text is not in the message."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail. ``content_type`` with its parameters: ``text/calendar; method=REQUEST``."""

    name: str
    content_type: str
    content: bytes


def send(
    to: str,
    subject: str,
    text: str,
    attachments: Sequence[Attachment] = (),
    *,
    retries: int = aws.RETRIES,
) -> str:
    """Send one mail; gives SES's message id, which its delivery events carry too.

    A call whose answer was lost is repeated: with ``retries=0`` it is not, and the caller decides.
    Raises :class:`BadAddress`, botocore's ClientError where SES refuses (see :func:`refusal`), and
    BotoCoreError where nobody knows whether it was sent.
    """
    sender = settings.load(MailSettings).sender_email
    recipient, line = plain_address(to), " ".join(subject.split())
    client = aws.client("ses", retries=retries)
    if attachments:
        answer = client.send_raw_email(
            # Named here too: it is what ses:FromAddress is checked against.
            Source=sender,
            Destinations=[recipient],
            RawMessage={"Data": _mime(sender, recipient, line, text, attachments)},
        )
    else:
        answer = client.send_email(
            Source=sender,
            Destination={"ToAddresses": [recipient]},
            Message={
                "Subject": {"Data": line, "Charset": "UTF-8"},
                "Body": {"Text": {"Data": text, "Charset": "UTF-8"}},
            },
        )
    return str(answer["MessageId"])


def plain_address(address: str) -> str:
    """The address as SES takes it: its domain in IDNA's letters.

    Raises :class:`BadAddress`, also for a local part beyond ASCII: SES has no SMTPUTF8 (SES API,
    SendEmail).
    """
    if not _ADDRESS.fullmatch(address) or not address.partition("@")[0].isascii():
        raise BadAddress("not an address that mail can be sent to")
    local, _, domain = address.partition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise BadAddress("not a domain that mail can be sent to") from None


def refusal(error: ClientError) -> str | None:
    """SES's code where the mail would be refused again; None where it is worth another try."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if code in _REFUSALS else None


def _mime(
    sender: str, recipient: str, subject: str, text: str, attachments: Sequence[Attachment]
) -> bytes:
    """The message in MIME; the email package refuses a header with a line break (ValueError)."""
    from email.message import EmailMessage  # noqa: PLC0415  # 20 ms, only with an attachment
    from email.policy import SMTP  # noqa: PLC0415

    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, recipient, subject
    message.set_content(text, cte="quoted-printable")
    for attachment in attachments:
        kind = EmailMessage(policy=SMTP)
        kind["Content-Type"] = attachment.content_type
        message.add_attachment(
            attachment.content,
            maintype=kind.get_content_maintype(),
            subtype=kind.get_content_subtype(),
            filename=attachment.name,
            params=dict(kind["Content-Type"].params),
        )
    return message.as_bytes()
