"""Every row of the table of entries, in its order, with the entries of both books by hand.

Source: MONEY_AND_BOOKING_RULES §2. A price of 100.00, a commission of 10.00 that contains 1.60 of
tax, 3.20 for the provider. ``A/B x`` is debit A, credit B, amount x.
"""

from collections.abc import Iterable

import pytest

from consulta.money.books import ledger
from consulta.money.books.ledger import Charge, Event, Leg, Posting, Settlement
from consulta.money.records import Provider

DESTINATION = Charge(Provider.STRIPE, "acct", "p", "EUR", destination=True, platform_pays_fees=True)
DIRECT = Charge(Provider.STRIPE, "acct", "p", "EUR")
DIRECT_PAID_BY_US = Charge(Provider.STRIPE, "acct", "p", "EUR", platform_pays_fees=True)
MERCADOPAGO = Charge(Provider.MERCADOPAGO, "4711", "p", "MXN")
RELEASED = Charge(Provider.MERCADOPAGO, "4711", "p", "MXN", part=ledger.AVAILABLE)


def by_hand(book: str, *lines: str, currency: str = "EUR") -> list[tuple[str, str, str, int]]:
    """``A/B x`` as book, account, currency, debit less credit; without names of the books."""
    found = []
    for line in lines:
        accounts, _, amount = line.rpartition(" ")
        debited, credited = accounts.split("/")
        found += [(book, debited, currency, int(amount)), (book, credited, currency, -int(amount))]
    return found


def plat(*lines: str, currency: str = "EUR") -> list[tuple[str, str, str, int]]:
    return by_hand("PLAT", *lines, currency=currency)


def payee(*lines: str, currency: str = "EUR") -> list[tuple[str, str, str, int]]:
    return by_hand("PAYEE", *lines, currency=currency)


def entries(*postings: Posting) -> list[tuple[str, str, str, int]]:
    return sorted(
        (entry.book.partition(":")[0], entry.account, posting.currency, entry.debit - entry.credit)
        for posting in postings
        for entry in posting.entries
    )


ROWS: list[tuple[str, Iterable[Posting], list[tuple[str, str, str, int]]]] = [
    (
        "destination charge succeeded",
        [ledger.charge_succeeded(DESTINATION, "k", 10_000, 1_000, commission_tax=160)],
        [
            *plat(
                "prov:stripe:unsettled/due:PAYEE:p 10000",
                "due:PAYEE:p/prov:stripe:unsettled 10000",
                "prov:stripe:unsettled/commission 840",
                "prov:stripe:unsettled/tax_out 160",
            ),
            *payee("prov:acct:unsettled/patient 10000", "commission/prov:acct:unsettled 1000"),
        ],
    ),
    (
        "destination charge settled",
        [
            ledger.charge_settled(
                DESTINATION, "k", 10_000, 1_000, Settlement(320), moved=990, more_tax=-1
            )
        ],
        [
            *plat(
                "prov:stripe:pending/prov:stripe:unsettled 1000",
                "commission/prov:stripe:pending 9",
                "tax_out/prov:stripe:pending 1",
                "fee/prov:stripe:pending 320",
            ),
            *payee("prov:acct:pending/prov:acct:unsettled 9000", "prov:acct:pending/commission 10"),
        ],
    ),
    (
        "direct charge succeeded",
        [ledger.charge_succeeded(DIRECT, "k", 10_000, 1_000, commission_tax=160)],
        [
            *plat("prov:stripe:unsettled/commission 840", "prov:stripe:unsettled/tax_out 160"),
            *payee("prov:acct:unsettled/patient 10000", "commission/prov:acct:unsettled 1000"),
        ],
    ),
    (
        "direct charge settled",
        [ledger.charge_settled(DIRECT, "k", 10_000, 1_000, Settlement(320), moved=1_000)],
        [
            *plat("prov:stripe:pending/prov:stripe:unsettled 1000"),
            *payee("prov:acct:pending/prov:acct:unsettled 9000", "fee/prov:acct:pending 320"),
        ],
    ),
    (
        "direct charge settled, the platform pays fees",
        [
            ledger.charge_settled(
                DIRECT_PAID_BY_US, "k", 10_000, 1_000, Settlement(320), moved=1_000
            )
        ],
        [
            *plat("prov:stripe:pending/prov:stripe:unsettled 1000", "fee/prov:stripe:pending 320"),
            *payee("prov:acct:pending/prov:acct:unsettled 9000"),
        ],
    ),
    (
        "Mercado Pago",
        [
            ledger.charge_succeeded(
                MERCADOPAGO, "k", 10_000, 1_000, commission_tax=160, settled=Settlement(320, 120)
            )
        ],
        [
            *plat(
                "prov:mercadopago:pending/commission 840",
                "prov:mercadopago:pending/tax_out 160",
                currency="MXN",
            ),
            *payee(
                "prov:4711:pending/patient 10000",
                "commission/prov:4711:pending 1000",
                "fee/prov:4711:pending 320",
                "tax_withheld/prov:4711:pending 120",
                currency="MXN",
            ),
        ],
    ),
    (
        "cash, transfer",
        [ledger.manual_payment("p", "k", "EUR", 10_000)],
        payee("cash/patient 10000"),
    ),
    (
        "cash, transfer, commissionable",
        [ledger.manual_payment("p", "k", "EUR", 10_000, 1_000, 160)],
        [
            *plat("due:PAYEE:p/commission 840", "due:PAYEE:p/tax_out 160"),
            *payee("cash/patient 10000", "commission/due:PLAT 1000"),
        ],
    ),
    (
        "completed",
        [ledger.earned("p", "k", "EUR", 10_000, 1_379)],
        payee("patient/revenue 8621", "patient/tax_out 1379"),
    ),
    (
        "k-th package session",
        [
            ledger.earned(
                "p",
                f"k{number}",
                "EUR",
                ledger.session_share(10_000, 3, number),
                ledger.tax_part(1_379, done, 10_000) - ledger.tax_part(1_379, before, 10_000),
            )
            for number, (before, done) in enumerate(
                [(0, 3_333), (3_333, 6_666), (6_666, 10_000)], 1
            )
        ],
        [
            *payee("patient/revenue 2873", "patient/tax_out 460"),
            *payee("patient/revenue 2874", "patient/tax_out 459"),
            *payee("patient/revenue 2874", "patient/tax_out 460"),
        ],
    ),
    (
        "deposit, then remainder",
        [
            ledger.charge_succeeded(DIRECT, "deposit", 3_000, 300),
            ledger.manual_payment("p", "remainder", "EUR", 7_000),
        ],
        [
            *plat("prov:stripe:unsettled/commission 300"),
            *payee("prov:acct:unsettled/patient 3000", "commission/prov:acct:unsettled 300"),
            *payee("cash/patient 7000"),
        ],
    ),
    (
        "refund requested",
        [ledger.refund_requested("p", "k", "EUR", 4_000, 0)],
        payee("patient/refund_due 4000"),
    ),
    (
        "refund requested, a part of it earned",
        [ledger.refund_requested("p", "k", "EUR", 1_000, 3_000, 414)],
        payee("patient/refund_due 1000", "revenue/refund_due 2586", "tax_out/refund_due 414"),
    ),
    (
        "refund succeeded, destination",
        [ledger.refund_succeeded(DESTINATION, "k", 4_000, 400, 64)],
        [
            *plat(
                "due:PAYEE:p/prov:stripe:pending 4000",
                "prov:stripe:pending/due:PAYEE:p 4000",
                "commission/prov:stripe:pending 336",
                "tax_out/prov:stripe:pending 64",
            ),
            *payee("refund_due/prov:acct:pending 4000", "prov:acct:pending/commission 400"),
        ],
    ),
    (
        "refund succeeded, direct",
        [ledger.refund_succeeded(DIRECT, "k", 4_000, 400)],
        [
            *plat("commission/prov:stripe:pending 400"),
            *payee("refund_due/prov:acct:pending 4000", "prov:acct:pending/commission 400"),
        ],
    ),
    (
        "refund succeeded, Mercado Pago after the release",
        [ledger.refund_succeeded(RELEASED, "k", 4_000, 400)],
        [
            *plat("commission/prov:mercadopago:available 400", currency="MXN"),
            *payee(
                "refund_due/prov:4711:available 4000",
                "prov:4711:available/commission 400",
                currency="MXN",
            ),
        ],
    ),
    (
        "refund succeeded, destination, after one that failed: what was left with us pays for it",
        [ledger.refund_succeeded(DESTINATION, "k", 4_000, 0, from_payee=1_000)],
        [
            *plat("due:PAYEE:p/prov:stripe:pending 4000", "prov:stripe:pending/due:PAYEE:p 1000"),
            *payee("refund_due/prov:acct:pending 1000", "refund_due/due:PLAT 3000"),
        ],
    ),
    (
        "refund failed, destination",
        [ledger.refund_failed(DESTINATION, "k", 4_000)],
        [
            *plat("prov:stripe:pending/due:PAYEE:p 4000"),
            *payee("due:PLAT/refund_due 4000"),
        ],
    ),
    (
        "refund failed, direct",
        [ledger.refund_failed(DIRECT, "k", 4_000)],
        payee("prov:acct:pending/refund_due 4000"),
    ),
    (
        "refund succeeded, cash",
        [ledger.manual_refund("p", "k", "EUR", 4_000, 400, 64)],
        [
            *plat("commission/due:PAYEE:p 336", "tax_out/due:PAYEE:p 64"),
            *payee("refund_due/cash 4000", "due:PLAT/commission 400"),
        ],
    ),
    (
        "dispute, funds withdrawn, destination",
        [ledger.dispute_withdrawn(DESTINATION, "k", 10_000, 1_500)],
        plat("held/prov:stripe:pending 10000", "fee/prov:stripe:pending 1500"),
    ),
    (
        "dispute, funds withdrawn, direct",
        [ledger.dispute_withdrawn(DIRECT, "k", 10_000, 1_500)],
        payee("held/prov:acct:pending 10000", "fee/prov:acct:pending 1500"),
    ),
    (
        "dispute, funds withdrawn, Mercado Pago",
        [ledger.dispute_withdrawn(MERCADOPAGO, "k", 10_000)],
        payee("held/prov:4711:pending 10000", currency="MXN"),
    ),
    (
        "recovered by transfer reversal",
        [ledger.dispute_recovered(DESTINATION, "k", 6_000)],
        [
            *plat("prov:stripe:pending/due:PAYEE:p 6000"),
            *payee("held/prov:acct:pending 6000"),
        ],
    ),
    (
        "dispute lost, destination",
        [ledger.dispute_lost(DESTINATION, "k", 10_000, 6_000)],
        [*plat("due:PAYEE:p/held 6000", "loss/held 4000"), *payee("loss/held 6000")],
    ),
    (
        "dispute lost, direct",
        [ledger.dispute_lost(DIRECT, "k", 10_000)],
        payee("loss/held 10000"),
    ),
    (
        "dispute won, destination, recovered before",
        [
            ledger.dispute_reinstated(DESTINATION, "k", 10_000),
            ledger.dispute_returned(DESTINATION, "l", 6_000),
        ],
        [
            *plat("prov:stripe:pending/held 10000", "due:PAYEE:p/prov:stripe:pending 6000"),
            *payee("prov:acct:pending/held 6000"),
        ],
    ),
    (
        "dispute won, direct",
        [ledger.dispute_reinstated(DIRECT, "k", 10_000)],
        payee("prov:acct:pending/held 10000"),
    ),
    (
        "payout created, paid",
        [
            ledger.payout_created("PAYEE:p", "acct", "k", "EUR", 9_000, 90),
            ledger.payout_paid("PAYEE:p", "l", "EUR", 9_000),
        ],
        payee(
            "transit/prov:acct:available 9000", "fee/prov:acct:available 90", "bank/transit 9000"
        ),
    ),
    (
        "payout failed",
        [ledger.payout_returned("PAYEE:p", "acct", "k", "EUR", 9_000, was_paid=False)],
        payee("prov:acct:available/transit 9000"),
    ),
    (
        "payout failed after it was paid",
        [ledger.payout_returned("PLAT", "stripe", "k", "EUR", 9_000, was_paid=True)],
        plat("prov:stripe:available/bank 9000"),
    ),
    (
        "funds available",
        [ledger.funds_available("PAYEE:p", "acct", "k", "EUR", 9_000)],
        payee("prov:acct:available/prov:acct:pending 9000"),
    ),
    (
        "funds available, Mercado Pago's release",
        [ledger.released(MERCADOPAGO, "k", 1_000, 8_560)],
        [
            *plat("prov:mercadopago:available/prov:mercadopago:pending 1000", currency="MXN"),
            *payee("prov:4711:available/prov:4711:pending 8560", currency="MXN"),
        ],
    ),
    (
        "exchange, destination",
        ledger.exchanged(
            DESTINATION,
            ledger.charge_settled(DESTINATION, "k", 10_000, 1_000, Settlement(0), moved=1_000),
            {"PLAT": Leg("USD", 1_100, 350), "PAYEE:p": Leg("USD", 9_900)},
        ),
        [
            *plat("fx/prov:stripe:unsettled 1000"),
            *payee("fx/prov:acct:unsettled 9000"),
            *plat("prov:stripe:pending/fx 1100", "fee/prov:stripe:pending 350", currency="USD"),
            *payee("prov:acct:pending/fx 9900", currency="USD"),
        ],
    ),
    (
        "exchange, direct: each balance in its own currency",
        ledger.exchanged(
            DIRECT,
            ledger.charge_settled(DIRECT, "k", 10_000, 1_000, Settlement(0), moved=1_000),
            {"PLAT": Leg("GBP", 870), "PAYEE:p": Leg("USD", 9_900, 350)},
        ),
        [
            *plat("fx/prov:stripe:unsettled 1000"),
            *payee("fx/prov:acct:unsettled 9000"),
            *plat("prov:stripe:pending/fx 870", currency="GBP"),
            *payee("prov:acct:pending/fx 9900", "fee/prov:acct:pending 350", currency="USD"),
        ],
    ),
    (
        "exchange of a refund, at another rate",
        ledger.exchanged(
            DESTINATION,
            ledger.refund_succeeded(DESTINATION, "k", 4_000, 400, 64),
            {"PLAT": Leg("USD", -520), "PAYEE:p": Leg("USD", -3_960)},
        ),
        [
            *plat("commission/fx 336", "tax_out/fx 64"),
            *payee("refund_due/fx 4000", "fx/commission 400"),
            *plat("fx/prov:stripe:pending 520", currency="USD"),
            *payee("fx/prov:acct:pending 3960", currency="USD"),
        ],
    ),
    (
        "exchange of a dispute",
        ledger.exchanged(
            DIRECT,
            ledger.dispute_withdrawn(DIRECT, "k", 10_000),
            {"PAYEE:p": Leg("USD", -11_000, 1_500)},
        ),
        [
            *payee("held/fx 10000"),
            *payee("fx/prov:acct:pending 11000", "fee/prov:acct:pending 1500", currency="USD"),
        ],
    ),
    (
        "exchange for the payee alone, destination",
        ledger.exchanged(
            DESTINATION,
            ledger.charge_settled(DESTINATION, "k", 10_000, 1_000, Settlement(320), moved=1_000),
            {"PLAT": Leg("EUR", 0), "PAYEE:p": Leg("USD", 9_900)},
        ),
        [
            *plat("prov:stripe:pending/prov:stripe:unsettled 1000", "fee/prov:stripe:pending 320"),
            *payee("fx/prov:acct:unsettled 9000"),
            *payee("prov:acct:pending/fx 9900", currency="USD"),
        ],
    ),
    (
        "exchange for the payee alone: our commission came back with 3 less",
        ledger.exchanged(
            DESTINATION,
            ledger.charge_settled(DESTINATION, "k", 10_000, 1_000, Settlement(320), moved=1_000),
            {"PLAT": Leg("EUR", -3), "PAYEE:p": Leg("USD", 9_900)},
        ),
        [
            *plat(
                "prov:stripe:pending/prov:stripe:unsettled 1000",
                "fee/prov:stripe:pending 320",
                "fx/prov:stripe:pending 3",
            ),
            *payee("fx/prov:acct:unsettled 9000"),
            *payee("prov:acct:pending/fx 9900", currency="USD"),
        ],
    ),
    (
        "exchange for the payee alone, of a refund at another rate",
        ledger.exchanged(
            DESTINATION,
            ledger.refund_succeeded(DESTINATION, "k", 4_000, 400, 64),
            {"PLAT": Leg("EUR", 0), "PAYEE:p": Leg("USD", -3_960)},
        ),
        [
            *plat(
                "due:PAYEE:p/prov:stripe:pending 4000",
                "prov:stripe:pending/due:PAYEE:p 4000",
                "commission/prov:stripe:pending 336",
                "tax_out/prov:stripe:pending 64",
            ),
            *payee("refund_due/fx 4000", "fx/commission 400"),
            *payee("fx/prov:acct:pending 3960", currency="USD"),
        ],
    ),
    (
        "exchange for the payee alone, of what a dispute recovers",
        ledger.exchanged(
            DESTINATION,
            ledger.dispute_recovered(DESTINATION, "k", 10_000),
            {"PLAT": Leg("EUR", 0), "PAYEE:p": Leg("USD", -11_400)},
        ),
        [
            *plat("prov:stripe:pending/due:PAYEE:p 10000"),
            *payee("held/fx 10000"),
            *payee("fx/prov:acct:pending 11400", currency="USD"),
        ],
    ),
    (
        "exchange for the payee alone, of what a dispute that was won gives back",
        ledger.exchanged(
            DESTINATION,
            ledger.dispute_returned(DESTINATION, "k", 10_000),
            {"PLAT": Leg("EUR", 0), "PAYEE:p": Leg("USD", 11_200)},
        ),
        [
            *plat("due:PAYEE:p/prov:stripe:pending 10000"),
            *payee("fx/held 10000"),
            *payee("prov:acct:pending/fx 11200", currency="USD"),
        ],
    ),
    (
        "money that is not what we asked for",
        [ledger.mismatch(DIRECT, "k", "EUR", 70)],
        payee("prov:acct:unsettled/suspense 70"),
    ),
]


@pytest.mark.parametrize(
    ("postings", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_row(postings: list[Posting], wanted: list[tuple[str, str, str, int]]) -> None:
    # What nets out inside one posting in the charge's currency is left out of an exchange.
    assert entries(*postings) == merged(sorted(wanted), postings)


def merged(
    wanted: list[tuple[str, str, str, int]], postings: list[Posting]
) -> list[tuple[str, str, str, int]]:
    """Exchanges have one entry an account; all others are entry by entry."""
    if not any(posting.event is Event.EXCHANGE for posting in postings):
        return wanted
    sums: dict[tuple[str, str], int] = {}
    for book, account, currency, amount in wanted:
        if currency == "EUR":
            sums[book, account] = sums.get((book, account), 0) + amount
    own = [line for line in wanted if line[2] != "EUR"]
    return sorted([*((*place, "EUR", total) for place, total in sums.items() if total), *own])


def test_every_event_has_a_row() -> None:
    shown = {posting.event for _, postings, _ in ROWS for posting in postings}
    assert set(Event) == shown


def test_a_reversal_is_the_row_the_other_way_round() -> None:
    posting = ledger.refund_succeeded(DESTINATION, "k", 4_000, 400, 64)
    back = posting.reversed(Event.REFUND_REVERSED, "l")
    assert [(e.account, e.debit, e.credit) for e in back.entries] == [
        (e.account, e.credit, e.debit) for e in posting.entries
    ]


def test_what_the_platform_got_more_or_less_than_was_posted() -> None:
    settled = ledger.charge_settled(
        DESTINATION, "k", 10_000, 1_000, Settlement(320), moved=1_100, more_tax=16
    )
    # The commission that moved, not the one that was asked for; the fee is posted by itself.
    assert ledger.drift(DESTINATION, settled, Leg("EUR", 1_100)) == Leg("EUR", 0)
    assert ledger.drift(DESTINATION, settled, Leg("EUR", 1_097)) == Leg("EUR", -3)
    refunded = ledger.refund_succeeded(DESTINATION, "k", 4_000, 400, 64, from_payee=1_000)
    assert ledger.drift(DESTINATION, refunded, Leg("EUR", -3_400)) == Leg("EUR", 0)
    recovered = ledger.dispute_recovered(DESTINATION, "k", 7_000)
    assert ledger.drift(DESTINATION, recovered, Leg("EUR", 7_001)) == Leg("EUR", 1)


def test_the_platform_keeps_the_currency_of_its_own_charges_only() -> None:
    assert ledger.keeps_currency(DESTINATION, Leg("EUR", 1))
    assert not ledger.keeps_currency(DESTINATION, Leg("USD", 1))
    # Of a direct charge it gets a commission that was converted away and back.
    assert not ledger.keeps_currency(DIRECT, Leg("EUR", 1))


def test_the_keys_of_an_exchange_for_the_payee_alone() -> None:
    """The platform's transaction keeps its key: it is in the charge's currency."""
    settled = ledger.charge_settled(DESTINATION, "k", 10_000, 1_000, Settlement(320), moved=1_000)
    legs = {"PLAT": Leg("EUR", 0), "PAYEE:p": Leg("USD", 9_900)}
    made = {posting.key: posting for posting in ledger.exchanged(DESTINATION, settled, legs)}
    assert {key: (one.event, one.currency) for key, one in made.items()} == {
        "k": (Event.CHARGE_SETTLED, "EUR"),
        "k:USD": (Event.CHARGE_SETTLED, "USD"),
    }


def test_the_keys_of_an_exchange() -> None:
    """The provider's own transaction keeps its key in its own currency; the rest is named after."""
    settled = ledger.charge_settled(DIRECT, "k", 10_000, 1_000, Settlement(0), moved=1_000)
    legs = {"PLAT": Leg("GBP", 870), "PAYEE:p": Leg("USD", 9_900)}
    made = {posting.key: posting for posting in ledger.exchanged(DIRECT, settled, legs)}
    assert {key: (one.event, one.currency) for key, one in made.items()} == {
        "k:exchange": (Event.EXCHANGE, "EUR"),
        "k": (Event.CHARGE_SETTLED, "USD"),
        "k:GBP": (Event.CHARGE_SETTLED, "GBP"),
    }
