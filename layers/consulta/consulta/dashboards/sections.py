"""The sections: each a function of what was read, none knowing of the others.

Each gives its data, the rows of figures that it is made of (when they last changed is shown), and
the figures' names (whether those count every older item is shown).
"""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import NamedTuple

from consulta.aggregates.catalog import BALANCE
from consulta.aggregates.figures import Figures
from consulta.core.fields import Amount
from consulta.core.http import ApiModel
from consulta.core.money import BASIS_POINTS
from consulta.core.time import from_text
from consulta.dashboards import actions
from consulta.dashboards.ranges import by_currency, percent, rating
from consulta.dashboards.reads import MONTHS_AHEAD, MONTHS_BACK, Reads
from consulta.dashboards.schema import (
    ActivityEntry,
    Appointments,
    BalanceBrief,
    Earnings,
    EarningsList,
    ExpertStats,
    MonthEarnings,
    PatientStats,
    PayoutBrief,
    PayoutsPanel,
    RecentActivity,
    RevenueToday,
    SetupProgress,
    Spending,
    SpendingList,
    TodayPanel,
    TodaySchedule,
    WeekComparison,
    WeekCount,
    WeekRevenue,
)
from consulta.money.paying import shown_status
from consulta.people.records import EXPERT, PATIENT, ExpertItem, PracticeItem
from consulta.people.setup import setup_of
from consulta.scheduling.records import BOOKED, OPEN, Status

MONEY = (
    "collected",
    "refunded",
    "commission",
    "commission_returned",
    "fee",
    "platform_fee",
    "tax_withheld",
)
WEEK = timedelta(days=7)


class Built(NamedTuple):
    """A section's data, the rows that it is made of, and the names of their figures."""

    data: ApiModel
    rows: Iterable[Figures] = ()
    figures: tuple[str, ...] = ()


def booked(row: Figures) -> int:
    """Appointments that were booked in earnest."""
    return sum(row[f"status.{status}"] for status in BOOKED)


def ahead(reads: Reads, status: Status) -> int:
    """Open appointments of a status from now on: near ones by query, the rest by figures.

    Both by the day that is stamped on them.
    A month's rest is in day rows (a patient's month in the query), later months in theirs.
    """
    subject, figure = reads.subject, f"status.{status}"
    days = {} if subject.kind == PATIENT else reads.days
    later = {subject.month(n) for n in range(1, MONTHS_AHEAD + 1)}
    near = reads.upcoming.near
    if near is None:
        # A day too full to be read: its row, with what of today should be over and is still open.
        by = reads.months if subject.kind == PATIENT else days
        row = by.get(subject.month() if subject.kind == PATIENT else subject.today, Figures())
        count = row[figure]
    else:
        count = near[str(status)]
    return (
        count
        + sum(r[figure] for day, r in days.items() if subject.today < day <= subject.last_of_month)
        + sum(row[figure] for month, row in reads.months.items() if month in later)
    )


def upcoming_count(reads: Reads) -> int:
    """All open appointments from now on."""
    return sum(ahead(reads, status) for status in OPEN)


# ---------------------------------------------------------------- figures


def setup(expert: ExpertItem) -> Built:
    """D3: what is left to do, and where to publish."""
    found = setup_of(expert)
    href = actions.publish_href(expert.item_id) if found.can_publish else None
    return Built(SetupProgress.model_validate({**_fields(found), "publish_href": href}))


def _fields(found: object) -> dict[str, object]:
    names = ("done", "total", "steps", "can_publish")
    return {name: getattr(found, name) for name in names}


def expert_stats(reads: Reads) -> Built:
    """D4's figures, of an expert or of the whole practice."""
    total, months = reads.total, reads.months
    this = months.get(reads.subject.month(), Figures())
    last = months.get(reads.subject.month(-1), Figures())
    data = ExpertStats(
        upcoming_appointments=upcoming_count(reads),
        appointments_this_month=booked(this),
        appointments_last_month=booked(last),
        appointments_trend_percent=percent(booked(this), booked(last)),
        appointments_total=booked(total),
        unique_patients=total["unique_patients"],
        reviews=total["reviews"],
        average_rating=rating(total),
        profile_views=total["views"],
        profile_views_this_month=this["views"],
    )
    names = ("status", "unique_patients", "reviews", "rating", "views")
    return Built(data, [total, *months.values(), *reads.days.values()], names)


def patient_stats(reads: Reads, *, messages: bool) -> Built:
    """D2's figures."""
    total = reads.total
    following = reads.shown("upcoming", reads.upcoming.next[:1])
    data = PatientStats(
        upcoming_appointments=upcoming_count(reads),
        total_bookings=booked(total),
        unique_experts=total["unique_experts"],
        unread_messages=total["unread"] if messages else None,
        next_appointment=following[0] if following else None,
    )
    names = ("status", "unique_experts", *(["unread"] if messages else []))
    return Built(data, [total, *reads.months.values()], names)


def today(reads: Reads, *, money: bool, messages: bool) -> Built:
    """D5: the day that it is, and what waits."""
    subject, total = reads.subject, reads.total
    row = reads.days.get(subject.today, Figures())
    data = TodayPanel(
        day=subject.today,
        appointments=booked(row),
        pending=ahead(reads, Status.AWAITING_APPROVAL),
        confirmed=ahead(reads, Status.CONFIRMED),
        revenue=_revenue(row) if money else None,
        services=total["services"],
        unread_messages=total["unread"] if messages else None,
        reviews=total["reviews"],
        average_rating=rating(total),
    )
    names = ("status", "services", "reviews", "rating", *(["unread"] if messages else []))
    rows = [total, *reads.months.values(), *reads.days.values()]
    return Built(data, rows, (*names, *(["collected", "refunded"] if money else [])))


def _revenue(row: Figures) -> list[RevenueToday]:
    found = by_currency([row], ("collected", "refunded"))
    return [
        RevenueToday(
            collected=Amount(amount=sums["collected"], currency=currency),
            refunded=Amount(amount=sums["refunded"], currency=currency),
            net=Amount(amount=sums["collected"] - sums["refunded"], currency=currency),
        )
        for currency, sums in sorted(found.items())
    ]


def weeks(reads: Reads, *, money: bool) -> Built:
    """D5: this ISO week against last, whole and as far as today."""
    days, monday, now = reads.days, reads.subject.monday, reads.subject.today
    spans = {
        "this_week": (monday, monday + WEEK - timedelta(days=1)),
        "last_week": (monday - WEEK, monday - timedelta(days=1)),
        "this_week_so_far": (monday, now),
        "last_week_so_far": (monday - WEEK, now - WEEK),
    }
    rows = {
        name: [row for day, row in days.items() if first <= day <= last]
        for name, (first, last) in spans.items()
    }

    def count(of: Callable[[Figures], int]) -> WeekCount:
        sums = {name: sum(of(row) for row in found) for name, found in rows.items()}
        return WeekCount(**sums, percent=percent(*_comparable(sums)))

    data = WeekComparison(
        begins=monday,
        appointments=count(booked),
        completed=count(lambda row: row[f"status.{Status.COMPLETED}"]),
        booked=count(lambda row: row["made"]),
        revenue=_week_revenue(rows) if money else None,
    )
    names = ("status", "made", *(["collected", "refunded"] if money else []))
    return Built(data, [*rows["this_week"], *rows["last_week"]], names)


def _comparable(sums: dict[str, int]) -> tuple[int, int]:
    return sums["this_week_so_far"], sums["last_week_so_far"]


def _week_revenue(rows: dict[str, list[Figures]]) -> list[WeekRevenue]:
    by_span = {name: by_currency(found, ("collected", "refunded")) for name, found in rows.items()}
    found = []
    for currency in sorted({currency for sums in by_span.values() for currency in sums}):
        net = {
            name: sums[currency]["collected"] - sums[currency]["refunded"]
            if currency in sums
            else 0
            for name, sums in by_span.items()
        }
        shown = {name: Amount(amount=value, currency=currency) for name, value in net.items()}
        found.append(WeekRevenue(**shown, percent=percent(*_comparable(net))))
    return found


# ---------------------------------------------------------------- lists


def upcoming(reads: Reads) -> Built:
    """The next few."""
    return Built(Appointments(items=reads.shown("upcoming", reads.upcoming.next)))


def recent(reads: Reads) -> Built:
    """The last few."""
    return Built(Appointments(items=reads.shown("recent", reads.recent)))


def schedule(reads: Reads) -> Built:
    """D5: today's, in order."""
    found = reads.schedule
    items = reads.shown("schedule", found.items)
    return Built(TodaySchedule(day=reads.subject.today, items=items, more=found.more))


def activity(reads: Reads, *, authors: bool) -> Built:
    """D5: the newest payments and reviews, those of them that were read.

    Who wrote a review is told to ``authors`` only: who sees that patient and that visit anyway.
    """
    items: list[ActivityEntry] = []
    if reads.has("payments"):
        items += [
            ActivityEntry(
                kind="payment",
                id=one.item_id,
                at=one.created_at,
                expert=reads.names("payments").ref(EXPERT, one.expert_id),
                patient=reads.names("payments").ref(PATIENT, one.patient_id),
                amount=Amount(amount=int(one.amount), currency=one.currency),
                state=shown_status.of(one),
            )
            for one in reads.payments
        ]
    if reads.has("reviews"):
        items += [
            ActivityEntry(
                kind="review",
                id=one.id,
                at=from_text(one.at),
                expert=reads.names("reviews").ref(EXPERT, one.expert_id),
                patient=reads.names("reviews").ref(PATIENT, one.patient_id) if authors else None,
                rating=one.rating,
                state=one.status,
            )
            for one in reads.reviews
        ]
    return Built(RecentActivity(items=sorted(items, key=lambda one: one.at, reverse=True)))


# ---------------------------------------------------------------- money


def currencies(rows: Iterable[Figures], prefixes: tuple[str, ...]) -> list[str]:
    """Currencies in which there is any of these figures."""
    return sorted(by_currency(rows, prefixes))


def spending(reads: Reads) -> Built:
    """What the patient paid and got back, per currency."""
    total = reads.total
    items = []
    for currency in currencies([total], ("spent", "refunded")):
        paid, back = total[f"spent.{currency}"], total[f"refunded.{currency}"]
        items.append(
            Spending(
                paid=Amount(amount=paid, currency=currency),
                refunded=Amount(amount=back, currency=currency),
                spent=Amount(amount=paid - back, currency=currency),
            )
        )
    return Built(SpendingList(items=items), [total], ("spent", "refunded"))


def payouts(reads: Reads) -> Built:
    """D4: the payee's balances at all providers, as the ledger has them, and the last payouts."""
    book = reads.book
    names = {account: f"{BALANCE}.{account}" for account in ("available", "pending")}
    parted = [figure.rpartition(".") for figure, value in book.items() if value]
    found = sorted({currency for name, _, currency in parted if name in names.values()})
    balances = [
        BalanceBrief(
            **{
                account: Amount(amount=book[f"{name}.{currency}"], currency=currency)
                for account, name in names.items()
            }
        )
        for currency in found
    ]
    items = [
        PayoutBrief(
            id=one.item_id,
            amount=Amount(amount=int(one.amount), currency=one.currency),
            status=one.status,
            arrives_on=date.fromisoformat(one.arrives_on),
            created_at=one.made_at,
        )
        for one in reads.payouts
    ]
    return Built(
        PayoutsPanel(payee=reads.payee, balances=balances, items=items), [book], (BALANCE,)
    )


def earnings(reads: Reads, practice: PracticeItem) -> Built:
    """Money per currency: all time, this month against last, and by month."""
    total, months = reads.total, reads.months
    rate = reads.rates.chosen("", practice.currency, reads.subject.today)
    found = currencies([total], (*MONEY, "pending_commission")) or [practice.currency]
    data = EarningsList(
        commission_percent=rate.percent_bps * 100 / BASIS_POINTS,
        items=[_in_currency(currency, total, months, reads) for currency in found],
    )
    return Built(data, [total, *months.values()], (*MONEY, "pending_commission"))


def _parts(row: Figures | None, currency: str) -> dict[str, int]:
    values = {name: row[f"{name}.{currency}"] if row else 0 for name in MONEY}
    commission = values["commission"] - values["commission_returned"]
    fees = values["fee"] - values["platform_fee"] + values["tax_withheld"]
    net = values["collected"] - values["refunded"] - commission - fees
    return {
        "gross": values["collected"],
        "refunded": values["refunded"],
        "commission": commission,
        "fees": fees,
        "net": net,
    }


def _month(month: date, row: Figures | None, currency: str) -> MonthEarnings:
    parts = _parts(row, currency)
    shown = {
        name: Amount(amount=parts[name], currency=currency)
        for name in ("gross", "commission", "net")
    }
    return MonthEarnings(month=f"{month:%Y-%m}", **shown)


def _in_currency(
    currency: str, total: Figures, months: dict[date, Figures], reads: Reads
) -> Earnings:
    subject = reads.subject
    by_month = [
        _month(month, months.get(month), currency)
        for month in (subject.month(-n) for n in range(MONTHS_BACK, -1, -1))
    ]
    this_month, last_month = by_month[-1], by_month[-2]
    pending = total[f"pending_commission.{currency}"]
    return Earnings(
        currency=currency,
        **{
            name: Amount(amount=amount, currency=currency)
            for name, amount in _parts(total, currency).items()
        },
        this_month=this_month,
        last_month=last_month,
        trend_percent=percent(this_month.net.amount, last_month.net.amount),
        by_month=by_month,
        pending_commission=Amount(amount=pending, currency=currency),
    )
