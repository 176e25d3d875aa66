"""Which appointments a list or a search shows."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from consulta.core.http import MAX_PAGE, ApiModel, Id
from consulta.scheduling.records import PaymentStatus, Status
from consulta.scheduling.schema.appointments import AppointmentPage

Sort = Literal["start", "-start"]


class AppointmentFilter(ApiModel):
    """Which appointments a list shows. Starts in [low, high), at most 366 days."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    low: Annotated[AwareDatetime | None, Field(alias="from", description="Starts not before")] = (
        None
    )
    high: Annotated[AwareDatetime | None, Field(alias="to", description="Starts before")] = None
    status: Status | None = None
    payment_status: PaymentStatus | None = None
    patient_id: Id | None = None
    expert_id: Id | None = None
    service_id: Id | None = None
    sort: Sort = "start"


class AppointmentSearch(AppointmentFilter):
    """Appointments of a patient: ``pat_…``, or of all whose names begin so (case aside).

    In a body, since addresses are logged and names must not be.
    """

    patient: Annotated[str, StringConstraints(min_length=2, max_length=120)]
    patient_id: None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, StringConstraints(max_length=2048)] | None = None


class AppointmentMatches(AppointmentPage):
    """One page. ``truncated``: the name fits more patients than the ten that are shown."""

    truncated: bool
