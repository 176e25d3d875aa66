"""Mails on the wire: one recipient, no header that somebody's text could add, files intact."""

import email
import email.policy
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from consulta.core import aws, mail
from consulta.core.mail import Attachment, BadAddress

SENDER, TO = "no-reply@consulta.example", "ines@example.com"
FILE = Attachment(
    "appointment.ics",
    "text/calendar; charset=utf-8; method=REQUEST",
    b"BEGIN:VCALENDAR\r\n\xc3\xa9",
)


@pytest.fixture(autouse=True)
def sender(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SENDER_EMAIL", SENDER)


def sent(*arguments: Any) -> dict[str, Any]:
    """What SES is asked."""
    client, asked = aws.client("ses", retries=0), []
    client.meta.events.register_last(
        "provide-client-params.ses.*", lambda params, **_: asked.append(params)
    )
    with Stubber(client) as stubber:
        for operation in ("send_raw_email",) if len(arguments) > 3 else ("send_email",):
            stubber.add_response(operation, {"MessageId": "m-1"})
        assert mail.send(*arguments, retries=0) == "m-1"
    (params,) = asked
    return dict(params)


def test_a_mail_without_files_is_plain() -> None:
    params = sent(TO, "Your appointment", "Hola, Inês\n")
    assert params["Destination"] == {"ToAddresses": [TO]}
    assert (params["Source"], params["Message"]["Subject"]["Data"]) == (SENDER, "Your appointment")
    assert params["Message"]["Body"]["Text"]["Data"] == "Hola, Inês\n"


def test_a_file_is_attached_as_it_is() -> None:
    params = sent(TO, "Cita confirmada: mañana", "Hola, Inês\n" + "x" * 2000, [FILE])
    assert (params["Source"], params["Destinations"]) == (SENDER, [TO])
    message = email.message_from_bytes(params["RawMessage"]["Data"], policy=email.policy.default)
    assert (message["From"], message["To"]) == (SENDER, TO)
    assert message["Subject"] == "Cita confirmada: mañana"
    body = message.get_body()
    assert body
    assert body.get_content().splitlines() == ["Hola, Inês", "x" * 2000]
    (file,) = message.iter_attachments()
    assert file.get_filename() == FILE.name
    assert file.get_content_type() == "text/calendar"
    assert file["Content-Type"].params == {"charset": "utf-8", "method": "REQUEST"}
    assert file.get_payload(decode=True) == FILE.content
    # SMTP's limit of a line (RFC 5321 §4.5.3.1.6).
    assert max(map(len, params["RawMessage"]["Data"].split(b"\r\n"))) <= 998


@pytest.mark.parametrize("files", [(), ([FILE],)])
def test_a_subject_adds_no_header(files: tuple[Any, ...]) -> None:
    params = sent(TO, "Aurora\r\nBcc: eve@example.com\n\nbody", "text", *files)
    if files:
        raw = params["RawMessage"]["Data"]
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert message["Bcc"] is None
        assert message["Subject"] == "Aurora Bcc: eve@example.com body"
        assert params["Destinations"] == [TO]
    else:
        assert params["Message"]["Subject"]["Data"] == "Aurora Bcc: eve@example.com body"


def test_a_file_name_adds_no_header() -> None:
    with pytest.raises(ValueError, match="linefeed"):
        sent(TO, "s", "t", [Attachment("a.ics\r\nBcc: eve@example.com", "text/plain", b"")])


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ines",
        "ines@example.com, eve@example.com",
        "ines@example.com\r\nBcc: eve@example.com",
        "ines@example.com\n",
        "Inês <ines@example.com>",
        "a@b@example.com",
        "inês@example.com",
        f"ines@{'é' * 70}.com",
    ],
)
def test_what_is_no_single_address_gets_no_mail(address: str) -> None:
    with pytest.raises(BadAddress) as refused:
        mail.send(address, "s", "t")
    assert "ines" not in str(refused.value)


def test_a_domain_goes_in_the_letters_of_idna() -> None:
    assert mail.plain_address("ines@clínica.example") == "ines@xn--clnica-4va.example"


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("MessageRejected", "MessageRejected"),
        ("InvalidParameterValue", "InvalidParameterValue"),
        ("Throttling", None),
        ("ServiceUnavailable", None),
        ("AccessDenied", None),
    ],
)
def test_ses_refuses_for_good_or_for_now(code: str, refusal: str | None) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "ines@example.com"}}, "SendEmail")
    assert mail.refusal(error) == refusal
