"""Stripe's webhook endpoints beside our table of event types: every kind of finding, and none."""

from dataclasses import replace

import pytest

from consulta.money.webhooks.endpoints import ONLY, Endpoint, Finding, Scope, at, check, wanted
from consulta.money.webhooks.event_types import STRIPE, Work

URL = "https://api.example.com/webhooks/stripe"
PINNED = "2026-10-28.endive"


def endpoint(scope: Scope, *types: str, name: str = "") -> Endpoint:
    kinds = frozenset(types) or wanted(scope)
    return Endpoint(name or f"we_{scope}", URL, frozenset({scope}), PINNED, True, kinds)


ACCOUNT, CONNECT = endpoint(Scope.ACCOUNT), endpoint(Scope.CONNECT)
THIN = Endpoint(
    "ed_1", URL, frozenset(Scope), "", True, frozenset({"v2.core.account.updated"}), is_thin=True
)


def test_a_right_pair_has_no_findings() -> None:
    assert check([ACCOUNT, CONNECT], URL, PINNED) == []
    every = [endpoint(scope, "*") for scope in Scope]
    assert check(every, URL, PINNED) == []


def test_one_destination_of_both_is_enough() -> None:
    both = replace(ACCOUNT, scopes=frozenset(Scope), types=frozenset({"*"}))
    assert check([both], URL, PINNED) == []


@pytest.mark.parametrize(("missing", "there"), [(Scope.ACCOUNT, CONNECT), (Scope.CONNECT, ACCOUNT)])
def test_each_of_the_two_has_to_be_there(missing: Scope, there: Endpoint) -> None:
    assert check([there], URL, PINNED) == [Finding("missing", "", missing, "")]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/webhooks/stripe/",
        "https://other.example.com/webhooks/stripe",
        "http://api.example.com/webhooks/stripe",
        "https://api.example.com:8443/webhooks/stripe",
        "",
    ],
)
def test_another_address_is_another_stacks(url: str) -> None:
    elsewhere = replace(CONNECT, url=url, api_version="2020-08-27", is_enabled=False)
    found = check([ACCOUNT, elsewhere], URL, PINNED)
    assert found == [Finding("missing", "", Scope.CONNECT, "")]


def test_the_same_address_written_otherwise() -> None:
    same = replace(CONNECT, url="HTTPS://API.example.com:443/webhooks/stripe")
    assert at(URL, [ACCOUNT, same]) == [ACCOUNT, same]
    assert check([ACCOUNT, same], URL, PINNED) == []


@pytest.mark.parametrize(
    ("version", "detail"), [("2025-01-27.acacia", "2025-01-27.acacia"), ("", "the account's own")]
)
def test_the_version_is_the_pinned_one(version: str, detail: str) -> None:
    other = replace(CONNECT, api_version=version)
    found = check([ACCOUNT, other], URL, PINNED)
    assert found == [Finding("api_version", "we_connect", "connect", detail)]


def test_a_disabled_one_tells_nothing() -> None:
    off = replace(ACCOUNT, is_enabled=False)
    assert check([off, CONNECT], URL, PINNED) == [
        Finding("disabled", "we_account", "account", ""),
        Finding("missing", "", "account", ""),
    ]
    # Another one does.
    other = replace(ACCOUNT, id="we_other")
    found = check([off, other, CONNECT], URL, PINNED)
    assert found == [Finding("disabled", "we_account", "account", "")]


def test_every_type_that_we_work_on_has_to_be_told() -> None:
    without = {"charge.updated", "refund.failed"}
    less = replace(CONNECT, types=CONNECT.types - without)
    found = check([ACCOUNT, less], URL, PINNED)
    assert found == [Finding("types", "", "connect", "charge.updated, refund.failed")]
    # What one does not tell another one may.
    rest = endpoint(Scope.CONNECT, *without, name="we_rest")
    assert check([ACCOUNT, less, rest], URL, PINNED) == []
    # But not one of the other scope.
    elsewhere = endpoint(Scope.ACCOUNT, *without, name="we_elsewhere")
    assert check([ACCOUNT, less, elsewhere], URL, PINNED) == found


def test_a_thin_one_has_no_version_and_names_the_first_apis_types_otherwise() -> None:
    assert check([ACCOUNT, CONNECT, THIN], URL, PINNED) == []
    off = replace(THIN, is_enabled=False)
    assert check([ACCOUNT, CONNECT, off], URL, PINNED) == [
        Finding("disabled", "ed_1", "account, connect", "")
    ]
    less = replace(CONNECT, types=CONNECT.types - {"charge.updated"})
    named = replace(THIN, types=frozenset({"v1.charge.updated"}))
    assert check([ACCOUNT, less, named], URL, PINNED) == []
    # Everything of the second API is nothing of the first.
    every = replace(THIN, types=frozenset({"*"}))
    assert [one.kind for one in check([ACCOUNT, less, every], URL, PINNED)] == ["types"]


def test_what_is_wanted_is_the_table_by_scope() -> None:
    handled = {kind for kind, work in STRIPE.items() if isinstance(work, Work)}
    assert wanted(Scope.ACCOUNT) | wanted(Scope.CONNECT) == handled
    assert wanted(Scope.ACCOUNT) == handled - ONLY[Scope.CONNECT]
    assert wanted(Scope.CONNECT) == handled - ONLY[Scope.ACCOUNT]
    assert all(types < handled for types in ONLY.values())
    # What is knowingly ignored need not be told.
    assert "invoice.paid" not in handled
