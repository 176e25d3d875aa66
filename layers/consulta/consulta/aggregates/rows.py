"""The aggregates table's rows: figures, pairs, and what each item has contributed.

A contribution row is small and of one shape, because one is written with every change of an item::

    {"ord": 6, "gen": 1, "vec": "{...}"}      vec "" is a tombstone: gone, or nothing contributed

``vec`` is JSON. Equal vectors are written once (a month's and a total's are), and ids once per
subject, which keeps an appointment's row under 1 KB, one write unit outside a transaction::

    {"v": [{"open": 1, ...}], "f": {"EXPERT#exp_…": {"M#2026-11": 0, "TOTAL": 0}},
     "p": [["EXPERT-PATIENT", "exp_…", "pat_…"]]}
"""

import json
from dataclasses import dataclass
from typing import Any

from consulta.aggregates.contributions import (
    NOTHING,
    AggregateKey,
    Contribution,
    Pair,
    Vector,
)
from consulta.core import settings
from consulta.core.keys import Key, Tenant
from consulta.core.table import Raw

# Beside a practice's periods: how far a walk of its items has come.
WALK = "WALK"


def aggregates_table() -> str:
    """The aggregates table's name."""
    name: str = settings.load(settings.Tables).aggregates_table
    return name


def figures_key(tenant: Tenant, key: AggregateKey) -> Key:
    """Where a row of figures is."""
    return tenant.figures(*key)


def pair_key(tenant: Tenant, pair: Pair) -> Key:
    """Where a pair's count of live items is."""
    return tenant.pair(*pair)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A contribution row as it was read; ``ord`` 0 stands for a row that is not there."""

    ord: int = 0
    gen: int = 0
    contribution: Contribution = NOTHING

    @classmethod
    def read(cls, raw: Raw | None) -> "Remembered":
        """The row of DynamoDB's attribute map."""
        if raw is None:
            return cls()
        return cls(int(raw["ord"]["N"]), int(raw["gen"]["N"]), decode(raw["vec"]["S"]))


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
    return json.dumps(body, separators=(",", ":"))


def decode(text: str) -> Contribution:
    """The reverse of :func:`encode`."""
    if not text:
        return NOTHING
    body = json.loads(text)
    figures: dict[AggregateKey, Vector] = {}
    for owner, periods in body["f"].items():
        subject, subject_id = owner.split("#", 1)
        for period, number in periods.items():
            figures[AggregateKey(subject, subject_id, period)] = dict(body["v"][number])
    return Contribution(figures, {Pair(*pair): 1 for pair in body.get("p", ())})
