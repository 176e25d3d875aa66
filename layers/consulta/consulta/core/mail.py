"""Email through SES: one recipient a message, plain text, nothing of it logged."""

from consulta.core import aws, settings


class MailSettings(settings.Settings):
    """The verified sender of every mail."""

    sender_email: str


def send(to: str, subject: str, text: str) -> str:
    """Send one mail; gives SES's message id, which its delivery events carry too.

    Raises botocore's ClientError where SES refuses the address or the sender.
    """
    answer = aws.client("ses").send_email(
        Source=settings.load(MailSettings).sender_email,
        Destination={"ToAddresses": [to]},
        Message={
            "Subject": {"Data": subject, "Charset": "UTF-8"},
            "Body": {"Text": {"Data": text, "Charset": "UTF-8"}},
        },
    )
    return str(answer["MessageId"])
