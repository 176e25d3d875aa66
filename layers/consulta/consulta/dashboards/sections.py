"""The sections: each a function of what was read, none knowing of the others."""

from collections.abc import Iterable
from datetime import date

from consulta.aggregates.figures import Figures
from consulta.core.fields import Amount
from consulta.core.money import BASIS_POINTS
from consulta.dashboards.reads import MONTHS_AHEAD, MONTHS_BACK, Reads
from consulta.dashboards.schema import (
    Earnings,
    EarningsList,
    ExpertStats,
    MonthEarnings,
    PatientStats,
    Spending,
    SpendingList,
)
from consulta.people.records import PracticeItem
from consulta.scheduling.records import BOOKED

MONEY = (
    "collected",
    "refunded",
    "commission",
    "commission_returned",
    "fee",
    "platform_fee",
    "tax_withheld",
)


def booked(row: Figures) -> int:
    """Appointments that were booked in earnest."""
    return sum(row[f"status.{status}"] for status in BOOKED)


def upcoming_count(reads: Reads) -> int:
    """Near ones by query, the rest of the month by day rows, then month rows."""
    ahead = {reads.subject.month(n) for n in range(1, MONTHS_AHEAD + 1)}
    months = reads.months.result()
    return (
        reads.upcoming.result().near
        + sum(row["open"] for row in reads.days.result().values())
        + sum(row["open"] for month, row in months.items() if month in ahead)
    )


def expert_stats(reads: Reads) -> ExpertStats:
    """D4's figures, of an expert or of the whole practice."""
    total, months = reads.total.result(), reads.months.result()
    this_month = months.get(reads.subject.month())
    return ExpertStats(
        upcoming_appointments=upcoming_count(reads),
        appointments_this_month=booked(this_month) if this_month else 0,
        appointments_total=booked(total),
        unique_patients=total["unique_patients"],
        average_rating=None,
    )


def patient_stats(reads: Reads) -> PatientStats:
    """D2's figures."""
    total = reads.total.result()
    following = reads.shown(reads.upcoming.result().next[:1])
    return PatientStats(
        upcoming_appointments=upcoming_count(reads),
        total_bookings=booked(total),
        unique_experts=total["unique_experts"],
        next_appointment=following[0] if following else None,
    )


def currencies(rows: Iterable[Figures], prefixes: tuple[str, ...]) -> list[str]:
    """Currencies in which there is any of these figures."""
    return sorted(
        {
            name.split(".")[1]
            for row in rows
            for name, value in row.items()
            if value and name.startswith(tuple(f"{prefix}." for prefix in prefixes))
        }
    )


def spending(reads: Reads) -> SpendingList:
    """What the patient paid and got back, per currency."""
    total = reads.total.result()
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
    return SpendingList(items=items)


def earnings(reads: Reads, practice: PracticeItem) -> EarningsList:
    """Money per currency: all time, this month against last, and by month."""
    total, months = reads.total.result(), reads.months.result()
    found = currencies([total], (*MONEY, "pending_commission")) or [practice.currency]
    return EarningsList(
        commission_percent=int(practice.commission_bps) * 100 / BASIS_POINTS,
        items=[_in_currency(currency, total, months, reads) for currency in found],
    )


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
    before = last_month.net.amount
    trend = round((this_month.net.amount - before) * 100 / abs(before), 1) if before else None
    pending = total[f"pending_commission.{currency}"]
    return Earnings(
        currency=currency,
        **{
            name: Amount(amount=amount, currency=currency)
            for name, amount in _parts(total, currency).items()
        },
        this_month=this_month,
        last_month=last_month,
        trend_percent=trend,
        by_month=by_month,
        pending_commission=Amount(amount=pending, currency=currency),
    )
