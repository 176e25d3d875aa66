"""Changes from the bus → mails to those whom they concern, each with its row of history.

What is told depends on the item as it is now (rules.py); who sends it, on its row (claims.py). So
events may come twice, late and out of order. SES that does not take a mail for now brings the
message back; a mail that it refuses for good is failed, with SES's code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from consulta.core import mail, table
from consulta.core.bus import Event
from consulta.core.item import Actor
from consulta.core.observe import count, failure, logger
from consulta.core.permissions import ALL_APPOINTMENTS
from consulta.core.time import from_text, now
from consulta.money.paying.placing import SLOT_LOST
from consulta.money.records import (
    FRAUD_WARNING,
    PAYMENT,
    REFUND,
    FraudWarningItem,
    PaymentItem,
    RefundItem,
)
from consulta.notifications import claims, letters, rules, staff
from consulta.notifications.claims import NotYet
from consulta.notifications.letters import Letter, People
from consulta.notifications.records import TO_STAFF, Kind, NotificationItem, State, key_of
from consulta.notifications.rules import Due
from consulta.people.records import PRACTICE, MemberItem, PatientItem, PracticeItem
from consulta.people.thread_records import THREAD, ThreadItem
from consulta.scheduling.records import APPOINTMENT, SERIES, AppointmentItem
from consulta.scheduling.series_records import SeriesItem, SeriesStatus


class Postponed(Exception):
    """A mail was not taken for now: the message has to come again."""


def process(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Work on a batch of the queue; the ids of the messages that have to come again."""
    failed = []
    for record in records:
        try:
            handle(Event.received(record["body"]), Actor("notify", record["messageId"]))
        except (NotYet, Postponed):
            count("NoticesPostponed")
            failed.append(record["messageId"])
        except Exception as error:  # noqa: BLE001  # one message's failure must not repeat others
            failure("a change was not told", error, queue_message=record["messageId"])
            failed.append(record["messageId"])
    return failed


def handle(event: Event, by: Actor) -> None:
    """One change. Raises :class:`NotYet` and :class:`Postponed` after all else is done."""
    tell = {
        APPOINTMENT: _appointment,
        REFUND: _refund,
        SERIES: _series,
        FRAUD_WARNING: _fraud_warning,
        THREAD: _thread,
    }.get(event.entity)
    if tell:
        tell(event, by)


def _appointment(event: Event, by: Actor) -> None:
    item = table.get(AppointmentItem, event.key)
    if item is None or not rules.is_transition(event):
        return
    desk = Desk.of(item, by)
    due = rules.due(item, event, list(desk.notices), now())
    claims.tidy(desk.notices.values(), due, by)
    replaced = rules.replaced(item, event, now())
    if replaced is None:
        desk.tell(due, lambda one, who: letters.about(one, item, who))
        return
    start = from_text(event.start_was)
    try:
        desk.tell(due, lambda one, who: letters.about(one, item, who))
    finally:
        desk.tell(
            [replaced],
            lambda one, who: letters.about_replaced(one, item, who, start),
            expert_id=event.expert_was,
        )


def _refund(event: Event, by: Actor) -> None:
    """A payment came too late for its time, and goes back in full: that is news to the patient."""
    if event.action != "created":
        return
    refund = table.get(RefundItem, event.key)
    if refund is None or refund.reason != SLOT_LOST or not refund.appointment_id:
        return
    item = table.get(AppointmentItem, event.tenant.item(APPOINTMENT, refund.appointment_id))
    if item is None:
        return
    lost = Due(Kind.SLOT_LOST, refund.item_id)
    Desk.of(item, by).tell([lost], lambda one, who: letters.about(one, item, who, refund))


def _series(event: Event, by: Actor) -> None:
    """All of its appointments are booked: one mail for them together, to either side."""
    if event.was != SeriesStatus.PLACING or event.status != SeriesStatus.READY:
        return
    series = table.get(SeriesItem, event.key)
    if series is None:
        return
    booked = letters.booked_of(series)
    if booked:
        desk = Desk.of(series, by)
        desk.tell(
            [Due(Kind.SERIES), Due(Kind.EXPERT_SERIES)],
            lambda one, who: letters.about_series(one, series, booked, who),
        )


def _fraud_warning(event: Event, by: Actor) -> None:
    """While a refund would still be earlier than the dispute: to all who may give it."""
    warning = table.get(FraudWarningItem, event.key)
    if warning is None:
        return
    tenant = event.tenant
    payment_key, practice_key = (
        tenant.item(PAYMENT, warning.payment_id),
        tenant.item(PRACTICE, tenant.practice),
    )
    found = table.batch_get_raw([payment_key, practice_key])
    if payment_key not in found or practice_key not in found:
        return
    payment = PaymentItem.read(found[payment_key])
    practice = PracticeItem.read(found[practice_key])
    wanted = bool((payment.fraud_warning or {}).get("actionable"))
    notices = {claims.due_of(notice): notice for notice in claims.of(warning.pk)}
    again: NotYet | Postponed | None = None
    for member in staff.who_may(tenant, "payments:manual", "payments:all"):
        due = Due(Kind.FRAUD_WARNING, member.item_id)
        notice = notices.get(due)
        if notice is not None and notice.status != State.PENDING:
            continue
        if not wanted and notice is None:
            claims.skip(warning, due, claims.SUPERSEDED, by)
            continue
        try:
            taken = claims.take(warning, due, notice, by)
            if taken and wanted:
                write = partial(letters.about_warning, due, payment, practice)
                _send(taken, str(member.email), write, by)
            elif taken:
                claims.settle(taken, by, State.SKIPPED, reason=claims.SUPERSEDED)
        except (NotYet, Postponed) as later:
            again = later
    if again:
        raise again


def _thread(event: Event, by: Actor) -> None:
    """Something is to be read, of which its reader was not told since they were last there."""
    thread = table.get(ThreadItem, event.key)
    due = rules.of_thread(thread) if thread else []
    if thread is None or not due:
        return
    again: NotYet | Postponed | None = None
    for one in due:
        try:
            if one.kind in TO_STAFF:
                _tell_staff(thread, one, by)
            else:
                # Over the years there are many notices of one thread: only this one is looked at.
                notice = _notice(thread, one)
                desk = Desk(thread, by, {one: notice} if notice else {})
                desk.tell(
                    [one], lambda what, who: letters.about_message(what, thread, who.practice)
                )
        except (NotYet, Postponed) as later:
            again = later
    if again:
        raise again


def _tell_staff(thread: ThreadItem, due: Due, by: Actor) -> None:
    """Each member who may answer what was written to the practice as a whole."""
    practice = table.get(PracticeItem, thread.tenant.item(PRACTICE, thread.tenant.practice))
    if practice is None:
        return
    again: NotYet | Postponed | None = None
    for member in staff.who_may(thread.tenant, "messages:write", ALL_APPOINTMENTS):
        own = Due(due.kind, f"{member.item_id}.{due.n}")
        try:
            taken = claims.take(thread, own, _notice(thread, own), by)
            if taken:
                write = partial(letters.about_message, own, thread, practice)
                _send(taken, str(member.email), write, by)
        except (NotYet, Postponed) as later:
            again = later
    if again:
        raise again


def _notice(thread: ThreadItem, due: Due) -> NotificationItem | None:
    return table.get(NotificationItem, key_of(thread, due.kind, due.n))


Write = Callable[[Due, People], Letter]


@dataclass(slots=True)
class Desk:
    """Telling about one item, with the notices that it has already."""

    item: AppointmentItem | SeriesItem | ThreadItem
    by: Actor
    notices: dict[Due, NotificationItem]

    @classmethod
    def of(cls, item: AppointmentItem | SeriesItem, by: Actor) -> Self:
        """With the notices as they are now."""
        return cls(item, by, {claims.due_of(notice): notice for notice in claims.of(item.pk)})

    def tell(self, due: Sequence[Due], write: Write, *, expert_id: str | None = None) -> None:
        """Send what is due and was not; to another expert than the item's by ``expert_id``.

        What one notice runs into does not keep the others.
        """
        left = [one for one in due if self._is_open(one)]
        who = People.about(self.item, expert_id) if left else None
        if who is None:
            return
        again: NotYet | Postponed | None = None
        for one in left:
            try:
                self._one(one, who, write)
            except (NotYet, Postponed) as later:
                again = later
        if again:
            raise again

    def _is_open(self, due: Due) -> bool:
        notice = self.notices.get(due)
        return notice is None or notice.status == State.PENDING

    def _one(self, due: Due, who: People, write: Write) -> None:
        recipient = who.recipient(due)
        reason, notice = self._why_not(due, recipient), self.notices.get(due)
        if reason and notice is None:
            claims.skip(self.item, due, reason, self.by)
            return
        taken = claims.take(self.item, due, notice, self.by)
        if taken is None:
            return
        if recipient is None or reason:
            claims.settle(taken, self.by, State.SKIPPED, reason=reason)
        else:
            _send(taken, str(recipient.email), lambda: write(due, who), self.by)

    def _why_not(self, due: Due, recipient: PatientItem | MemberItem | None) -> str | None:
        if recipient is None:
            return claims.GONE
        if isinstance(recipient, MemberItem):
            return claims.OWN_ACTION if recipient.person_id == self.item.updated_by else None
        # Somebody chose that the patient hears nothing of a change; of their money they do.
        if due.kind is not Kind.SLOT_LOST and not getattr(self.item, "notify", True):
            return claims.NOT_WANTED
        return None if recipient.email else claims.NO_ADDRESS


def _send(notice: NotificationItem, address: str, write: Callable[[], Letter], by: Actor) -> None:
    """Send a notice that was claimed, and record what came of it."""
    ids = {"kind": notice.kind, "item": notice.pk}
    try:
        letter = write()
        attachments = letter.attachments(mail.plain_address(address))
        # Not repeated by botocore: an answer that was lost is for the claim to deal with.
        message_id = mail.send(address, letter.subject, letter.text, attachments, retries=0)
    except mail.BadAddress:
        claims.settle(notice, by, State.FAILED, reason=claims.BAD_ADDRESS)
    except ClientError as error:
        code = mail.refusal(error)
        if code is None:
            failure("a mail was not taken", error, **ids)
            claims.give_back(notice, by)
            raise Postponed from None
        logger.warning("a mail was refused", extra={"code": code, **ids})
        claims.settle(notice, by, State.FAILED, reason=code)
    except (ConnectTimeoutError, EndpointConnectionError) as error:
        failure("mail cannot be sent", error, **ids)
        claims.give_back(notice, by)
        raise Postponed from None
    except BotoCoreError as error:
        # Sent or not: the claim stays, and runs out.
        failure("a mail has an unknown outcome", error, **ids)
        raise Postponed from None
    else:
        claims.settle(notice, by, State.SENT, message_id=message_id)
