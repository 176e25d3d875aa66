"""Rescheduling: out of the old time and into the new one, in one transaction.

The appointment's own rows do not stand in its way, everything else is checked as for a booking;
what was paid stays with it, and what a late move costs comes on top (MONEY_AND_BOOKING_RULES §9 and
§10).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consulta.core import table
from consulta.core.errors import Busy as TooBusy
from consulta.core.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL as REPEATED
from consulta.core.idempotency import Idempotent
from consulta.core.identity import Principal
from consulta.core.permissions import Role
from consulta.core.time import now, to_epoch, to_text
from consulta.people.records import PRACTICE, PracticeItem
from consulta.scheduling import appointments, due, late_moves, package_sessions, paying
from consulta.scheduling.booking import DEADLINE_S
from consulta.scheduling.busy import Claim
from consulta.scheduling.drafts import Draft, check_start, claim_of, notice_s, placed_at
from consulta.scheduling.lifecycle import approve_until
from consulta.scheduling.offers import Offer
from consulta.scheduling.records import AppointmentItem, Approval, Status
from consulta.scheduling.schema.appointments import AppointmentDetail
from consulta.scheduling.schema.booking import RescheduleRequest
from consulta.scheduling.wall import instant_of

_MOVABLE = frozenset({Status.CONFIRMED, Status.AWAITING_APPROVAL})
_CHANGED = "It was changed at the same time: read it again and repeat"


def reschedule(
    by: Principal,
    appointment_id: str,
    request: RescheduleRequest,
    key: str | None,
    *,
    if_match: str | None = None,
) -> AppointmentDetail:
    """Move a confirmed appointment, or one that waits to be approved.

    It keeps its length, its price, its policy and what was paid; members move it whatever became
    of its service since. Patients take an offered start, as often and as late as the booking's
    policy lets them, or for the fee that it asks for inside its window, once they have agreed to
    that. Raises NotFound, Forbidden, Invalid, PreconditionFailed, SlotTaken with ``alternatives``,
    and Conflict by the state, by the policy (with the ``fee`` where that is what is missing), where
    somebody else changed it at the same time, and where another payee than the one who has the
    money would be paid.
    """
    if request.override and not by.may("appointments:confirm"):
        raise Forbidden("Overriding needs the permission appointments:confirm")
    once = Idempotent.of(by.tenant, by.person, key, request, appointment_id)
    if once.result:
        return appointments.get(by, once.result)
    current = appointments.load(by, appointment_id)
    check_version(if_match, int(current.version))
    start = instant_of(request.start, request.zone, "body.start")
    _Moving(by, request, start, once, if_match is not None).move(current)
    return appointments.get(by, appointment_id)


def moved_notice(appointment: AppointmentItem, start: datetime, at: datetime) -> datetime | None:
    """The start that notice counts to once it is moved to ``start``; None for its own.

    After a move inside the cancel window that is the earlier one (rules §9).
    """
    counted = appointment.notice_to
    window = timedelta(seconds=int(appointment.policy["cancel"][0]["min_notice_s"]))
    if counted - at < window:
        return min(counted, start)
    return min(appointment.notice_start, start) if appointment.notice_start else None


@dataclass(slots=True)
class _Moving:
    """One reschedule under way."""

    by: Principal
    request: RescheduleRequest
    start: datetime
    once: Idempotent
    has_version: bool
    old: AppointmentItem = field(init=False)
    fee: int = field(init=False, default=0)

    def move(self, current: AppointmentItem) -> None:
        self.old = current
        self._check_allowed()
        self.fee = self._agreed_fee()
        draft = self._draft()
        draft.reread()
        try:
            for _ in table.attempts(DEADLINE_S):
                try:
                    self._write(draft)
                except table.ConditionFailed as failed:
                    if REPEATED in failed.labels and self.once.again().result:
                        return
                    if self._is_done(draft.reread()):
                        return
                    if package_sessions.LABEL in failed.labels:
                        raise Conflict("The package is not valid any more by then") from failed
                else:
                    return
        except TooBusy:
            if self._is_done(draft.reread()):
                return
            raise draft.taken("Too many are booking at once: try again, or take another") from None

    # ------------------------------------------------------------ whether it may be moved

    def _check_allowed(self) -> None:
        """By its state, and for patients by the policy that it was booked under."""
        old, instant = self.old, now()
        extra: dict[str, object] = {"appointment_status": str(old.status)}
        answered = old.status == Status.AWAITING_APPROVAL and old.approval != Approval.NEEDED
        if old.status not in _MOVABLE or answered:
            raise Conflict(f"An appointment that is {old.status} cannot be moved", extra=extra)
        if self.start == old.start and self._expert == old.expert_id:
            raise Invalid.of("body.start", "It is at this time already", "unchanged")
        is_patient = self.by.role is Role.PATIENT
        if self._expert != old.expert_id and not (is_patient or self.by.sees_all("appointments")):
            raise Forbidden("An expert moves appointments within their own calendar only")
        if not is_patient:
            return
        if instant >= old.start:
            raise Conflict("The appointment has begun", extra=extra)
        rules = old.policy["reschedule"]
        if int(old.rescheduled) >= int(rules["max"]):
            raise Conflict(
                "It was moved as often as the policy allows", extra={**extra, "code": "moved_often"}
            )

    def _agreed_fee(self) -> int:
        """What a patient pays for moving it now. Raises Conflict where it was not agreed to."""
        old, given = self.old, self.request.fee
        fee = late_moves.fee_of(old, now()) if self.by.role is Role.PATIENT else 0
        if not fee:
            if given and given.amount:
                raise Invalid.of("body.fee", "Nothing is to be paid for moving it now", "no_fee")
            return 0
        due = {"amount": fee, "currency": str(old.currency)}
        if given is None or given.model_dump() != due:
            raise Conflict(
                "Moving it so late costs a fee: send it to agree to it",
                extra={"appointment_status": str(old.status), "code": "fee", "fee": due},
            )
        return fee

    @property
    def _expert(self) -> str:
        return self.request.expert_id or str(self.old.expert_id)

    # ------------------------------------------------------------ as it would be

    def _draft(self) -> Draft:
        """The appointment at its new time; all but the calendars is checked."""
        by, old, request = self.by, self.old, self.request
        tenant = by.tenant
        practice_key = tenant.item(PRACTICE, tenant.practice)
        keys = Offer.keys(tenant, old.service_id, self._expert)
        found = table.batch_get_raw([*keys, *paying.move_keys(old, self._expert)])
        kept = str(old.expert_id)
        offer = Offer.of(by, old.service_id, self._expert, found, "body", booked_with=kept)
        paying.check_payee(old, self._expert, found)
        # What was booked, whatever the service has become since.
        offer.service.duration_s = int((old.end - old.start).total_seconds())
        offer.service.seats = int(old.seats)
        check_start(by, offer, self.start, override=request.override)
        practice = PracticeItem.read(found[practice_key])
        item = AppointmentItem.read(old.serialize())
        placed = placed_at(practice, old.item_id, offer, old.patient_id, self.start)
        for name, value in placed.items():
            setattr(item, name, value)
        if item.status == Status.AWAITING_APPROVAL:
            ends = paying.capture_before(old, found)
            item.approve_until = approve_until(self.start, notice_s(offer), now(), ends)
        claim = claim_of(item, offer, override=request.override)
        return Draft(by, offer, item, claim, leaving=tuple(Claim.of(old).touched()))

    def _is_done(self, stored: AppointmentItem | None) -> bool:
        """Whether an earlier try had been written. Raises Conflict where others changed it."""
        if stored is None:
            raise NotFound
        if int(stored.version) == int(self.old.version):
            return False
        ours = stored.request_id == self.by.request_id and stored.updated_by == self.by.actor.id
        if ours and (stored.start, stored.expert_id) == (self.start, self._expert):
            return True
        if self.has_version:
            raise PreconditionFailed
        raise Conflict(_CHANGED, extra={"appointment_status": str(stored.status)})

    # ------------------------------------------------------------ writing

    def _write(self, draft: Draft) -> None:
        draft.check()
        item = draft.item
        parts = [
            *draft.claim.take(draft.rows, draft.own, None, to_epoch(now()), leaving=draft.leaving),
            table.change(self.old, self.by.actor, **self._changes(item)),
            *package_sessions.stays(self.old, self.start),
            *self.once.actions(draft.own),
        ]
        if item.status == Status.AWAITING_APPROVAL and item.approve_until is not None:
            parts.append(due.at(item.approve_until, item.pk, due.APPROVE))
        table.transact(parts, on_conflict=draft.still_free)

    def _changes(self, item: AppointmentItem) -> dict[str, Any]:
        request = self.request
        set_: dict[str, Any] = {
            name: getattr(item, name)
            for name in (
                *("expert_id", "buffer_before_s", "buffer_after_s"),
                *("zone", "local_date", "local_hour"),
                *("l1pk", "l1sk", "l2pk", "l2sk", "l3pk", "l3sk"),
            )
        }
        set_ |= {
            "start": to_text(item.start),
            "end": to_text(item.end),
            "resource_ids": list(item.resource_ids),
            "rescheduled": int(self.old.rescheduled) + 1,
            "notify": request.notify,
        }
        # A link to a meeting is the expert's own.
        remove = ["meeting_url"] if item.expert_id != self.old.expert_id else []
        if item.status == Status.AWAITING_APPROVAL and item.approve_until is not None:
            set_["approve_until"] = to_text(item.approve_until)
        if request.requested_by == "patient" or self.by.role is Role.PATIENT:
            counted = moved_notice(self.old, self.start, now())
            if counted is not None:
                set_["notice_start"] = to_text(counted)
        if self.fee:
            set_ |= late_moves.charged(self.old, self.fee)
        if request.reason:
            set_["reschedule_note"] = request.reason
        elif self.old.reschedule_note:
            remove.append("reschedule_note")
        return {"set_": set_, "remove": remove}
