"""Until when a page or a Pix code can be paid, and where its payer comes back to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.core import settings
from consulta.core.errors import Conflict, Invalid
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.money.paying import checkouts
from consulta.money.provider import PaymentDetails, ReturnUrls
from consulta.money.records import PayeeItem, Provider
from consulta.scheduling.records import (
    APPOINTMENT,
    PACKAGE,
    AppointmentItem,
    PackageItem,
    Status,
)

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
PAGE = PaymentDetails(checkout=ReturnUrls("https://app.example/a", "https://app.example/b"))
WITH_PIX = PayeeItem(pix=True)
CODE = PaymentDetails(method="pix", payer_email="payer@example.com")
CARD = PaymentDetails()
MINUTE = timedelta(minutes=1)
TENANT, BY = Tenant("prac_01JC0NS0TADEM0000000000000"), Actor("person", "request")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "now", lambda: AT)


def held(booked: float, lasts: float = 15, currency: str = "BRL") -> AppointmentItem:
    """An appointment that was booked so many minutes ago, and is held so long from then on."""
    made = AT - booked * MINUTE
    item = AppointmentItem.create(
        TENANT.item(APPOINTMENT, "appt_1"),
        APPOINTMENT,
        BY,
        status=str(Status.HELD),
        currency=currency,
        hold_expires_at=made + lasts * MINUTE,
    )
    item.created_at = made
    return item


def of(
    wanted: AppointmentItem, details: PaymentDetails, provider: Provider, *, manual: bool = False
) -> tuple[float | None, float | None, int | None]:
    """Minutes until it ends, minutes until which the hold is extended, seconds of Pix."""
    found = checkouts.terms(wanted, WITH_PIX, provider, details, manual_capture=manual)
    until, extended = found.values.get("payable_until"), found.extended_to
    return (
        (until - AT) / MINUTE if until else None,
        (extended - AT) / MINUTE if extended else None,
        found.values.get("pix_expires_s"),
    )


@pytest.mark.parametrize(
    ("booked", "lasts", "ends", "extended"),
    [
        (0, 15, 32, 32),
        (13, 15, 32, 32),  # at 45 minutes to the second
        (0, 32, 32, None),
        (0, 40, 40, None),
        (300, 1440, 1140, None),  # approved first: it is held for a day
        (0, 2000, 1380, None),  # no page lasts longer than a day
    ],
)
def test_a_page_lasts_as_long_as_the_hold(
    booked: float, lasts: float, ends: float, extended: float | None
) -> None:
    found = of(held(booked, lasts), PAGE, Provider.STRIPE, manual=True)
    assert found == (ends, extended, None)


@pytest.mark.parametrize(("booked", "lasts"), [(13.1, 15), (14.9, 15), (30, 40), (1400, 1420)])
def test_a_hold_that_cannot_last_so_long(booked: float, lasts: float) -> None:
    for details, provider in ((PAGE, Provider.STRIPE), (CODE, Provider.MERCADOPAGO)):
        with pytest.raises(Conflict) as refused:
            of(held(booked, lasts), details, provider)
        assert refused.value.extra["code"] == "hold_too_short"


@pytest.mark.parametrize(
    ("booked", "lasts", "ends", "extended"),
    [(0, 15, 32, 32), (14, 15, 31, 31), (30, 40, 15, 15), (1400, 1420, 20, None)],
)
def test_mercado_pagos_page_has_no_minimum(
    booked: float, lasts: float, ends: float, extended: float | None
) -> None:
    assert of(held(booked, lasts), PAGE, Provider.MERCADOPAGO) == (ends, extended, None)


def test_mercado_pagos_pix_keeps_the_hold() -> None:
    assert of(held(1), CODE, Provider.MERCADOPAGO) == (32, 32, None)


@pytest.mark.parametrize(
    ("lasts", "seconds"), [(15, 900), (1, 60), (0.98, None), (60 * 24 * 20, 14 * 86400)]
)
def test_pix_at_stripe_lasts_as_long_as_the_hold(lasts: float, seconds: int | None) -> None:
    assert of(held(0, lasts), CARD, Provider.STRIPE) == (None, None, seconds)


def test_pix_on_stripes_page_lasts_as_long_as_the_page() -> None:
    assert of(held(0), PAGE, Provider.STRIPE) == (32, 32, 32 * 60)


def test_where_nothing_is_held() -> None:
    confirmed = held(0)
    confirmed.status = str(Status.CONFIRMED)
    assert of(confirmed, PAGE, Provider.STRIPE) == (23 * 60, None, 4 * 3600)
    assert of(confirmed, CARD, Provider.STRIPE) == (None, None, 4 * 3600)
    assert of(confirmed, CODE, Provider.MERCADOPAGO) == (4 * 60, None, None)


def test_a_package_is_not_held() -> None:
    sold = PackageItem.create(
        TENANT.item(PACKAGE, "pkg_1"), PACKAGE, BY, status="pending", currency="MXN"
    )
    found = checkouts.terms(sold, WITH_PIX, Provider.STRIPE, PAGE, manual_capture=False)
    assert found.values == {"checkout": True, "payable_until": AT + timedelta(hours=23)}
    assert found.extension(sold, BY) == []


@pytest.mark.parametrize(
    ("currency", "manual", "provider"),
    [
        ("MXN", False, Provider.STRIPE),
        ("BRL", True, Provider.STRIPE),
        ("BRL", False, Provider.MERCADOPAGO),
    ],
)
def test_cards_need_none_of_that(currency: str, manual: bool, provider: Provider) -> None:
    wanted = held(0, currency=currency)
    found = checkouts.terms(wanted, WITH_PIX, provider, CARD, manual_capture=manual)
    assert found == checkouts.Terms({})


def test_pix_at_stripe_is_a_setting_of_the_payee() -> None:
    wanted = held(0, currency="BRL")
    for payee, offered in ((WITH_PIX, True), (PayeeItem(), False)):
        found = checkouts.terms(wanted, payee, Provider.STRIPE, CARD, manual_capture=False)
        assert bool(found.values) is offered


# ---------------------------------------------------------------- where the payer comes back to


@pytest.fixture
def origins(environment: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    environment.setenv("ALLOWED_ORIGINS", "https://app.example, http://localhost:5173")
    environment.setenv("APP_URL", "https://desk.example:8443/start")
    settings.reset()
    yield environment
    settings.reset()


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example",
        "https://APP.example:443/paid?x={CHECKOUT_SESSION_ID}#done",
        "http://localhost:5173/",
        "https://desk.example:8443/back",
    ],
)
def test_an_origin_of_ours(origins: Any, url: str) -> None:
    checkouts.check_urls({"body.checkout.success_url": url})


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://app.example.com/", "origin"),
        ("https://xapp.example/", "origin"),
        ("https://desk.example/", "origin"),
        ("http://localhost/", "origin"),
        ("http://app.example/", "url"),
        ("https://user@app.example/", "url"),
        ("https://evil.example\\@app.example/", "url"),
        ("https://app.example:port/", "url"),
        ("//app.example/", "url"),
        ("javascript://app.example/%0aalert(1)", "url"),
        ("", "url"),
    ],
)
def test_anybody_elses(origins: Any, url: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        checkouts.check_urls({"a": "https://app.example/", "b": url})
    [error] = refused.value.errors
    assert (error.path, error.code) == ("b", code)


def test_no_origin_is_configured(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALLOWED_ORIGINS", "")
    environment.setenv("APP_URL", "")
    settings.reset()
    with pytest.raises(Invalid):
        checkouts.check_urls({"a": "https://app.example/"})
    settings.reset()
