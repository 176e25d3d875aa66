"""Appointments that change, and the records of the stream that say so."""

from datetime import timedelta
from typing import Any

from benchmarks import practice
from benchmarks.practice import Practice
from consulta.aggregates import stream
from consulta.core.time import now
from consulta.scheduling.records import PaymentStatus, Status

# One appointment's way through the batches.
FLOW = (Status.HELD, Status.CONFIRMED, Status.COMPLETED)

Record = dict[str, Any]


class Life:
    """One appointment, and the records of its changes."""

    def __init__(self, one: Practice, number: int) -> None:
        start = now().replace(minute=0) + timedelta(days=1 + number % 30, hours=number % 8)
        patient = one.patients[number % len(one.patients)]
        self.item = practice._appointment(one, patient, start, Status.HELD)
        self.item.payment_status = str(PaymentStatus.UNPAID)
        self.old: dict[str, Any] | None = None

    def becomes(self, status: Status) -> Record:
        """The record of its next change."""
        if self.old:
            self.item.version += 1
        self.item.status = str(status)
        if status is Status.CONFIRMED:
            self.item.payment_status = str(PaymentStatus.PAID)
        new, old = self.item.serialize(), self.old
        self.old = new
        found = {
            "Keys": {"pk": new["pk"], "sk": new["sk"]},
            "SequenceNumber": f"{self.item.item_id}-{self.item.version}",
            "NewImage": new,
            **({"OldImage": old} if old else {}),
        }
        return {"eventName": "MODIFY" if old else "INSERT", "dynamodb": found}


def apply_records(records: list[Record]) -> None:
    """As the function does with a batch. Raises AssertionError where one is to come again."""
    failed = stream.process(records)
    assert not failed, f"{len(failed)} of {len(records)} records failed"
