"""AES-256-GCM under keys that KMS keeps: what waits in the queue, and persons' fields.

A data key is made by KMS and stored or sent encrypted by it, bound to its purpose by the encryption
context, so that a row which was copied elsewhere cannot be opened there.
"""

import base64
import gzip
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from consulta.audit.fields import canonical
from consulta.core import aws, settings

NONCE_BYTES = 12
QUEUE = {"purpose": "audit-queue"}
# How long one environment sends under one data key.
QUEUE_KEY_AGE_S = 300.0


class KeySettings(settings.Settings):
    """The KMS key of the audit."""

    audit_key_id: str


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key in clear, and as it is stored."""

    wrapped: bytes
    key: bytes = field(repr=False)

    def encrypt(self, text: bytes, bound_to: bytes = b"") -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        sealed: bytes = _aes(_derived(self.key, "encrypt")).encrypt(nonce, text, bound_to)
        return nonce + sealed

    def decrypt(self, sealed: bytes, bound_to: bytes = b"") -> bytes:
        """The reverse of :meth:`encrypt`. Raises InvalidTag where it was made elsewhere."""
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        clear: bytes = _aes(_derived(self.key, "encrypt")).decrypt(nonce, text, bound_to)
        return clear

    def token(self, name: str, value: Any) -> str:
        """A keyed hash of a field: the same value, the same token, and nothing else to learn."""
        key = _derived(self.key, "hash")
        return hmac.new(key, canonical([name, value]), hashlib.sha256).hexdigest()


def _derived(key: bytes, purpose: str) -> bytes:
    """One key per purpose (HKDF-Expand of RFC 5869, one block)."""
    return hmac.new(key, purpose.encode() + b"\x01", hashlib.sha256).digest()


@lru_cache(maxsize=256)
def _aes(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # 20 ms

    return AESGCM(key)


def new_data_key(context: Mapping[str, str]) -> DataKey:
    """A new key, made and encrypted by KMS for ``context``."""
    answer = aws.client("kms").generate_data_key(
        KeyId=settings.load(KeySettings).audit_key_id,
        KeySpec="AES_256",
        EncryptionContext=dict(context),
    )
    return DataKey(answer["CiphertextBlob"], answer["Plaintext"])


def opened_data_key(wrapped: bytes, context: Mapping[str, str]) -> DataKey:
    """A stored key; remembered, since a wrapped key never changes its meaning."""
    return _opened(aws.client("kms"), wrapped, tuple(sorted(context.items())))


@lru_cache(maxsize=512)
def _opened(kms: Any, wrapped: bytes, context: tuple[tuple[str, str], ...]) -> DataKey:
    answer = kms.decrypt(
        KeyId=settings.load(KeySettings).audit_key_id,
        CiphertextBlob=wrapped,
        EncryptionContext=dict(context),
    )
    return DataKey(wrapped, answer["Plaintext"])


@lru_cache(maxsize=1)
def _queue_key(kms: Any, period: int) -> DataKey:  # noqa: ARG001  # a new one per period
    return new_data_key(QUEUE)


def seal_message(body: bytes) -> str:
    """A queue message's body: images hold personal data, and a dead letter lives for two weeks."""
    key = _queue_key(aws.client("kms"), int(time.monotonic() / QUEUE_KEY_AGE_S))
    sealed = key.encrypt(gzip.compress(body, mtime=0))
    return f"{_text(key.wrapped)}.{_text(sealed)}"


def open_message(text: str) -> bytes:
    """The reverse of :func:`seal_message`. Raises ValueError for anything else."""
    wrapped, _, sealed = text.partition(".")
    key = opened_data_key(base64.b64decode(wrapped, validate=True), QUEUE)
    return gzip.decompress(key.decrypt(base64.b64decode(sealed, validate=True)))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
