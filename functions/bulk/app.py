"""Many booked times at once: /v1/appointments/bulk."""

from consulta.core.http import Api, Id, IdempotencyKey, needs
from consulta.money.appointments import bulk
from consulta.scheduling.schema.bulk import BulkJob, BulkRequest

api = Api("bulk")


@api.post("/v1/appointments/bulk")
@needs("appointments:write")
def start(body: BulkRequest, idempotency_key: IdempotencyKey = None) -> BulkJob:
    """One action on up to 200, with a result for each; 202 where it takes longer than a moment."""
    job = bulk.start(api.caller, body, idempotency_key)
    location = f"/v1/appointments/bulk/{job.id}"
    if job.state == bulk.RUNNING:
        return api.accepted(job, location)
    return api.ok(job, headers={"Location": location})


@api.get("/v1/appointments/bulk/<job_id>")
@needs("appointments:write")
def get(job_id: Id) -> BulkJob:
    """How far it has come; kept for 30 days."""
    return api.ok(bulk.get(api.caller, job_id))


lambda_handler = api.handler
