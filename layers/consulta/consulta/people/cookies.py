"""The cookie that holds the refresh token, and what guards it from other sites.

Its value is ``<person>.<session>.<refresh token>``: the token alone says to nobody but Cognito
whose it is, and the session's row is looked at before Cognito is asked. The two ids are no secret
to their owner, and prove nothing without the token.

Source: RFC 6265bis and OWASP's CSRF cheat sheet. ``SameSite=Strict`` keeps other sites from sending
the cookie; the header, which a form cannot set and CORS does not let a stranger set, is the second
lock, for sister subdomains, which are the same site.
"""

from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from consulta.core.errors import Forbidden

NAME = "consulta_refresh"
PATH = "/v1/auth"
# The app client's RefreshTokenValidity; rotation does not prolong it, Cognito has the last word.
LIFETIME_S = 30 * 86_400


def refresh_cookie(token: str) -> Cookie:
    """The cookie with a refresh token; without one, the cookie that takes it away."""
    return Cookie(
        NAME,
        token,
        path=PATH,
        http_only=True,
        secure=True,
        same_site=SameSite.STRICT_MODE,
        max_age=LIFETIME_S if token else 0,
    )


def refresh_token_of(cookies: list[str]) -> str:
    """The refresh token among a request's cookies (``name=value``), or nothing."""
    for cookie in cookies:
        name, _, value = cookie.strip().partition("=")
        if name == NAME:
            return value
    return ""


def require_csrf_header(value: str | None) -> None:
    """Raises Forbidden without the header ``Consulta-CSRF: 1``."""
    if value != "1":
        raise Forbidden("Send the header Consulta-CSRF: 1")
