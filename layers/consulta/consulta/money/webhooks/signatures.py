"""Whether a webhook really comes from its provider. Pure, on the standard library alone.

Stripe: ``t=<s>,v1=<hex>[,v1=…]``, HMAC-SHA256 over ``<t>.<raw body>``
(https://docs.stripe.com/webhooks#verify-manually). Mercado Pago: ``ts=<n>,v1=<hex>``, HMAC-SHA256
over ``id:<data.id>;request-id:<x-request-id>;ts:<ts>;``, absent pairs left out; the body is not
signed (https://www.mercadopago.com/developers/en/docs/your-integrations/notifications/webhooks).
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from consulta.core.errors import BadRequest, FieldError

TOLERANCE_S = 300
# Ten digits of seconds last until 2286; milliseconds have thirteen.
_SECONDS_DIGITS = 10
_MAX_DIGITS = 16


def refusal(header: str, why: str) -> BadRequest:
    """The 400 for a signature that is absent, malformed, stale or wrong."""
    return BadRequest(
        "The webhook's signature is not good",
        errors=(FieldError(f"header.{header}", why, "signature"),),
    )


def _hmac(secret: str, message: bytes) -> str:
    return hmac.digest(secret.encode(), message, "sha256").hex()


def _pairs(header: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in header.split(","))
    return [(name.strip(), value.strip()) for name, _, value in parts]


def _matches(signatures: Iterable[str], expected: Sequence[str]) -> bool:
    # Every pair is compared, as bytes (text beyond ASCII would be a TypeError): the time it takes
    # says nothing.
    found = [
        hmac.compare_digest(signature.encode(), wanted.encode())
        for signature in signatures
        for wanted in expected
    ]
    return any(found)


def _timestamp(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if plain else None


@dataclass(frozen=True, slots=True)
class StripeSignature:
    """A ``Stripe-Signature`` header over a raw body."""

    timestamp: int
    signatures: tuple[str, ...]
    body: bytes

    @classmethod
    def read(cls, header: str, body: bytes, at: float) -> "StripeSignature":
        """Raises BadRequest for a malformed header, and for one over 300 s old or ahead."""
        pairs = _pairs(header)
        signatures = tuple(value for name, value in pairs if name == "v1" and value)
        timestamp = _timestamp(next((value for name, value in pairs if name == "t"), ""))
        if timestamp is None or not signatures:
            raise refusal("Stripe-Signature", "absent or malformed")
        if abs(at - timestamp) > TOLERANCE_S:
            raise refusal("Stripe-Signature", "the timestamp is too far from now")
        return cls(timestamp, signatures, body)

    def is_by(self, secrets: Sequence[str]) -> bool:
        """Whether one of ``secrets`` made one of the signatures."""
        message = f"{self.timestamp}.".encode() + self.body
        return _matches(self.signatures, [_hmac(secret, message) for secret in secrets])


@dataclass(frozen=True, slots=True)
class MercadoPagoSignature:
    """An ``x-signature`` header with what it signs. ``ts`` stays as it came."""

    ts: str
    signatures: tuple[str, ...]
    request_id: str
    data_id: str

    @classmethod
    def read(cls, header: str, request_id: str, data_id: str) -> "MercadoPagoSignature":
        """``data_id`` is the query's. Raises BadRequest for a malformed header.

        An old ``ts`` is no reason to refuse: a retry may keep it, and since the payment is read
        again a replay does no harm (rules §5).
        """
        pairs = _pairs(header)
        signatures = tuple(value for name, value in pairs if name == "v1" and value)
        ts = next((value for name, value in pairs if name == "ts"), "")
        if _timestamp(ts) is None or not signatures:
            raise refusal("x-signature", "absent or malformed")
        return cls(ts, signatures, request_id, data_id)

    @property
    def signed_at(self) -> float:
        """``ts`` in seconds: it is seen in seconds and in milliseconds."""
        return int(self.ts) / (1000 if len(self.ts) > _SECONDS_DIGITS else 1)

    def is_by(self, secrets: Sequence[str]) -> bool:
        """Whether one of ``secrets`` made the signature, over either form of the id.

        Sources disagree on whether ``data.id`` is lower-cased before it is signed.
        """
        manifests = {self._manifest(self.data_id), self._manifest(self.data_id.lower())}
        expected = [_hmac(s, manifest.encode()) for s in secrets for manifest in manifests]
        return _matches(self.signatures, expected)

    def _manifest(self, data_id: str) -> str:
        pairs = (("id", data_id), ("request-id", self.request_id), ("ts", self.ts))
        return "".join(f"{name}:{value};" for name, value in pairs if value)
