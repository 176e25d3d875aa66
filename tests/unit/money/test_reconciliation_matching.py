"""The comparison itself: random histories with random losses are told apart exactly."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consulta.money.reconciliation.matching import (
    SENTENCES,
    Cause,
    Difference,
    Fact,
    Kind,
    Posted,
    Proof,
    match,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(hours=48), NOW - timedelta(hours=48) + timedelta(seconds=1)


def fact(**changes: Any) -> Fact:
    made = Fact("stripe:txn_1", "stripe", "MXN", 970, 30, OLD, "ch_1", "prac_1", "pay_1")
    return replace(made, **changes)


def posted(**changes: Any) -> Posted:
    made = Posted("stripe:txn_1", "stripe", "MXN", 970, 30, OLD, "prac_1", "pay_1")
    return replace(made, **changes)


def told(facts: list[Fact], ours: list[Posted]) -> list[tuple[str, str, int, int, int]]:
    found = match(facts, ours, NOW)
    return [(d.kind, d.cause, d.expected, d.found, d.net) for d in found]


def test_the_same_on_both_sides_is_nothing() -> None:
    assert told([fact()], [posted()]) == []
    assert told([], []) == []
    # Whenever it was posted.
    assert told([fact(at=YOUNG)], [posted(at=OLD)]) == []


def test_parts_of_one_posting_are_added() -> None:
    parts = [fact(net=1000, fee=0), fact(net=-30, fee=30), fact(net=50, fee=0)]
    assert told(parts, [posted(net=1020)]) == []
    assert told(parts[:2], [posted(net=1020)]) == [("amount", "amount", 1020, 970, -50)]
    assert told([fact()], [posted(net=900), posted(net=70, fee=0)]) == []


@pytest.mark.parametrize(("at", "kind"), [(OLD, "missing_here"), (YOUNG, "in_flight")])
def test_what_we_lack_is_missing_once_it_is_old(at: datetime, kind: str) -> None:
    assert told([fact(at=at)], []) == [(kind, "not_posted", 0, 970, 970)]


@pytest.mark.parametrize(("at", "kind"), [(OLD, "missing_there"), (YOUNG, "in_flight")])
def test_what_they_lack_is_missing_once_it_is_old(at: datetime, kind: str) -> None:
    assert told([], [posted(at=at)]) == [(kind, "not_there", 970, 0, -970)]


@pytest.mark.parametrize("at", [OLD, YOUNG])
def test_an_amount_is_wrong_at_any_age(at: datetime) -> None:
    one_more = fact(at=at, net=971)
    assert told([one_more], [posted()]) == [("amount", "amount", 970, 971, 1)]


def test_a_fee_is_compared_by_itself() -> None:
    # The same gross, another fee; and the same net, said to be of another fee.
    assert told([fact(net=971, fee=29)], [posted()]) == [("amount", "fee", 30, 29, 1)]
    assert told([fact(fee=29)], [posted()]) == [("amount", "fee", 30, 29, 0)]


def test_another_currency_is_two_differences() -> None:
    assert told([fact(currency="USD")], [posted()]) == [
        ("amount", "currency", 970, 0, -970),
        ("amount", "currency", 0, 970, 970),
    ]


def test_refunds_that_were_made_there() -> None:
    back = fact(net=-500, fee=0, external=True, at=YOUNG)
    made = Kind.EXTERNAL_REFUND, Cause.MADE_AT_PROVIDER
    assert told([back], []) == [(*made, 0, -500, -500)]
    # Taken into the books it stays to be seen, and is open no longer.
    (accepted,) = match([back], [posted(net=-500, fee=0)], NOW)
    assert (accepted.kind, accepted.done, accepted.net) == (Kind.EXTERNAL_REFUND, True, 0)
    wrong = told([back], [posted(net=-499, fee=0)])
    assert wrong == [("amount", "amount", -499, -500, -1)]


def test_what_nothing_explains() -> None:
    assert told([fact(is_ours=False)], []) == [("unknown", "not_ours", 0, 970, 970)]
    assert told([fact(suspended=True)], []) == [("unknown", "suspense", 0, 970, 970)]
    assert told([fact(is_ours=False)], [posted()]) == []


def test_what_moves_nothing_needs_no_posting() -> None:
    assert told([fact(net=0, fee=0)], [posted(key="stripe:txn_2", net=0, fee=0)]) == []


def test_keys_and_balances_are_never_mixed() -> None:
    assert len(told([fact()], [posted(key="stripe:txn_2")])) == 2
    assert len(told([fact()], [posted(account="acct_1")])) == 2


def test_every_cause_is_said_in_words() -> None:
    assert set(SENTENCES) == set(Cause)


# ---------------------------------------------------------------- random histories

LOSSES = ("none", "here", "there", "net", "fee", "external", "foreign")
EXPECTED = {
    "here": (Kind.MISSING_HERE, Cause.NOT_POSTED),
    "there": (Kind.MISSING_THERE, Cause.NOT_THERE),
    "net": (Kind.AMOUNT, Cause.AMOUNT),
    "fee": (Kind.AMOUNT, Cause.FEE),
    "external": (Kind.EXTERNAL_REFUND, Cause.MADE_AT_PROVIDER),
    "foreign": (Kind.UNKNOWN, Cause.NOT_OURS),
}
amounts = st.integers(-(10**9), 10**9).filter(bool)
movement = st.tuples(
    amounts,
    st.integers(0, 10**6),
    st.sampled_from(("MXN", "USD", "CLP")),
    st.sampled_from(("stripe", "acct_1", "8001")),
    st.booleans(),
    st.sampled_from(LOSSES),
    st.lists(amounts, max_size=3),
    st.integers(1, 10**6),
)


@given(st.lists(movement, max_size=40), st.randoms())
def test_losses_are_told_apart_exactly(history: list[Any], order: Any) -> None:
    facts, ours, wanted = list[Fact](), list[Posted](), set[Any]()
    for number, (net, fee, currency, account, is_old, loss, split, wrong) in enumerate(history):
        key, at = f"{account}:txn_{number}", OLD if is_old else YOUNG
        parts = [*split, net - sum(split)]
        theirs = [
            fact(key=key, account=account, currency=currency, net=part, fee=fee * (not n), at=at)
            for n, part in enumerate(parts)
        ]
        own = posted(key=key, account=account, currency=currency, net=net, fee=fee, at=at)
        if loss == "net":
            own = replace(own, net=net + wrong)
        if loss == "fee":
            own = replace(own, fee=fee + wrong, net=net - wrong)
        if loss == "external":
            theirs = [replace(part, external=True) for part in theirs]
        if loss == "foreign":
            theirs = [replace(part, is_ours=False) for part in theirs]
        facts += theirs if loss != "there" else []
        ours += [own] if loss in ("none", "there", "net", "fee") else []
        if loss != "none":
            kind, cause = EXPECTED[loss]
            if loss in ("here", "there") and not is_old:
                kind = Kind.IN_FLIGHT
            wanted.add((key, account, currency, kind, cause))
    order.shuffle(facts)
    order.shuffle(ours)
    found = match(facts, ours, NOW)
    assert {(d.key, d.account, d.currency, d.kind, d.cause) for d in found} == wanted
    assert len(found) == len(wanted)
    # What is listed explains the whole difference of every balance, to the last unit.
    for place in {(one.account, one.currency) for one in (*facts, *ours)}:
        assert _of(found, place) == _sum(facts, place) - _sum(ours, place)


def _of(found: list[Difference], place: tuple[str, str]) -> int:
    return sum(d.net for d in found if (d.account, d.currency) == place)


def _sum(moved: Any, place: tuple[str, str]) -> int:
    return sum(one.net for one in moved if (one.account, one.currency) == place)


# ---------------------------------------------------------------- balances


def test_a_balance_is_proven_or_explained() -> None:
    even = Proof("stripe", "MXN", 100, 100, 0, 7)
    assert (even.left, even.is_proven) == (0, True)
    explained = replace(even, provider=130, explained=30)
    assert (explained.left, explained.is_proven) == (0, False)
    assert replace(explained, explained=20).left == 10
    untold = replace(even, provider=None)
    assert (untold.left, untold.is_proven) == (0, False)
