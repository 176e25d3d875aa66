"""The files of reports in S3, and the links by which people get them.

A mail's link must work for days, longer than a presigned address of a function's short-lived
credentials does. So it carries a random token, stored only as its hash, and opening it answers with
a presigned address that is good for minutes.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from consulta.core import aws, keys, settings, table, trail
from consulta.core.errors import NotFound
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import from_epoch, now, to_epoch
from consulta.reports.records import Format

PRESIGNED_FOR = timedelta(minutes=15)
LINK_FOR = timedelta(days=7)
CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.PDF: "application/pdf",
}


class FileSettings(settings.Settings):
    """The bucket of reports."""

    reports_bucket: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one file is, and its size in bytes."""

    key: str
    size: int


def _bucket() -> str:
    name: str = settings.load(FileSettings).reports_bucket
    return name


def put(tenant: Tenant, report_id: str, name: str, form: Format, body: bytes) -> Stored:
    """Store one file under the practice's own prefix; writing it again replaces it."""
    key = f"{tenant.practice}/{report_id}/{name}.{form}"
    aws.client("s3", 10).put_object(
        Bucket=_bucket(), Key=key, Body=body, ContentType=CONTENT_TYPES[form]
    )
    return Stored(key, len(body))


def put_file(tenant: Tenant, report_id: str, name: str, form: Format, path: Path) -> Stored:
    """As :func:`put`, from a disk: the file is never in memory as a whole."""
    key = f"{tenant.practice}/{report_id}/{name}.{form}"
    with path.open("rb") as file:
        aws.client("s3", 60).put_object(
            Bucket=_bucket(), Key=key, Body=file, ContentType=CONTENT_TYPES[form]
        )
    return Stored(key, path.stat().st_size)


def _part_key(tenant: Tenant, report_id: str, number: int) -> str:
    return f"{tenant.practice}/{report_id}/parts/{number:05d}.jsonl"


def put_part(tenant: Tenant, report_id: str, number: int, body: bytes) -> None:
    """Store a part of an export, for whoever writes its files; again replaces it."""
    key = _part_key(tenant, report_id, number)
    aws.client("s3", 10).put_object(Bucket=_bucket(), Key=key, Body=body)


def read_part(tenant: Tenant, report_id: str, number: int) -> bytes:
    """A part that was stored."""
    key = _part_key(tenant, report_id, number)
    body: bytes = aws.client("s3", 10).get_object(Bucket=_bucket(), Key=key)["Body"].read()
    return body


def delete_part(tenant: Tenant, report_id: str, number: int) -> None:
    """Remove a part, where it still is."""
    key = _part_key(tenant, report_id, number)
    aws.client("s3", 10).delete_object(Bucket=_bucket(), Key=key)


def presigned(key: str) -> str:
    """An address that opens the file for :data:`PRESIGNED_FOR`."""
    name = key.rsplit("/", 1)[-1]
    return str(
        aws.client("s3", 10).generate_presigned_url(
            "get_object",
            Params={
                "Bucket": _bucket(),
                "Key": key,
                "ResponseContentDisposition": f'attachment; filename="{name}"',
            },
            ExpiresIn=int(PRESIGNED_FOR.total_seconds()),
        )
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def make_link(file_key: str, api_url: str) -> str:
    """A link for a mail: good for :data:`LINK_FOR`, and known only to who has it."""
    token = secrets.token_urlsafe(32)
    expires_at = to_epoch(now() + LINK_FOR)
    row = table.put_values(
        keys.download(_digest(token)), {"file": file_key, "expires_at": expires_at}
    )
    table.transact([row])
    return f"{api_url}/v1/reports/downloads/{token}"


def open_link(token: str) -> str:
    """The presigned address behind a mail's link. Raises NotFound for a wrong or expired one."""
    raw = table.get_raw(keys.download(_digest(token)))
    if raw is None or from_epoch(int(raw["expires_at"]["N"])) < now():
        raise NotFound("This link is not valid, or no longer")
    file_key = raw["file"]["S"]
    practice, report_id, _ = file_key.split("/", 2)
    trail.insist("The export", "exported", practice, Actor("link", ""), reports=report_id)
    return presigned(file_key)
