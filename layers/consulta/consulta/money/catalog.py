"""The practice's services in Stripe's catalogue: a Product each, with the price of today.

On the platform's account, behind the request that changes a service. The product's id is the
service's own and a price's lookup key says what it costs, so that whatever is done twice, late or
by two at once comes to the same. A price never changes: another amount is another Price, and the
one before is put out of use. Source: https://docs.stripe.com/products-prices/manage-prices.

Labels are neutral by default: a service's name is health data (MONEY_AND_BOOKING_RULES §11).
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from consulta.core import aws, settings, table
from consulta.core.bus import Event
from consulta.core.errors import Invalid, Problem
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.observe import count, failure
from consulta.money.currencies import to_stripe
from consulta.money.stripe.client import AlreadyExists, client, translated
from consulta.money.stripe.provider import PAGE
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling.records import PACKAGE, SERVICE, ServiceCatalogItem, ServiceItem
from consulta.scheduling.services import CATALOG, catalog_key

DEADLINE_S = 20.0
SYNCED, FAILED = "synced", "failed"
SEND_MAX = 10


class Worker(settings.Settings):
    """Where the messages come from."""

    catalog_queue_url: str


# ---------------------------------------------------------------- the batch


def process(records: list[dict[str, Any]]) -> list[str]:
    """Work on a batch of the queue; the ids of the messages that have to come again."""
    failed = []
    for record in records:
        try:
            handle(Event.received(record["body"]))
        except Exception as error:  # noqa: BLE001  # one poisoned message must not hold up the others
            failure("catalogue not in step", error, queue_message=record["messageId"])
            failed.append(record["messageId"])
    return failed


def handle(event: Event) -> None:
    """A service has changed, or the practice, on which its services' labels depend.

    Raises ProviderFailed for another try.
    """
    if event.entity == SERVICE:
        sync(event.tenant, event.id)
    elif event.entity == PRACTICE and event.action == "changed":
        _sync_all(event.tenant)


def _sync_all(tenant: Tenant) -> None:
    """One message for each service: a practice's are too many for one invocation."""
    query = table.Query(tenant.listing(SERVICE), index="l1")
    events = [
        Event(tenant.practice, SERVICE, raw["walksk"]["S"], int(raw["version"]["N"]), "changed")
        for raw in query.all()
    ]
    queue = settings.load(Worker).catalog_queue_url
    for first in range(0, len(events), SEND_MAX):
        entries = [
            {"Id": str(number), "MessageBody": json.dumps({"detail": asdict(event)})}
            for number, event in enumerate(events[first : first + SEND_MAX])
        ]
        answer = aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=entries)
        if answer.get("Failed"):
            raise Problem("Not all of the practice's services could be queued")


# ---------------------------------------------------------------- one service


@dataclass(frozen=True, slots=True)
class Listing:
    """What Stripe is to have of a service. ``amount`` in our minor units of ``currency``."""

    practice: str
    service: str
    version: int
    label: str
    listed: bool
    amount: int
    currency: str

    @classmethod
    def of(cls, service: ServiceItem, practice: PracticeItem) -> Self:
        """By the service and the practice as they are."""
        label = "Appointment"
        if service.kind == PACKAGE:
            label = f"Package of {int(service.sessions)} sessions"
        return cls(
            service.tenant.practice,
            service.item_id,
            int(service.version),
            service.name if practice.stripe_labels == "service" else label,
            bool(service.active) and service.deleted_at is None,
            int(service.price),
            service.currency,
        )

    @property
    def metadata(self) -> dict[str, str]:
        """Whose it is."""
        return {"practice": self.practice, "service": self.service}

    @property
    def lookup_key(self) -> str:
        """Of the price: it is found again by what it costs."""
        return f"{self.service}:{self.currency}:{self.amount}"

    def is_in(self, known: ServiceCatalogItem) -> bool:
        """Whether Stripe has all of it."""
        has = (known.label, known.listed, known.amount, known.currency)
        return has == (self.label, self.listed, self.amount, self.currency)

    def price_is_in(self, known: ServiceCatalogItem) -> bool:
        """Whether Stripe has the price."""
        return (known.amount, known.currency) == (self.amount, self.currency)


def sync(tenant: Tenant, service_id: str) -> None:
    """Bring Stripe to what the service is now.

    Freshness, not order: whoever finds that another wrote meanwhile reads again, and then leaves
    nothing to what was remembered. Raises ProviderFailed, after it is written down.
    """
    keys = [
        tenant.item(SERVICE, service_id),
        catalog_key(tenant, service_id),
        tenant.item(PRACTICE, tenant.practice),
    ]
    by = Actor("catalog", service_id)
    for number in table.attempts(DEADLINE_S):
        found = table.batch_get_raw(keys)
        if keys[0] not in found or keys[2] not in found:
            return
        service = ServiceItem.read(found[keys[0]])
        known = ServiceCatalogItem.read(found[keys[1]]) if keys[1] in found else None
        wanted = Listing.of(service, PracticeItem.read(found[keys[2]]))
        if known is None and service.deleted_at is not None:
            return
        trusted = known if known and known.state == SYNCED and not number else None
        if trusted and wanted.is_in(trusted):
            if int(trusted.service_version) == wanted.version:
                return
            price_id = str(trusted.price_id)
        else:
            try:
                price_id = bring(wanted, trusted, int(known.tries) if known else 0)
            except Problem as problem:
                _write(_failed(tenant, wanted, known, problem, by))
                count("CatalogFailures")
                if isinstance(problem, Invalid):  # an amount that Stripe does not take at all
                    return
                raise
        if _write(_synced(tenant, wanted, known, price_id, by)):
            return


def _synced(
    tenant: Tenant, wanted: Listing, known: ServiceCatalogItem | None, price_id: str, by: Actor
) -> table.Action:
    values = {
        "service_version": wanted.version,
        "state": SYNCED,
        "tries": 0,
        "product_id": wanted.service,
        "price_id": price_id,
        "label": wanted.label,
        "listed": wanted.listed,
        "amount": wanted.amount,
        "currency": wanted.currency,
    }
    if known is not None:
        return table.change(known, by, set_=values, remove=["error"])
    key = catalog_key(tenant, wanted.service)
    return table.put_new(ServiceCatalogItem.create(key, CATALOG, by, **values))


def _failed(
    tenant: Tenant,
    wanted: Listing,
    known: ServiceCatalogItem | None,
    problem: Problem,
    by: Actor,
) -> table.Action:
    values = {"service_version": wanted.version, "state": FAILED, "error": problem.type}
    if known is not None:
        return table.change(known, by, set_={**values, "tries": int(known.tries) + 1})
    key = catalog_key(tenant, wanted.service)
    return table.put_new(ServiceCatalogItem.create(key, CATALOG, by, tries=1, **values))


def _write(action: table.Action) -> bool:
    try:
        table.transact([action])
    except table.ConditionFailed:
        return False
    return True


# ---------------------------------------------------------------- at Stripe


def bring(wanted: Listing, known: ServiceCatalogItem | None, tries: int) -> str:
    """Make or change product and price; the price's id.

    ``known`` is what Stripe surely has; without it nothing is taken for granted. ``tries`` is part
    of the idempotency keys, since Stripe replays its own failures. Raises ProviderFailed, NotFound
    where the product was removed by hand, Invalid for an amount that Stripe does not take.
    """
    amount = to_stripe(wanted.amount, wanted.currency)
    _product(wanted, known, f"{wanted.service}:{wanted.version}:{tries}")
    if known and known.price_id and wanted.price_is_in(known):
        return str(known.price_id)
    active = _active_prices(wanted.service)
    price_id = _price(wanted, amount, f"{wanted.lookup_key}:{tries}")
    with translated("products.update"):
        # The default cannot be put out of use: first another takes its place.
        client().v1.products.update(wanted.service, {"default_price": price_id})
    for other in active:
        if other != price_id:
            with translated("prices.update"):
                client().v1.prices.update(other, {"active": False})
    return price_id


def _product(wanted: Listing, known: ServiceCatalogItem | None, key: str) -> None:
    shown = {"name": wanted.label, "active": wanted.listed}
    if known is None:
        made = {**shown, "id": wanted.service, "metadata": wanted.metadata}
        try:
            with translated("products.create"):
                client().v1.products.create(made, {"idempotency_key": key})
        except AlreadyExists:
            pass
        else:
            return
    elif (known.label, known.listed) == (wanted.label, wanted.listed):
        return
    with translated("products.update"):
        client().v1.products.update(wanted.service, shown)


def _active_prices(product: str) -> list[str]:
    with translated("prices.list"):
        listed = client().v1.prices.list({"product": product, "active": True, "limit": PAGE})
        return [price.id for price in listed.auto_paging_iter()]


def _price(wanted: Listing, amount: int, key: str) -> str:
    """The price of that amount, in use: found by its lookup key, else made."""
    with translated("prices.list"):
        listed = client().v1.prices.list({"lookup_keys": [wanted.lookup_key], "limit": 1})
    for price in listed.data:
        if not price.active:
            with translated("prices.update"):
                client().v1.prices.update(price.id, {"active": True})
        return str(price.id)
    params = {
        "product": wanted.service,
        "currency": wanted.currency.lower(),
        "unit_amount": amount,
        "lookup_key": wanted.lookup_key,
        "metadata": wanted.metadata,
    }
    with translated("prices.create"):
        return str(client().v1.prices.create(params, {"idempotency_key": key}).id)
