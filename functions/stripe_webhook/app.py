"""POST /webhooks/stripe: events of the platform and of the connected accounts."""

from consulta.money.webhooks.intake import handler, stripe_message

lambda_handler = handler(stripe_message)
