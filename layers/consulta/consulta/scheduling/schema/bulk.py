"""One action on many appointments, with a result for each."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from consulta.core.http import ApiModel, Id
from consulta.scheduling.schema.booking import GivenReason, Note

MAX_ITEMS = 200
DAY_MINUTES = 1_440
MAX_SHIFT_DAYS = 366


class BulkAction(StrEnum):
    """What is done to each."""

    CONFIRM = "confirm"
    COMPLETE = "complete"
    NO_SHOW = "no_show"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"


class BulkItem(ApiModel):
    """One appointment; its new ``start`` where it is rescheduled."""

    id: Id
    start: AwareDatetime | None = None


class BulkRequest(ApiModel):
    """One action on up to 200 appointments.

    ``cancel`` needs a ``reason_code``. ``reschedule`` needs a ``start`` for each, or for all of
    them ``shift_minutes`` of elapsed time, or ``shift_days``: the same wall time in the expert's
    zone, as many days later (earlier, where it is below zero).
    """

    action: BulkAction
    items: Annotated[list[BulkItem], Field(min_length=1, max_length=MAX_ITEMS)]
    reason_code: GivenReason | None = None
    note: Note = ""
    notify: bool = True
    shift_minutes: Annotated[
        int | None, Field(ge=-MAX_SHIFT_DAYS * DAY_MINUTES, le=MAX_SHIFT_DAYS * DAY_MINUTES)
    ] = None
    shift_days: Annotated[int | None, Field(ge=-MAX_SHIFT_DAYS, le=MAX_SHIFT_DAYS)] = None

    @model_validator(mode="after")
    def _fits_its_action(self) -> Self:
        if len({item.id for item in self.items}) < len(self.items):
            raise ValueError("name each appointment once")
        if (self.reason_code is not None) != (self.action is BulkAction.CANCEL):
            raise ValueError("reason_code is for cancel, which needs it")
        starts = sum(item.start is not None for item in self.items)
        shifts = [one for one in (self.shift_minutes, self.shift_days) if one is not None]
        if self.action is not BulkAction.RESCHEDULE:
            if starts or shifts:
                raise ValueError("a start or a shift is for reschedule")
        elif shifts:
            if starts or len(shifts) > 1 or not shifts[0]:
                raise ValueError("give starts, shift_minutes or shift_days, and no shift of 0")
        elif starts < len(self.items):
            raise ValueError("give a start for each, or shift_minutes, or shift_days")
        return self


class BulkProblem(ApiModel):
    """Why one could not be done, in the words of the single action."""

    type: str
    title: str
    status: int
    detail: str


class BulkResult(ApiModel):
    """``done``; ``unchanged`` where it was so already; ``failed`` with its problem."""

    id: Id
    outcome: Literal["pending", "done", "unchanged", "failed"]
    problem: BulkProblem | None = None


class BulkJob(ApiModel):
    """One such request, kept for 30 days. While it is ``running``, its results grow."""

    id: Id
    action: BulkAction
    state: Literal["running", "done"]
    total: int
    done: int
    unchanged: int
    failed: int
    results: list[BulkResult]
    created_at: datetime
    expires_at: datetime
