"""Receipts as JSON and as PDF: of every kind of payment, for who may see it, in three languages."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any

import pypdf
import pytest

from consulta.core import table
from consulta.money.paying import payments, refunds
from consulta.money.schema.payments import ManualPaymentRequest, RefundRequest
from consulta.people.records import EXPERT, PATIENT, PRACTICE, PracticeItem
from consulta.reports.receipt_words import WORDS
from consulta.scheduling.records import APPOINTMENT, SERVICE
from tests.integration import test_money
from tests.integration.test_money import PRICE, Practice
from tests.unit.people.calling import Answer, call, event, handler, signed_in
from tests.unit.scheduling.world import TODAY, World

# The practice whose payee is connected, with scripted providers.
practice = test_money.practice

LONG = "Maximiliana Guadalupe Fernández-Villavicencio de la Concepción y Muñoz-Ibáñez " * 2


def path(payment_id: str) -> str:
    return f"/v1/payments/{payment_id}/receipt"


def ask(practice: Practice, payment_id: str, role: str = "owner", **request: Any) -> Answer:
    context = signed_in(role, practice.world.practice, request.pop("subject", ""))
    return call("receipts", "GET", path(payment_id), context=context, **request)


def pdf(practice: Practice, payment_id: str, **request: Any) -> tuple[dict[str, Any], bytes]:
    """The raw answer, and the file in it."""
    context = signed_in("owner", practice.world.practice)
    request = {"query": "format=pdf"} | request
    made = event("GET", path(payment_id), context=context, **request)
    raw = handler("receipts")(made, SimpleNamespace(aws_request_id="1", function_name="test"))
    assert raw["statusCode"] == 200, raw["body"]
    assert raw["isBase64Encoded"] is True
    return raw, base64.b64decode(raw["body"])


def text_of(body: bytes) -> str:
    reader = pypdf.PdfReader(io.BytesIO(body))
    return "\n".join(page.extract_text() for page in reader.pages)


def change(world: World, entity: str, item_id: str, **values: Any) -> None:
    table.transact([table.update(world.tenant.item(entity, item_id), set_=values)])


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


# ---------------------------------------------------------------- what it says


def test_a_payment_by_card_and_what_went_back(practice: Practice) -> None:
    payment = practice.paid()
    made = ask(practice, payment.id)
    assert made.status == 200, made.body
    body = made.body
    item = practice.payment(payment.id)
    assert body["number"].startswith(f"R-{item.local_date.replace('-', '')}-")
    assert body["number"].endswith(payment.id[-8:])
    assert (body["payment_id"], body["order_id"]) == (payment.id, payment.order_id)
    assert body["is_fiscal_invoice"] is False
    assert body["notice"] == WORDS["pt"].notice
    assert (body["issuer"]["name"], body["issuer"]["country"]) == ("Aurora", "PT")
    assert body["payee"]["id"] == body["issuer"]["id"]
    assert body["patient"]["name"] == "Inês Carvalho"
    assert body["expert"]["name"] == "Helena Duarte"
    [line] = body["lines"]
    assert (line["description"], line["quantity"]) == ("First consultation", 1)
    assert (line["net"], line["tax"], line["amount"]) == (eur(PRICE), None, eur(PRICE))
    [paid] = body["payments"]
    assert (paid["id"], paid["part"], paid["provider"]) == (payment.id, "full", "stripe")
    assert (paid["amount"], paid["paid_on"]) == (eur(PRICE), item.local_date)
    sums = ("total", "paid", "refunded", "left")
    assert [body[name] for name in sums] == [eur(PRICE), eur(PRICE), eur(0), eur(0)]

    amount = RefundRequest.model_validate({"amount": eur(1500), "reason": "goodwill"})
    refunds.create(practice.owner, payment.id, amount, None)
    after = ask(practice, payment.id).body
    assert after["number"] == body["number"]
    assert [one["amount"] for one in after["refunds"]] == [eur(1500)]
    # What was given back is not owed again.
    assert [after[name] for name in sums] == [eur(PRICE), eur(PRICE), eur(1500), eur(0)]
    refunds.create(practice.owner, payment.id, RefundRequest(), None)
    assert ask(practice, payment.id).body["refunded"] == eur(PRICE)


def test_money_taken_by_hand(practice: Practice) -> None:
    body = {
        "appointment_id": practice.hold(),
        "method": "cash",
        "amount": eur(PRICE),
        "received_at": TODAY.isoformat(),
    }
    payment = payments.record(practice.owner, ManualPaymentRequest.model_validate(body), None)
    [paid] = ask(practice, payment.id).body["payments"]
    assert (paid["provider"], paid["method"]) == ("manual", "cash")
    assert paid["paid_on"] == TODAY.isoformat()
    assert "Dinheiro" in text_of(pdf(practice, payment.id)[1])


def test_tax_and_deposit_are_told_apart(practice: Practice) -> None:
    """As they stand on the appointment and on its payments."""
    payment = practice.paid()
    tax = {"rate_bps": 2300, "code": "IVA", "inclusive": True, "amount": 935}
    stored = json.dumps(tax)
    change(
        practice.world,
        APPOINTMENT,
        str(payment.appointment_id),
        tax=stored,
        deposit=2000,
        payment_status="deposit_paid",
    )
    change(practice.world, "PAYMENT", payment.id, part="deposit", captured=2000, tax=374)
    body = ask(practice, payment.id).body
    [line] = body["lines"]
    assert line["tax"] == {**tax, "amount": eur(935)}
    assert (line["net"], body["net"], body["tax"]) == (eur(4065), eur(4065), eur(935))
    [paid] = body["payments"]
    assert (paid["part"], paid["amount"], paid["tax"]) == ("deposit", eur(2000), eur(374))
    assert (body["paid"], body["left"]) == (eur(2000), eur(3000))
    text = text_of(pdf(practice, payment.id)[1])
    for said in ("Sinal", "IVA 23%", "EUR 9.35", "EUR 30.00", "Falta pagar"):
        assert said in text, said
    # A cancelled appointment is owed no more.
    change(practice.world, APPOINTMENT, str(payment.appointment_id), status="cancelled")
    assert ask(practice, payment.id).body["left"] == eur(0)


def test_the_practice_says_who_it_is(practice: Practice) -> None:
    payment = practice.paid()
    before = ask(practice, payment.id).body["issuer"]
    assert (before["tax_id"], before["address"]) == ("", "")
    world = practice.world
    patched = call(
        "practices",
        "PATCH",
        f"/v1/practices/{world.practice}",
        {"tax_id": "PT 509 442 013", "address": "Rua da Saudade 3, 1100-583 Lisboa"},
        context=signed_in("owner", world.practice),
    )
    assert patched.status == 200, patched.body
    issuer = ask(practice, payment.id).body["issuer"]
    assert (issuer["tax_id"], issuer["address"]) == (
        "PT 509 442 013",
        "Rua da Saudade 3, 1100-583 Lisboa",
    )
    text = text_of(pdf(practice, payment.id)[1])
    assert "509 442 013" in text
    assert "1100-583 Lisboa" in text
    refused = call(
        "practices",
        "PATCH",
        f"/v1/practices/{world.practice}",
        {"address": "a\x00b"},
        context=signed_in("owner", world.practice),
    )
    assert refused.status in (400, 422)


def test_an_expert_who_is_paid_in_person_is_named(practice: Practice) -> None:
    payment = practice.paid()
    change(practice.world, "PAYMENT", payment.id, payee_id=practice.expert)
    assert ask(practice, payment.id).body["payee"] == {
        "id": practice.expert,
        "name": "Helena Duarte",
    }
    assert "Pago a" in text_of(pdf(practice, payment.id)[1])


# ---------------------------------------------------------------- who may, and when


def test_only_what_was_paid_has_one(practice: Practice) -> None:
    started = practice.start(practice.hold())
    for query in ("", "format=pdf"):
        answer = ask(practice, started.id, query=query)
        assert (answer.status, answer.body["state"]) == (409, "open")
    unknown = "pay_01JC0NS0TADEM0000000000009"
    assert ask(practice, unknown).status == 404
    assert ask(practice, "pay").status == 422
    assert ask(practice, started.id, query="format=docx").status == 422


def test_it_is_for_who_may_see_the_payment(practice: Practice) -> None:
    payment = practice.paid()
    item = practice.payment(payment.id)
    for role, subject, status in (
        ("owner", "", 200),
        ("viewer", "", 200),
        ("patient", item.patient_id, 200),
        ("patient", practice.world.patient(), 404),
        ("expert", practice.expert, 200),
        ("expert", practice.world.expert("Ana"), 404),
        ("operator", "", 403),
    ):
        assert ask(practice, payment.id, role, subject=subject).status == status, role
    stranger = signed_in("owner", World().practice)
    assert call("receipts", "GET", path(payment.id), context=stranger).status == 404
    # Billing may not read patients: the receipt is theirs, without the name.
    billing = ask(practice, payment.id, "billing").body
    assert (billing["patient"]["id"], billing["patient"]["name"]) == (item.patient_id, None)


# ---------------------------------------------------------------- the PDF


def test_accept_asks_for_it_and_format_decides(practice: Practice) -> None:
    payment = practice.paid()
    raw, body = pdf(practice, payment.id, query="", headers={"Accept": "application/pdf"})
    assert raw["headers"]["Content-Type"] == "application/pdf"
    number = ask(practice, payment.id).body["number"]
    assert raw["headers"]["Content-Disposition"] == f'attachment; filename="{number}.pdf"'
    assert raw["headers"]["Cache-Control"] == "no-store"
    assert body.startswith(b"%PDF-")
    for query, accept in (
        ("format=json", "application/pdf"),
        ("", "application/json"),
        ("", "application/json, application/pdf"),
        ("", "*/*"),
    ):
        answer = ask(practice, payment.id, query=query, headers={"Accept": accept})
        assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("country", "language", "said"),
    [
        ("PT", "pt", ["Recibo", "Não é um documento fiscal", "Página 1 de 1"]),
        ("MX", "es", ["Recibo", "No es un comprobante fiscal", "Página 1 de 1"]),
        ("US", "en", ["Receipt", "It is not a fiscal invoice", "Page 1 of 1"]),
    ],
)
def test_it_is_in_the_practices_language(
    practice: Practice, country: str, language: str, said: list[str]
) -> None:
    payment = practice.paid()
    change(practice.world, PRACTICE, practice.world.practice, country=country)
    assert ask(practice, payment.id).body["language"] == language
    _, body = pdf(practice, payment.id)
    text = text_of(body)
    assert [one for one in said if one not in text] == []
    # The same again is the same file, whose properties name nobody.
    assert pdf(practice, payment.id)[1] == body
    properties = str(pypdf.PdfReader(io.BytesIO(body)).metadata)
    for name in ("Inês", "Carvalho", "Helena", "Aurora"):
        assert name not in properties


def test_long_names_and_accents_are_drawn(practice: Practice) -> None:
    world = practice.world
    payment = practice.paid()
    item = practice.payment(payment.id)
    change(world, PRACTICE, world.practice, name=f"Clínica Ñandú {LONG}"[:120], address=LONG)
    change(world, PATIENT, item.patient_id, name=f"Ángela Ünsal Łukasz çã õ {LONG}"[:120])
    change(world, EXPERT, item.expert_id, name="Þórunn 李 Ögmundsdóttir")
    change(world, SERVICE, item.service_id, name="Sessão <b>&amp; acompanhamento " + "é" * 150)
    reader = pypdf.PdfReader(io.BytesIO(pdf(practice, payment.id)[1]))
    text = "".join(page.extract_text() for page in reader.pages).replace("\n", "")
    for said in ("Clínica Ñandú", "Ángela Ünsal Łukasz çã õ", "Ögmundsdóttir", "<b>&amp;", "ééé"):
        assert said in text, said
    assert len(reader.pages) == 1


def test_a_practice_that_is_gone_has_no_receipts(practice: Practice) -> None:
    payment = practice.paid()
    key = practice.world.tenant.item(PRACTICE, practice.world.practice)
    assert table.get(PracticeItem, key)
    table.transact([table.delete(key)])
    assert ask(practice, payment.id).status == 404
