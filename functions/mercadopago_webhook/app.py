"""POST /webhooks/mercadopago: notifications about the sellers' payments and connections."""

from consulta.money.webhooks.intake import handler, mercadopago_message

lambda_handler = handler(mercadopago_message)
