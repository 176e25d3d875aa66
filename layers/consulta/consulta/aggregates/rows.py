"""The aggregates table's rows: figures, pairs, and what each item has contributed.

A contribution row is small and of one shape, because one is written with every change of an item::

    {"ord": 6, "gen": 3, "vec": "eJy…"}       vec "" is a tombstone: gone, or nothing contributed

``vec`` is JSON, compressed and in base 64, which keeps an appointment's row under 1 KB. Equal
vectors are written once (a month's and a total's are), and ids once per subject::

    {"v": [{"open": 1, ...}], "f": {"EXPERT#exp_…": {"M#2026-11": 0, "TOTAL": 0}},
     "p": [["EXPERT-PATIENT", "exp_…", "pat_…"]], "c": [["pat_…", "2026-11"]]}

A figures row has ``rev``, one more with every change, so that a repair sees whether it changed.
"""

import binascii
import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from consulta.aggregates import catalog
from consulta.aggregates.catalog import AggregateKey
from consulta.aggregates.contributions import NOTHING, Contribution, Pair, Vector, Visit
from consulta.core.keys import Key, Tenant
from consulta.core.table import Raw


class Damaged(ValueError):
    """The contribution row of item ``pk`` cannot be read: what it has contributed is not known."""

    def __init__(self, pk: str) -> None:
        super().__init__("a contribution row cannot be read")
        self.pk = pk


def pair_key(tenant: Tenant, pair: Pair) -> Key:
    """Where a pair's count of live items is."""
    return tenant.pair(*pair)


def visits_key(tenant: Tenant, patient: str) -> Key:
    """Where a patient's visits are counted by month."""
    return tenant.visits(patient)


def number(raw: Raw | None, name: str) -> int:
    """A number of a row; 0 where it is not there. That may be damage, which a repair sets right."""
    return int((raw or {}).get(name, {}).get("N", 0))


@dataclass(frozen=True, slots=True)
class Visits:
    """In which months a patient came, and how often; ``rev`` 0 stands for none."""

    rev: int = 0
    months: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: Raw | None) -> "Visits":
        """The row of DynamoDB's attribute map."""
        # Months begin with a digit, and nothing else in the row does.
        months = {name: number(raw, name) for name in raw or () if name[0].isdigit()}
        return cls(number(raw, "rev"), months)

    def moved(self, deltas: dict[str, int]) -> "Visits":
        """As it is after these changes."""
        names = self.months.keys() | deltas.keys()
        return Visits(
            self.rev + 1, {name: self.months.get(name, 0) + deltas.get(name, 0) for name in names}
        )

    @property
    def came(self) -> set[str]:
        """The months with at least one visit."""
        return {month for month, n in self.months.items() if n > 0}


# What decoding raises for a text that is none of ours.
_UNREADABLE = (LookupError, TypeError, AttributeError, ValueError, zlib.error, binascii.Error)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A contribution row as it was read; ``ord`` 0 stands for a row that is not there."""

    ord: int = 0
    gen: int = 0
    contribution: Contribution = NOTHING
    vec: str = ""

    @classmethod
    def read(cls, raw: Raw | None) -> "Remembered":
        """The row of DynamoDB's attribute map. Raises Damaged."""
        if raw is None:
            return cls()
        try:
            gen, vec = int(raw["gen"]["N"]), str(raw["vec"]["S"])
            # What newer code has written is not for this code to read, nor to undo.
            known = decode(vec) if gen <= catalog.GENERATION else NOTHING
            return cls(int(raw["ord"]["N"]), gen, known, vec)
        except _UNREADABLE:
            raise Damaged(raw["sk"]["S"]) from None


def encode(contribution: Contribution) -> str:
    """A contribution as text; equal contributions give equal text."""
    if contribution == NOTHING:
        return ""
    vectors: dict[str, int] = {}
    rows: dict[str, dict[str, int]] = {}
    for key, vector in sorted(contribution.figures.items()):
        text = json.dumps(vector, sort_keys=True, separators=(",", ":"))
        number = vectors.setdefault(text, len(vectors))
        rows.setdefault(f"{key.subject}#{key.subject_id}", {})[key.period] = number
    body: dict[str, Any] = {"v": [json.loads(text) for text in vectors], "f": rows}
    if contribution.pairs:
        body["p"] = sorted(contribution.pairs)
    if contribution.visits:
        body["c"] = sorted(contribution.visits)
    whole = json.dumps(body, separators=(",", ":"))
    return b64encode(zlib.compress(whole.encode(), 9)).decode()


def decode(text: str) -> Contribution:
    """The reverse of :func:`encode`; the first two generations wrote plain JSON."""
    if not text:
        return NOTHING
    whole = text if text.startswith("{") else zlib.decompress(b64decode(text)).decode()
    body = json.loads(whole)
    figures: dict[AggregateKey, Vector] = {}
    for owner, periods in body["f"].items():
        subject, subject_id = owner.split("#", 1)
        for period, number in periods.items():
            figures[AggregateKey(subject, subject_id, period)] = dict(body["v"][number])
    return Contribution(
        figures,
        {Pair(*pair): 1 for pair in body.get("p", ())},
        {Visit(*visit): 1 for visit in body.get("c", ())},
    )
