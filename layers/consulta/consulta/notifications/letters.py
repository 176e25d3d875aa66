"""Who is told, and what: read when it is sent, never from the event.

Links lead to the front end, where whoever opens one signs in: they carry an id and no token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from consulta.core import mail, settings, table
from consulta.core.keys import Tenant
from consulta.core.money import Money, format_money
from consulta.money.paying.orders import Order
from consulta.money.records import PaymentItem, RefundItem
from consulta.notifications import texts
from consulta.notifications.records import Kind
from consulta.notifications.rules import Due
from consulta.people.records import (
    EXPERT,
    MEMBER,
    PATIENT,
    PRACTICE,
    ExpertItem,
    MemberItem,
    PatientItem,
    PracticeItem,
)
from consulta.people.thread_records import ThreadItem
from consulta.scheduling import series_records
from consulta.scheduling.records import APPOINTMENT, AppointmentItem, Status
from consulta.scheduling.series_records import SeriesItem

FILE_NAME = "appointment.ics"
_INVITES = frozenset({Kind.BOOKED, Kind.APPROVED, Kind.RESCHEDULED})
_PLACES = _INVITES | {Kind.WAITLIST_OFFER}
_MONEY_BACK = frozenset({Kind.CANCELLED, Kind.DECLINED})


class AppSettings(settings.Settings):
    """Where the front end is that the links of mails lead to."""

    app_url: str


@dataclass(frozen=True, slots=True)
class People:
    """Who has to do with an item; what is None is not there any more."""

    practice: PracticeItem
    patient: PatientItem | None
    expert: ExpertItem | None
    member: MemberItem | None

    @classmethod
    def read(cls, tenant: Tenant, patient_id: str, expert_id: str | None) -> "People | None":
        """Two reads; None where the practice is gone."""
        practice_key = tenant.item(PRACTICE, tenant.practice)
        patient_key = tenant.item(PATIENT, patient_id)
        expert_key = tenant.item(EXPERT, expert_id) if expert_id else None
        found = table.batch_get_raw([key for key in (practice_key, patient_key, expert_key) if key])
        if practice_key not in found:
            return None
        patient = PatientItem.read(found[patient_key]) if patient_key in found else None
        known = found.get(expert_key) if expert_key else None
        expert = ExpertItem.read(known) if known else None
        member = table.get(MemberItem, tenant.item(MEMBER, expert.member_id)) if expert else None
        return cls(PracticeItem.read(found[practice_key]), patient, expert, member)

    @classmethod
    def about(
        cls, item: AppointmentItem | SeriesItem | ThreadItem, expert_id: str | None = None
    ) -> "People | None":
        """Those of an item; with another expert than it has, where ``expert_id`` is given."""
        return cls.read(item.tenant, item.patient_id, expert_id or item.expert_id)

    @property
    def language(self) -> texts.Language:
        """The language of the practice's mails."""
        return texts.language_of(self.practice.country)

    def recipient(self, due: Due) -> PatientItem | MemberItem | None:
        """Who is told, if they are still there."""
        if due.to_expert:
            member = self.member
            return None if member is None or member.deactivated_at else member
        patient = self.patient
        return None if patient is None or patient.deleted_at else patient


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail, but for its address; ``invite`` makes the .ics for that address, if any."""

    subject: str
    text: str
    invite: Callable[[str], mail.Attachment] | None = None

    def attachments(self, address: str) -> list[mail.Attachment]:
        """What goes with it to that address."""
        return [self.invite(address)] if self.invite else []


def about(
    due: Due, item: AppointmentItem, people: People, refund: RefundItem | None = None
) -> Letter:
    """A notice about one appointment; ``refund`` is the one that it is about, if any."""
    text = texts.letter(due, _facts(due, item, people, refund), people.language)
    if due.kind not in _INVITES and due.kind is not Kind.CANCELLED:
        return Letter(text.subject, text.text)
    return Letter(text.subject, text.text, _invitation(due, item, people.language))


def about_replaced(due: Due, item: AppointmentItem, people: People, start: datetime) -> Letter:
    """To the expert whom an appointment left, which began at ``start`` then. It is no longer theirs
    to see: the link is to those that are.
    """
    language = people.language
    when = texts.when(start, item.zone, language)
    facts = texts.Facts(practice=people.practice.name, when=when, link=link("appointments"))
    text = texts.letter(due, facts, language)
    return Letter(text.subject, text.text)


def about_warning(due: Due, payment: PaymentItem, practice: PracticeItem) -> Letter:
    """To a member: who paid, and for what, is behind the link."""
    language = texts.language_of(practice.country)
    facts = texts.Facts(
        practice=practice.name,
        when=texts.when(payment.paid_at or payment.created_at, payment.zone, language),
        link=link("payments", payment.item_id),
    )
    text = texts.letter(due, facts, language)
    return Letter(text.subject, text.text)


def about_message(due: Due, thread: ThreadItem, practice: PracticeItem) -> Letter:
    """That there is something to read; who wrote it, and what, is behind the link."""
    language = texts.language_of(practice.country)
    facts = texts.Facts(
        practice=practice.name,
        when=texts.when(thread.last_at, thread.zone, language),
        link=link("messages", thread.item_id),
    )
    text = texts.letter(due, facts, language)
    return Letter(text.subject, text.text)


def _invitation(
    due: Due, item: AppointmentItem, language: texts.Language
) -> Callable[[str], mail.Attachment]:
    def made_for(address: str) -> mail.Attachment:
        from consulta.calendars import ics  # noqa: PLC0415  # see icalendar in ics

        cancelled = due.kind is Kind.CANCELLED
        content = ics.invitation(
            item,
            organizer=settings.load(mail.MailSettings).sender_email,
            attendee_email=address,
            cancelled=cancelled,
            summary=texts.APPOINTMENT[language],
            location=_address(item),
        )
        method = "CANCEL" if cancelled else "REQUEST"
        kind = f"text/calendar; charset=utf-8; method={method}"
        return mail.Attachment(FILE_NAME, kind, content)

    return made_for


def _all_of(booked: Sequence[AppointmentItem], language: texts.Language) -> mail.Attachment:
    """Many appointments in one file: a PUBLISH, since a REQUEST is about one (RFC 5546 §3.2.2)."""
    from consulta.calendars import ics  # noqa: PLC0415  # see icalendar in ics

    label = texts.APPOINTMENT[language]
    content = ics.feed((one, label, _address(one)) for one in booked)
    return mail.Attachment(FILE_NAME, "text/calendar; charset=utf-8; method=PUBLISH", content)


def booked_of(series: SeriesItem) -> list[AppointmentItem]:
    """The appointments of a series that are certain, in order; others are told of by themselves."""
    tenant = series.tenant
    rows = series_records.rows_of(tenant, series.item_id)
    keys = [tenant.item(APPOINTMENT, row.appointment_id) for row in rows if row.appointment_id]
    found = table.batch_get_raw(keys)
    items = [AppointmentItem.read(found[key]) for key in keys if key in found]
    return sorted(
        (one for one in items if one.status == Status.CONFIRMED), key=lambda one: one.start
    )


def about_series(
    due: Due, series: SeriesItem, booked: Sequence[AppointmentItem], people: People
) -> Letter:
    """One mail for all appointments of a series; each with its time on the practice's clocks."""
    language = people.language
    facts = texts.Facts(
        practice=people.practice.name,
        when="",
        dates=tuple(texts.when(one.start, one.zone, language) for one in booked),
        expert=people.expert.name if people.expert and not due.to_expert else "",
        link=link("series", series.item_id),
    )
    text = texts.letter(due, facts, language)
    return Letter(text.subject, text.text, lambda _: _all_of(booked, language))


def _facts(
    due: Due, item: AppointmentItem, people: People, refund: RefundItem | None
) -> texts.Facts:
    language, zone = people.language, item.zone
    until = _until(due, item)
    location = (item.location or {}) if due.kind in _PLACES else {}
    refunded, kept = _given_back(item) if due.kind in _MONEY_BACK else ("", False)
    if refund is not None:
        refunded = format_money(Money(int(refund.amount), refund.currency))
    return texts.Facts(
        practice=people.practice.name,
        when=texts.when(item.start, zone, language),
        link=link("appointments", item.item_id),
        # Experts know who they are; and who comes is not for a mail to them, but behind the link.
        expert="" if due.to_expert or people.expert is None else people.expert.name,
        until=texts.when(until, zone, language) if until else "",
        place=str(location.get("kind") or ""),
        address=_address(item) if location else "",
        meeting_url=(item.meeting_url or "") if due.kind in _PLACES else "",
        refund=refunded,
        kept=kept,
    )


def _address(item: AppointmentItem) -> str:
    return str((item.location or {}).get("address") or "")


def link(*path: str) -> str:
    """A page of the front end; who opens it has to be signed in."""
    return "/".join([settings.load(AppSettings).app_url.rstrip("/"), *path])


def _until(due: Due, item: AppointmentItem) -> datetime | None:
    if due.kind in {Kind.HOLD, Kind.WAITLIST_OFFER}:
        found: datetime | None = item.hold_expires_at
        return found
    if due.kind in {Kind.REQUESTED, Kind.APPROVAL_REQUESTED}:
        # As long as nothing says otherwise, an answer is due before it begins.
        return item.approve_until or item.start
    return None


def _given_back(item: AppointmentItem) -> tuple[str, bool]:
    """What goes back of all payments of the booking, as text, and whether all of it was kept.

    A package is paid as a whole: what becomes of its money is not this appointment's.
    """
    if item.package_id:
        return "", False
    payments = Order.read(item.tenant, item.order_id).payments()
    captured = sum(int(payment.captured) for payment in payments)
    back = sum(int(payment.refunded) + int(payment.reserved) for payment in payments)
    shown = format_money(Money(back, item.currency)) if back else ""
    return shown, bool(captured and not back)
