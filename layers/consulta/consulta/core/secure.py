"""Headers that every answer carries, the API's and the documentation's."""

REQUEST_ID_HEADER = "Consulta-Request-Id"
# For answers that are data: a browser that is led to one shows, runs and embeds nothing.
SECURITY_HEADERS = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
