"""Receipts: what a payment, and the order that it is of, came to. Read, and never stored.

Source: MONEY_AND_BOOKING_RULES §11: a receipt is not a fiscal invoice. Who issues those (CFDI,
NFS-e) takes the same answer as JSON: docs/receipts.md says which field is which.
"""

from collections.abc import Mapping
from datetime import date

from consulta.core import table
from consulta.core.errors import Conflict, NotFound
from consulta.core.fields import Amount
from consulta.core.identity import Principal
from consulta.core.keys import Key
from consulta.core.language import Language, language_of
from consulta.core.time import local_day
from consulta.money.paying import order_views, paid_for, parts, payment_views
from consulta.money.paying.orders import Order, refunds_of
from consulta.money.paying.parts import PaidFor, Part
from consulta.money.records import PaymentItem, Provider, RefundItem, RefundState
from consulta.money.schema.orders import OrderLine
from consulta.people.records import EXPERT, PATIENT, PRACTICE, PracticeItem
from consulta.reports.receipt_schema import (
    GivenBack,
    Issuer,
    LineTax,
    Named,
    PaidPart,
    Receipt,
    ReceiptLine,
)
from consulta.reports.receipt_words import FEE, WORDS
from consulta.scheduling.records import SERVICE, PackageItem

Found = Mapping[Key, table.Raw]


def of(by: Principal, payment_id: str) -> Receipt:
    """The receipt of a payment that the caller may see. Raises NotFound, Conflict (not paid)."""
    payment = payment_views.load(by, payment_id)
    if not payment.captured:
        raise Conflict("Nothing was paid yet: there is no receipt", extra={"state": payment.state})
    tenant = payment.tenant
    what = paid_for.of(payment)
    captured = [
        one
        for one in Order.read(tenant, payment.order_id).payments()
        if one.captured and payment_views.visible(by, one)
    ]
    refunds = [
        refund
        for one in captured
        if one.refunded or one.reserved
        for refund in refunds_of(one)
        if refund.state == RefundState.SUCCEEDED
    ]
    keys = [
        tenant.item(PRACTICE, tenant.practice),
        tenant.item(SERVICE, what.service_id),
        tenant.item(EXPERT, payment.expert_id),
        tenant.item(PATIENT, payment.patient_id),
    ]
    found = table.batch_get_raw(keys)
    if keys[0] not in found:
        raise NotFound
    return _Writer(by, payment, what, captured, refunds, found).receipt()


class _Writer:
    """Puts together what was read."""

    def __init__(
        self,
        by: Principal,
        payment: PaymentItem,
        what: PaidFor,
        captured: list[PaymentItem],
        refunds: list[RefundItem],
        found: Found,
    ) -> None:
        self.by, self.payment, self.what = by, payment, what
        self.captured = sorted(captured, key=lambda one: (one.paid_at or one.created_at, one.pk))
        self.refunds = sorted(refunds, key=lambda one: (one.updated_at, one.pk))
        self.found, self.tenant = found, payment.tenant
        key = self.tenant.item(PRACTICE, self.tenant.practice)
        self.practice = PracticeItem.read(found[key])

    def receipt(self) -> Receipt:
        payment, practice = self.payment, self.practice
        language = language_of(practice.country)
        lines = [self._line(one, language) for one in order_views.lines(self.what)]
        issued_at = payment.paid_at or payment.created_at
        direct = payment.payee_id != practice.item_id
        return Receipt(
            number=number_of(payment),
            payment_id=payment.item_id,
            order_id=payment.order_id,
            appointment_id=payment.appointment_id,
            package_id=payment.package_id,
            notice=WORDS[language].notice,
            language=language,
            zone=payment.zone,
            issued_at=issued_at,
            issued_on=_day(payment),
            issuer=Issuer(
                id=practice.item_id,
                name=practice.name,
                tax_id=practice.tax_id,
                address=practice.address,
                country=practice.country,
            ),
            payee=self._expert(payment.payee_id)
            if direct
            else Named(id=practice.item_id, name=practice.name),
            expert=self._expert(payment.expert_id),
            patient=self._patient(),
            provided_on=None
            if isinstance(self.what, PackageItem)
            else date.fromisoformat(self.what.local_date),
            currency=payment.currency,
            lines=lines,
            net=self._amount(sum(one.net.amount for one in lines)),
            tax=self._amount(sum(one.tax.amount.amount for one in lines if one.tax)),
            total=self._amount(sum(one.amount.amount for one in lines)),
            payments=[self._part(one) for one in self.captured],
            paid=self._amount(sum(int(one.captured) for one in self.captured)),
            refunds=[self._given_back(one) for one in self.refunds],
            refunded=self._amount(sum(int(one.amount) for one in self.refunds)),
            left=self._amount(order_views.due_of(self.what)[0]),
        )

    def _amount(self, minor: float) -> Amount:
        return Amount(amount=int(minor), currency=self.payment.currency)

    def _name(self, entity: str, item_id: str) -> str | None:
        raw = self.found.get(self.tenant.item(entity, item_id))
        return raw["name"]["S"] if raw and "name" in raw else None

    def _expert(self, expert_id: str) -> Named:
        return Named(id=expert_id, name=self._name(EXPERT, expert_id))

    def _patient(self) -> Named:
        patient_id = self.payment.patient_id
        name = self._name(PATIENT, patient_id) if self.by.sees_patients else None
        return Named(id=patient_id, name=name)

    def _line(self, line: OrderLine, language: Language) -> ReceiptLine:
        what, tax = self.what, line.tax
        is_fee = line.kind == FEE
        name = WORDS[language].parts[FEE] if is_fee else self._name(SERVICE, what.service_id)
        return ReceiptLine(
            kind=line.kind,
            service_id=line.service_id,
            description=name or "",
            quantity=line.quantity,
            sessions=int(what.sessions) if isinstance(what, PackageItem) else None,
            net=line.net,
            tax=LineTax(
                code=tax.code,
                rate_bps=tax.rate_bps,
                inclusive=tax.inclusive,
                amount=self._amount(tax.amount),
            )
            if tax
            else None,
            amount=line.amount,
        )

    def _part(self, payment: PaymentItem) -> PaidPart:
        is_fee = payment.part == Part.REMAINDER and parts.fee_of(self.what)
        return PaidPart.model_validate(
            {
                "id": payment.item_id,
                "part": FEE if is_fee else payment.part or "full",
                "provider": Provider(payment.provider).value,
                "provider_id": payment.provider_id,
                "method": payment.method,
                "paid_on": _day(payment),
                "amount": self._amount(payment.captured),
                "tax": self._amount(payment.tax or 0),
                "refunded": self._amount(payment.refunded),
            }
        )

    def _given_back(self, refund: RefundItem) -> GivenBack:
        on = date.fromisoformat(refund.local_date) if refund.local_date else None
        return GivenBack(
            id=refund.item_id,
            payment_id=refund.payment_id,
            on=on or local_day(refund.updated_at, refund.zone),
            amount=self._amount(refund.amount),
            reason=refund.reason,
        )


def _day(payment: PaymentItem) -> date:
    if payment.local_date:
        return date.fromisoformat(payment.local_date)
    return local_day(payment.paid_at or payment.created_at, payment.zone)


def number_of(payment: PaymentItem) -> str:
    """The same for the same payment, and no other's in its practice: ``R-20261121-7Q2MZ4XK``.

    The day of the practice on which it was paid, and the random end of its id. It is no
    consecutive number: those are a fiscal invoice's.
    """
    return f"R-{_day(payment):%Y%m%d}-{payment.item_id[-8:]}"
