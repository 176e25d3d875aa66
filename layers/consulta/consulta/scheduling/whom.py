"""For whom something is booked, and whether the caller may."""

from consulta.core.errors import Forbidden, Invalid, NotFound
from consulta.core.identity import Principal
from consulta.core.permissions import Role


def patient_of(
    by: Principal, patient_id: str | None, *, confirm: bool = False, expert_id: str | None = None
) -> str:
    """The patient: the caller's own id, or whom a member names.

    ``confirm`` is for members who may confirm. With ``expert_id`` ("" is any), an expert who does
    not see everybody's appointments has to be that one. Raises Forbidden, NotFound, Invalid.
    """
    if confirm and not by.may("appointments:confirm"):
        raise Forbidden("Confirming needs the permission appointments:confirm")
    if by.role is Role.PATIENT:
        if not by.patient:
            raise Forbidden("The caller is not a patient of this practice")
        if patient_id not in (None, by.patient):
            raise NotFound
        return by.patient
    if expert_id is not None and not by.sees_all("appointments") and by.expert != expert_id:
        raise Forbidden("An expert books only their own appointments: name yourself")
    if patient_id is None:
        raise Invalid.of("body.patient_id", "Say for which patient", "missing")
    return patient_id
