"""Every event type that the providers' facts name is either worked on or knowingly ignored."""

import re
from pathlib import Path

import pytest

from consulta.money.webhooks import event_types
from consulta.money.webhooks.event_types import MERCADOPAGO, STRIPE, NotNeeded, Work
from consulta.money.webhooks.event_work import HANDLERS

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "webhooks.md").read_text()

# As the facts about the providers list them.
STRIPE_LISTED = """
payment_intent.{succeeded,payment_failed,processing,requires_action,canceled,amount_capturable_updated}
checkout.session.{completed,async_payment_succeeded,async_payment_failed,expired}
charge.{succeeded,failed,captured,updated}
refund.{created,updated,failed} charge.refunded
charge.dispute.{created,updated,closed,funds_withdrawn,funds_reinstated}
radar.early_fraud_warning.{created,updated}
account.updated account.application.deauthorized capability.updated
payout.{created,updated,paid,failed,canceled,reconciliation_completed} balance.available
transfer.{created,updated,reversed} application_fee.{created,refunded}
customer.subscription.{created,updated,deleted,paused,resumed,trial_will_end}
invoice.{created,finalized,finalization_failed,paid,payment_failed,payment_action_required}
invoice.{updated,upcoming,voided,marked_uncollectible,overdue}
setup_intent.{succeeded,setup_failed} payment_method.{attached,detached,automatically_updated}
"""
MERCADOPAGO_LISTED = """
payment order subscription_preapproval subscription_authorized_payment mp-connect
topic_claims_integration_wh topic_chargebacks_wh stop_delivery_op_wh
"""


def spread(listed: str) -> set[str]:
    """``a.{b,c}`` as ``a.b`` and ``a.c``."""
    found = set()
    for word in listed.split():
        head, _, tail = word.partition("{")
        found |= {head + end for end in tail.rstrip("}").split(",")} if tail else {word}
    return found


def test_the_tables_are_the_providers_lists() -> None:
    assert spread(STRIPE_LISTED) == set(STRIPE)
    # merchant_order and its second name are no topic of the list, and are told all the same.
    others = {"merchant_order", "topic_merchant_order_wh"}
    assert spread(MERCADOPAGO_LISTED) | others == set(MERCADOPAGO)


def test_every_work_has_a_handler_and_every_handler_a_type() -> None:
    tables = (STRIPE, MERCADOPAGO, event_types.STRIPE_FAMILIES)
    used = {work for types in tables for work in types.values() if isinstance(work, Work)}
    assert used == set(Work)
    assert set(HANDLERS) == set(Work)


def test_what_is_not_needed_says_why() -> None:
    for types in (STRIPE, MERCADOPAGO):
        assert all(len(w.why) > 10 for w in types.values() if isinstance(w, NotNeeded))


@pytest.mark.parametrize(
    ("provider", "kind", "work"),
    [
        ("stripe", "v2.core.account.updated", Work.ACCOUNT),
        ("stripe", "v2.core.account[requirements].updated", Work.ACCOUNT),
        ("stripe", "v2.core.event_destination.ping", None),
        ("stripe", "customer.created", None),
        ("stripe", "payment", None),
        ("mercadopago", "payment", Work.SELLER_PAYMENT),
        ("mercadopago", "v2.core.account.updated", None),
        ("mercadopago", "wallet_connect", None),
    ],
)
def test_a_type_is_its_providers_own(provider: str, kind: str, work: Work | None) -> None:
    assert event_types.find(provider, kind) is work


def test_the_guide_shows_the_same_table() -> None:
    shown = dict(re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", DOCS, flags=re.MULTILINE))
    for kind, work in {**STRIPE, **MERCADOPAGO}.items():
        expected = f"not needed: {work.why}" if isinstance(work, NotNeeded) else str(work)
        assert shown.get(kind, "").strip() == expected, kind
