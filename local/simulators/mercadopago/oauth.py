"""The OAuth flow by which a seller lets the platform charge with the seller's token.

Source: https://www.mercadopago.com/developers/en/docs/security/oauth/creation.
"""

import secrets
import time

from local.simulators.mercadopago.bodies import Token
from local.simulators.mercadopago.errors import MercadoPagoError
from local.simulators.mercadopago.state import CODE_LIFETIME_S, Object, Seller, State


def authorize(state: State, name: str, site: str) -> str:
    """What the seller's consent in the browser gives: a code, good once and for ten minutes."""
    seller = state.seller_named(name, site)
    code = f"TG-{secrets.token_hex(12)}-{seller.user_id}"
    now = time.monotonic()
    state.codes = {c: kept for c, kept in state.codes.items() if kept[1] > now}
    state.codes[code] = (seller, now + CODE_LIFETIME_S)
    return code


def token(state: State, body: Token) -> Object:
    if body.grant_type == "authorization_code":
        return state.new_tokens(_seller_of_code(state, body.code))
    if body.grant_type == "refresh_token":
        return state.new_tokens(_seller_of_refresh_token(state, body.refresh_token))
    raise _invalid_grant("client_credentials gives no seller's token")


def _seller_of_code(state: State, code: str | None) -> Seller:
    seller, expires = state.codes.pop(code or "", (None, 0.0))
    if seller is None or time.monotonic() > expires:
        raise _invalid_grant("Error validating grant. Your authorization code may be expired")
    return seller


def _seller_of_refresh_token(state: State, refresh_token: str | None) -> Seller:
    for seller in state.sellers.values():
        if refresh_token and seller.refresh_token == refresh_token:
            return seller
    raise _invalid_grant("Error validating grant. Your refresh token may be expired or was used")


def _invalid_grant(message: str) -> MercadoPagoError:
    return MercadoPagoError(400, message, error="invalid_grant")


def deauthorize(state: State, name: str) -> Seller:
    """The seller withdraws the consent: tokens end, and mp-connect tells the platform."""
    seller = state.sellers[name]
    seller.access_tokens.clear()
    seller.refresh_token = ""
    state.notify("mp-connect", "application.deauthorized", str(seller.user_id), seller.user_id)
    return seller
