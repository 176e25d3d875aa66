"""Paying on the provider's own page, and until when a page or a Pix code can be paid.

Source: MONEY_AND_BOOKING_RULES §4. What is paid on a page may come as late as the page ends, so a
hold lasts as long: it is extended in the transaction that writes the payment, before the provider
hears of it. One payment has one page for all its life; where that has ended, the next is made for a
payment of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from consulta.core import settings, table
from consulta.core.errors import Conflict, FieldError, Invalid
from consulta.core.identity import Principal
from consulta.core.item import Actor
from consulta.core.time import from_epoch, now, to_epoch
from consulta.money.paying import checkout_pages, effects, operations, payment_views
from consulta.money.paying.operations import OperationItem
from consulta.money.paying.orders import payee_of
from consulta.money.paying.parts import PaidFor
from consulta.money.paying.placing import LONGEST_HOLD
from consulta.money.provider import CheckoutPage, PageState, PaymentDetails
from consulta.money.providers import provider_for
from consulta.money.records import PayeeItem, PaymentItem, Provider, State
from consulta.money.schema.payments import StartedPayment
from consulta.scheduling import transitions
from consulta.scheduling.records import AppointmentItem, Status

# Stripe's minimum for a page, and Mercado Pago's for a Pix code; with time for a request that is
# sent again while it may still be on its way.
SHORTEST = timedelta(minutes=30) + timedelta(minutes=2)
# A page without a hold to respect: Stripe's maximum is 24 hours.
LONGEST_PAGE = timedelta(hours=23)
# Pix where nothing is held: Stripe's default. Its bounds are the provider's.
PIX_UNHELD, PIX_LEAST, PIX_MOST = timedelta(hours=4), timedelta(seconds=60), timedelta(days=14)
PIX, BRL = "pix", "BRL"
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"https": 443, "http": 80}


class FrontEnd(settings.Settings):
    """Where our front end is: the origins that may call the API, by commas, and the app itself."""

    allowed_origins: str = ""
    app_url: str = ""


# ---------------------------------------------------------------- where the payer comes back to


def check_urls(given: dict[str, str]) -> None:
    """Each has to be on an origin of our own front end, over https or on the own machine.

    ``given``: the field's path and its value. Raises Invalid with every field that is not: the
    provider would send payers wherever a caller likes.
    """
    front = settings.load(FrontEnd)
    known = {_origin(url) for url in [*front.allowed_origins.split(","), front.app_url] if url}
    wrong = []
    for path, url in given.items():
        origin = _origin(url)
        if origin is None:
            wrong.append(FieldError(path, "An address with https, or http on localhost", "url"))
        elif origin not in known:
            wrong.append(FieldError(path, "Not one of the allowed origins", "origin"))
    if wrong:
        raise Invalid(errors=tuple(wrong))


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or "@" in parts.netloc or "\\" in url:
        return None
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOCAL):
        return None
    return parts.scheme, host, port or _PORTS[parts.scheme]


# ---------------------------------------------------------------- how long it can be paid


@dataclass(frozen=True, slots=True)
class Terms:
    """Until when a payment can be made: what the payment keeps of it, and the hold's extension."""

    values: dict[str, Any]
    extended_to: datetime | None = None

    def extension(self, wanted: PaidFor, by: Actor) -> list[table.Action]:
        """Keep the hold as long; nothing where it lasts anyhow. Raises SlotTaken."""
        if self.extended_to is None or not isinstance(wanted, AppointmentItem):
            return []
        return transitions.extend_actions(wanted, by, self.extended_to)


def terms(
    wanted: PaidFor,
    payee: PayeeItem,
    provider: Provider,
    details: PaymentDetails,
    *,
    manual_capture: bool,
) -> Terms:
    """For a submission that is made now. Raises Conflict where the hold cannot last so long."""
    at, page = now(), details.checkout is not None
    pix = provider is Provider.MERCADOPAGO and details.method == PIX
    stripe_pix = (
        provider is Provider.STRIPE and payee.pix and wanted.currency == BRL and not manual_capture
    )
    if not (page or pix or stripe_pix):
        return Terms({})
    held = _hold(wanted)
    until = held
    if page or pix:
        # Mercado Pago sets no minimum for its page.
        strict = pix or provider is Provider.STRIPE
        unheld = LONGEST_PAGE if page else PIX_UNHELD
        until = _until(wanted, held, at, unheld, strict=strict)
    values: dict[str, Any] = {"checkout": True} if page else {}
    if page or pix:
        values["payable_until"] = until
    if stripe_pix:
        values["pix_expires_s"] = _pix_seconds(until if held else None, at)
    return Terms(values, until if held and until and until > held else None)


def _hold(wanted: PaidFor) -> datetime | None:
    if isinstance(wanted, AppointmentItem) and wanted.status == Status.HELD:
        ends: datetime | None = wanted.hold_expires_at
        return ends
    return None


def _until(
    wanted: PaidFor, held: datetime | None, at: datetime, unheld: timedelta, *, strict: bool
) -> datetime:
    """When a page or a code that is made ``at`` ends, to the second."""
    if held is None:
        return from_epoch(to_epoch(at + unheld))
    least = at + SHORTEST
    if held >= least:
        return from_epoch(to_epoch(min(held, at + LONGEST_PAGE)))
    longest = wanted.created_at + LONGEST_HOLD
    if least > longest and strict:
        raise Conflict(
            "The time cannot be held as long as this way of paying takes: pay by card directly, "
            "or book the time again",
            extra={"code": "hold_too_short", "hold_expires_at": held.isoformat()},
        )
    return from_epoch(to_epoch(max(held, min(least, longest))))


def _pix_seconds(until: datetime | None, at: datetime) -> int | None:
    """How long a Pix code holds: as long as the hold; None where that is too short for one."""
    left = PIX_UNHELD if until is None else until - at
    return int(min(left, PIX_MOST).total_seconds()) if left >= PIX_LEAST else None


# ---------------------------------------------------------------- the page


def is_over(payment: PaymentItem) -> bool:
    """Whether its page has ended by time, so that another payment takes its place."""
    ends = payment.payable_until
    return bool(payment.checkout and payment.state == State.OPEN and ends and ends <= now())


def begin(
    by: Principal, payment: PaymentItem, operation: OperationItem, details: PaymentDetails
) -> StartedPayment:
    """Ask for the page, by an operation that is persisted. Raises ProviderFailed."""
    page = provider_for(payment.provider).start_checkout(
        operations.first(operation), payment, payee_of(payment), details
    )
    return _shown(by, checkout_pages.remember(payment, page, by.actor), page)


def go_on(
    by: Principal,
    payment: PaymentItem,
    details: PaymentDetails,
    renew: Callable[[Principal, PaymentItem, PaymentDetails], StartedPayment],
) -> StartedPayment:
    """The same page while it is open; what became of the payment once it is not.

    ``renew`` submits again what is known not to have been made. Raises ProviderFailed, Conflict.
    """
    if payment.state != State.OPEN:
        return _shown(by, effects.reread(payment, by.actor), None)
    page = checkout_pages.read(payment)
    if page is None:
        operation = operations.find(by.tenant, payment.item_id, str(payment.operation_id))
        if operation is None or not operations.in_flight(operation):
            return renew(by, payment, details)
        if operation.digest != operations.digest(details):
            raise Conflict("A payment is being made at this moment: try again in a minute")
        return begin(by, payment, operation, details)
    payment = checkout_pages.remember(payment, page, by.actor)
    match page.state:
        case PageState.OPEN:
            return _shown(by, payment, page)
        case PageState.COMPLETE:
            return _shown(by, effects.reread(payment, by.actor), None)
        case PageState.EXPIRED:
            return _shown(by, effects.stop(payment, by.actor), None)


def _shown(by: Principal, payment: PaymentItem, page: CheckoutPage | None) -> StartedPayment:
    shown = payment_views.started(by, payment, None)
    return shown.model_copy(update={"action_url": page.url or None}) if page else shown
