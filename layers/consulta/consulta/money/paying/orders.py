"""An order's payments: making them, finding them, and which provider's payment is which of ours.

One order may be paid in several attempts, and by mistake twice.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from consulta.core import ids, table
from consulta.core.errors import Conflict, NotFound
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.time import now, to_text
from consulta.money.accounts import payees
from consulta.money.records import PAYMENT, REFUND, PayeeItem, PaymentItem, RefundItem, State
from consulta.people import writes

ORDER, PAYMENTS, PROVIDER_PAYMENT = "ORDER", "PAYMENTS", "PROVIDER_PAYMENT"


@dataclass(frozen=True, slots=True)
class Order:
    """The ids of an order's payments, the oldest first, as they were read."""

    tenant: Tenant
    id: str
    payment_ids: tuple[str, ...]

    @classmethod
    def read(cls, tenant: Tenant, order_id: str) -> Self:
        """Consistently."""
        query = table.Query(tenant.item(ORDER, order_id).pk, begins=f"{PAYMENT}#", consistent=True)
        ids = [raw["sk"]["S"].rpartition("#")[2] for raw in query.all()]
        return cls(tenant, order_id, tuple(ids))

    def payments(self) -> list[PaymentItem]:
        """The payments themselves, consistently."""
        keys = [self.tenant.item(PAYMENT, payment_id) for payment_id in self.payment_ids]
        found = table.batch_get_raw(keys)
        return [PaymentItem.read(found[key]) for key in keys if key in found]

    def add(self, payment_id: str) -> list[table.Action]:
        """One more payment, if it still has those that were read (label ``order``)."""
        count = len(self.payment_ids)
        counter = table.update(
            self.tenant.sub(ORDER, self.id, PAYMENTS),
            add={"payments": 1},
            condition="#count = :count" if count else "attribute_not_exists(#count)",
            names={"#count": "payments"},
            values={":count": count} if count else {},
            label="order",
        )
        pointer = self.tenant.sub(ORDER, self.id, PAYMENT, payment_id)
        return [counter, table.put_values(pointer, {"entity": "ORDER_PAYMENT"})]


def load(tenant: Tenant, payment_id: str) -> PaymentItem:
    """One payment, consistently. Raises NotFound."""
    payment = table.get(PaymentItem, tenant.item(PAYMENT, payment_id))
    if payment is None:
        raise NotFound
    return payment


def payee_of(payment: PaymentItem) -> PayeeItem:
    """Who is paid by it. Raises Conflict where the payee is gone."""
    payee = payees.find(payment.tenant, payment.payee_id)
    if payee is None:
        raise Conflict("The payee is no longer connected")
    return payee


def refunds_of(payment: PaymentItem) -> list[RefundItem]:
    """All refunds of a payment, the oldest first, consistently."""
    query = table.Query(payment.pk, begins=f"{REFUND}#", consistent=True)
    keys = [payment.tenant.item(REFUND, raw["sk"]["S"].rpartition("#")[2]) for raw in query.all()]
    found = table.batch_get_raw(keys)
    return [RefundItem.read(found[key]) for key in keys if key in found]


def payment_id_of(tenant: Tenant, provider: str, provider_id: str) -> str | None:
    """Our payment behind a provider's, where it has been adopted already."""
    return writes.holder(tenant, PROVIDER_PAYMENT, f"{provider}:{provider_id}")


def behind(tenant: Tenant, provider: str, provider_id: str, named: str) -> PaymentItem | None:
    """Our payment behind a provider's: who has adopted it, else the one that its metadata names.

    Consistently, in one read as a rule. None where there is none of this provider.
    """
    wanted = [tenant.unique(PROVIDER_PAYMENT, f"{provider}:{provider_id}")]
    with suppress(ValueError):  # metadata comes from outside: it need not even be an id
        wanted.append(tenant.item(PAYMENT, named))
    found = table.batch_get_raw(wanted)
    adopted = found.pop(wanted[0], None)
    key = tenant.item(PAYMENT, adopted["item_id"]["S"]) if adopted else wanted[-1]
    raw = found.get(key) or (table.get_raw(key) if adopted else None)
    payment = PaymentItem.read(raw) if raw else None
    return payment if payment and payment.provider == provider else None


def claim(
    tenant: Tenant, provider: str, provider_id: str, payment_id: str, *, instead_of: str = ""
) -> table.Action:
    """The provider's payment is this one of ours, and no other's but ``instead_of``'s till now."""
    return table.update(
        tenant.unique(PROVIDER_PAYMENT, f"{provider}:{provider_id}"),
        set_={"entity": "UNIQUE", "item_id": payment_id},
        condition="attribute_not_exists(pk) OR item_id IN (:payment, :before)",
        values={":payment": payment_id, ":before": instead_of},
        label="provider payment",
    )


COPIED = (
    "appointment_id",
    "package_id",
    "order_id",
    "patient_id",
    "expert_id",
    "service_id",
    "payee_id",
    "provider",
    "currency",
    "part",
    "tax",
    "commission",
    "commission_tax",
    "rate",
    "destination",
    "platform_pays_fees",
    "provider_account",
    "zone",
)


def new_payment(
    tenant: Tenant, like: PaymentItem, by: Actor, *, provider_id: str, amount: int
) -> PaymentItem:
    """Another open payment of the same order, in memory."""
    copied = {name: getattr(like, name) for name in COPIED}
    return make_payment(tenant, by, **copied, provider_id=provider_id, amount=amount)


def make_payment(tenant: Tenant, by: Actor, **attributes: object) -> PaymentItem:
    """A new open payment with its places in the lists, in memory."""
    payment_id, instant = ids.new_id("pay"), to_text(now())
    place = f"{instant}#{payment_id}"
    return PaymentItem.create(
        tenant.item(PAYMENT, payment_id),
        PAYMENT,
        by,
        state=str(State.OPEN),
        l1pk=tenant.listing_by(PAYMENT, "MONTH", instant[:7]),
        l1sk=place,
        l2pk=tenant.listing_by(PAYMENT, "EXPERT", str(attributes["expert_id"])),
        l2sk=place,
        l3pk=tenant.listing_by(PAYMENT, "PATIENT", str(attributes["patient_id"])),
        l3sk=place,
        walkpk=tenant.listing(PAYMENT),
        walksk=payment_id,
        **attributes,
    )
