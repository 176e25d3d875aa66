"""Mercado Pago's error bodies: {"message", "error", "status", "cause": [{"code", "description"}]}.

Source: the error lists of https://www.mercadopago.com/developers/en/reference.
"""

from typing import Any

_NAMES = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found"}


class MercadoPagoError(Exception):
    def __init__(self, status: int, message: str, code: int | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        cause = [] if code is None else [{"code": code, "description": message, "data": None}]
        self.body = {
            "message": message,
            "error": _NAMES.get(status, "internal_error"),
            "status": status,
            "cause": cause,
        } | extra


def bad_request(code: int, message: str) -> MercadoPagoError:
    return MercadoPagoError(400, message, code)


def payment_not_found() -> MercadoPagoError:
    return MercadoPagoError(404, "Payment not found", 2000)


def unauthorized() -> MercadoPagoError:
    return MercadoPagoError(401, "invalid access token")
