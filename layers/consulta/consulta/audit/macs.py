"""The key that every audit row and seal is signed with: HMAC-SHA256, from Secrets Manager.

The secret is ``{"id", "key", "older": {id: key}}``; rows name the key that they were signed with,
so that a new key can take over without the old rows becoming unprovable.
"""

import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aws_lambda_powertools.utilities.parameters.secrets import SecretsProvider
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from consulta.audit.fields import canonical, plain
from consulta.core import aws, settings

MAX_AGE_S = 300


class MacSettings(settings.Settings):
    """Where the secret is."""

    audit_secret_arn: str


class MacKeys(BaseModel):
    """The current key and those before it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: str = Field(min_length=1)
    key: SecretStr = Field(min_length=32)
    older: dict[str, SecretStr] = {}

    def sign(self, values: Mapping[str, Any]) -> str:
        """The mac of ``values`` by the current key, in hex."""
        return _mac(self.key, values)

    def holds(self, key_id: str, values: Mapping[str, Any], mac: str) -> bool:
        """Whether ``mac`` is that of ``values`` by the key that they name."""
        key = self.key if key_id == self.id else self.older.get(key_id)
        return key is not None and hmac.compare_digest(_mac(key, values), mac)


def _mac(key: SecretStr, values: Mapping[str, Any]) -> str:
    secret = key.get_secret_value().encode()
    return hmac.new(secret, canonical(plain(values)), hashlib.sha256).hexdigest()


@lru_cache(maxsize=1)
def _provider(client: Any) -> SecretsProvider:
    return SecretsProvider(boto3_client=client)


def mac_keys() -> MacKeys:
    """The keys, at most five minutes old."""
    arn = settings.load(MacSettings).audit_secret_arn
    text = _provider(aws.client("secretsmanager")).get(arn, max_age=MAX_AGE_S)
    return MacKeys.model_validate_json(str(text))
