"""POST /webhooks/google-calendar: a calendar at Google has changed → the calendars' queue."""

from consulta.calendars.push import handle
from consulta.core.observe import observed

lambda_handler = observed(handle)
