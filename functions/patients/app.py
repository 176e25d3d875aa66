"""Patients of a practice: /v1/patients."""

from consulta.core.http import Api, Cursor, Id, IdempotencyKey, IfMatch, Limit, needs
from consulta.people import patients
from consulta.people.schema import patients as s

api = Api("patients")


@api.post("/v1/patients")
@needs("patients:write")
def create(body: s.PatientIn, key: IdempotencyKey = None) -> s.PatientOut:
    """A new patient; 409 with ``existing_id`` where the phone or email is known."""
    patient = patients.create(api.caller, body, key)
    return api.created(patient, f"/v1/patients/{patient.id}")


@api.get("/v1/patients")
@needs("patients:read")
def listing(limit: Limit = 20, cursor: Cursor = None) -> s.PatientPage:
    """The practice's patients, the newest first."""
    return api.ok(patients.listing(api.caller, limit, cursor))


@api.post("/v1/patients/search")
@needs("patients:read")
def search(body: s.PatientSearchIn) -> s.PatientMatches:
    """By the beginning of a name, or a phone or email: in a body, since URLs are logged."""
    return api.ok(patients.search(api.caller, body))


@api.get("/v1/patients/<patient_id>")
@needs("patients:read")
def get(patient_id: Id) -> s.PatientOut:
    """One patient."""
    return api.ok(patients.get(api.caller, patient_id))


@api.patch("/v1/patients/<patient_id>")
@needs("patients:write")
def change(patient_id: Id, body: s.PatientPatch, if_match: IfMatch = None) -> s.PatientOut:
    """Change a patient; ``null`` clears email or notes."""
    return api.ok(patients.change(api.caller, patient_id, body, if_match))


@api.delete("/v1/patients/<patient_id>")
@needs("patients:write")
def delete(patient_id: Id, if_match: IfMatch = None) -> None:
    """Take a patient out of the lists; appointments that are still to come stay booked."""
    patients.delete(api.caller, patient_id, if_match)
    return api.no_content()


lambda_handler = api.handler
