"""A practice with its audit on moto: the core table's stream, the queue, the workers, the seals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from consulta.audit import sealing, stream, writing
from consulta.audit.macs import mac_keys
from consulta.audit.verifying import Result, verify
from consulta.core import aws, ids, settings, table
from consulta.core.item import Actor
from consulta.core.keys import Key, Tenant, all_practices
from consulta.core.time import now, to_text
from consulta.people.policy import default_policy
from consulta.people.records import PATIENT, PRACTICE, PatientItem, PracticeItem
from tests.conftest import AUDIT

PRACTICE_ID = "prac_01JC0NS0TADEM0000000000000"
BY = Actor("person-1", "request-1", "203.0.113.7|curl/8.9.1")
BUCKET = "seals"


@dataclass
class Audit:
    """What runs between a change and its row; each step by hand."""

    client: Any
    queue: str
    tenant: Tenant = field(default_factory=lambda: Tenant(PRACTICE_ID))
    taken: int = 0

    # changes

    def patient(self, **values: Any) -> PatientItem:
        patient_id = ids.new_id("pat")
        item = PatientItem.create(
            self.tenant.item(PATIENT, patient_id),
            PATIENT,
            BY,
            **{"name": "Ángela Ruiz", "email": "angela@example.com", "phone": "+34600123456"}
            | values,
            local_date="2026-11-20",
            l1pk=self.tenant.listing(PATIENT),
            l1sk=patient_id,
            l2pk=self.tenant.listing(PATIENT),
            l2sk=f"angela ruiz#{patient_id}",
            walkpk=self.tenant.listing(PATIENT),
            walksk=patient_id,
        )
        table.transact([table.put_new(item)])
        return item

    def change(self, key: Key, by: Actor = BY, **values: Any) -> None:
        item = table.get(PatientItem, key)
        assert item
        table.transact([table.change(item, by, set_=values)])

    # the stream

    def records(self) -> list[dict[str, Any]]:
        """What the stream has that was not taken yet."""
        streams = aws.client("dynamodbstreams")
        described = self.client.describe_table(TableName=table.core_table())["Table"]
        arn = described["LatestStreamArn"]
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found = streams.get_records(ShardIterator=iterator, Limit=1000)["Records"]
        fresh = [as_delivered(record) for record in found[self.taken :]]
        self.taken = len(found)
        return fresh

    def publish(self) -> list[str]:
        """Stream → queue."""
        return stream.process(self.records())

    def received(self) -> list[dict[str, Any]]:
        """The queue's messages as Lambda gives them, taken out."""
        sqs, found = aws.client("sqs"), []
        while batch := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in batch:
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                found.append({"messageId": message["MessageId"], "body": message["Body"]})
        return found

    def settle(self) -> list[dict[str, Any]]:
        """All the way; gives the messages, to deliver them again."""
        assert self.publish() == []
        messages = self.received()
        assert writing.process(messages) == []
        return messages

    # the audit table

    def rows(self) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(TableName=AUDIT)
        found = [table.from_raw(raw) for page in pages for raw in page["Items"]]
        return sorted(found, key=lambda row: (row["pk"], row["sk"]))

    def of(self, key: Key) -> list[dict[str, Any]]:
        return [row for row in self.rows() if row["pk"] == self.tenant.audit_of(key)]

    def tamper(self, row: Mapping[str, Any], **values: Any) -> None:
        """Edit a row behind everybody's back."""
        self.client.put_item(TableName=AUDIT, Item=table.to_raw({**row, **values}))

    def lose(self, row: Mapping[str, Any]) -> None:
        self.client.delete_item(
            TableName=AUDIT, Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}}
        )

    def seal(self, until: datetime | None = None) -> int:
        """Seal everything until now, margin or not."""
        end = until or sealing.hour_of(now()) + sealing.HOUR
        return sealing.seal(self.tenant, now() - timedelta(days=2), end, mac_keys())

    def verify(self) -> Result:
        return verify(self.tenant.practice, grace=timedelta(seconds=-60))

    def found(self) -> list[tuple[str, str]]:
        return [(finding.row, finding.why) for finding in self.verify().findings]


def as_delivered(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as Lambda gives it: the moment is a number."""
    found = dict(record["dynamodb"])
    moment = found.get("ApproximateCreationDateTime")
    if isinstance(moment, datetime):
        found["ApproximateCreationDateTime"] = moment.timestamp()
    return {**record, "dynamodb": found}


def named(row: Mapping[str, Any]) -> str:
    return f"{row['pk']} {row['sk']}"


def build(tables: Any, environment: pytest.MonkeyPatch) -> Audit:
    """A practice whose making is recorded already."""
    queue = aws.client("sqs").create_queue(QueueName="audit")["QueueUrl"]
    secret = aws.client("secretsmanager").create_secret(
        Name="audit", SecretString=json.dumps({"id": "1", "key": "k" * 64})
    )
    aws.client("s3", sealing.S3_TIMEOUT_S).create_bucket(
        Bucket=BUCKET, ObjectLockEnabledForBucket=True
    )
    environment.setenv("AUDIT_QUEUE_URL", queue)
    environment.setenv("AUDIT_SECRET_ARN", secret["ARN"])
    environment.setenv("AUDIT_KEY_ID", aws.client("kms").create_key()["KeyMetadata"]["Arn"])
    environment.setenv("AUDIT_BUCKET", BUCKET)
    settings.reset()
    audit = Audit(tables, queue)
    item = PracticeItem.create(
        audit.tenant.item(PRACTICE, PRACTICE_ID),
        PRACTICE,
        BY,
        name="Clínica Aurora",
        zone="Europe/Madrid",
        currency="EUR",
        country="ES",
        commission_bps=1000,
        policy=default_policy("EUR"),
        l1pk=all_practices(),
        l1sk=f"{to_text(now())}#{PRACTICE_ID}",
    )
    table.transact([table.put_new(item)])
    audit.settle()
    return audit
