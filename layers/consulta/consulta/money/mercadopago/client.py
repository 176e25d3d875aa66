"""The one place that imports Mercado Pago's SDK, when it is first used: transport and errors."""

from functools import cache
from http import HTTPStatus
from typing import Any

from consulta.core import settings
from consulta.core.errors import NotFound, ProviderFailed
from consulta.core.observe import count, logger
from consulta.money.webhooks.throttling import RateLimited

_SDK_BASE = "https://api.mercadopago.com"
# Seconds, to connect and then to read; the SDK takes a float only.
TIMEOUT_S = 10.0
RETRIES = 2
# Tried again at once. Not a 429: that is waited for, and the SDK would hide it.
RETRIED = [500, 502, 503, 504]


class MercadoPagoBase(settings.Settings):
    """Where Mercado Pago's API is."""

    mercadopago_api_base: str = _SDK_BASE


@cache
def _module() -> Any:
    import mercadopago  # noqa: PLC0415

    return mercadopago


@cache
def _transport(base: str) -> Any:
    """The SDK's transport to another base: it has no option for that."""
    from mercadopago.http import HttpClient  # noqa: PLC0415

    class Transport(HttpClient):  # type: ignore[misc]  # the SDK has no types
        def request(self, method: str, url: str, **kwargs: Any) -> Any:
            return super().request(method, base + url.removeprefix(_SDK_BASE), **kwargs)

    return Transport()


class WrongState(ProviderFailed):
    """Refused as it stands (400): reading the payment says what it is."""


def sdk(access_token: str) -> Any:
    """The SDK in the name of whose token it is."""
    base = settings.load(MercadoPagoBase).mercadopago_api_base
    return _module().SDK(access_token, http_client=_transport(base.rstrip("/")))


def resource(access_token: str) -> Any:
    """What the SDK has no class for: ``read(path, id, options)`` answers as its own classes do."""
    from mercadopago.core import MPBase  # noqa: PLC0415

    class Resource(MPBase):  # type: ignore[misc]  # the SDK has no types
        def read(self, path: str, object_id: str, request_options: Any) -> Any:
            return self._get(path + self._path_param(object_id), request_options=request_options)

    base = settings.load(MercadoPagoBase).mercadopago_api_base
    return Resource(options(access_token), _transport(base.rstrip("/")))


def options(access_token: str, key: str = "") -> Any:
    """One call's options; ``key`` is our idempotency key, in place of the SDK's random one."""
    headers = {"x-idempotency-key": key} if key else None
    return _module().config.RequestOptions(
        access_token=access_token,
        connection_timeout=TIMEOUT_S,
        max_retries=RETRIES,
        retry_on=RETRIED,
        custom_headers=headers,
    )


def answer(operation: str, call: Any, *arguments: Any) -> Any:
    """The body of a good answer, None where it has none.

    404 → NotFound; 400 → WrongState; 429 → RateLimited; all else, no answer included →
    ProviderFailed. The error's text, which may quote what was sent, goes nowhere.
    """
    from mercadopago.errors import MercadoPagoError  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        response = call(*arguments)
    except (RequestException, MercadoPagoError) as error:
        _note(operation, type(error).__name__, 0, ())
        raise ProviderFailed from None
    if response.is_success:
        return response["response"]
    codes = [c.get("code") for c in response.error_causes or () if isinstance(c, dict)]
    _note(operation, "refused", response.status_code, codes)
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFound("The payment provider has no such object")
    if response.status_code == HTTPStatus.BAD_REQUEST:
        raise WrongState
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited
    raise ProviderFailed


def _note(operation: str, error: str, status: int, codes: Any) -> None:
    logger.warning(
        "mercado pago refused or did not answer",
        extra={"operation": operation, "error": error, "status": status, "codes": list(codes)},
    )
    count("MercadoPagoErrors")
