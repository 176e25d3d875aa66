"""What an operator does once after the first deployment: secrets, mail sender, webhooks."""

import json
from collections.abc import Mapping
from typing import Any

import boto3
import httpx

# By name of the simulator: the stack's output with the secret, and what the secret holds.
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "stripe": (
        "StripeSecretArn",
        {
            "api_key": "sk_test_local",
            "webhook": {"current": "whsec_local", "previous": None, "until": None},
        },
    ),
    "mercadopago": (
        "MercadoPagoSecretArn",
        {
            "client_id": "app_local",
            "client_secret": "cs_local",
            "platform_access_token": "APP_USR-platform",
            "webhook": {"current": "mpsec_local", "previous": None, "until": None},
        },
    ),
    "google": (
        "GoogleSecretArn",
        {"client_id": "local.apps.googleusercontent.com", "client_secret": "GOCSPX-local"},
    ),
}


def connect_providers(
    api_url: str, outputs: Mapping[str, str], simulators: Mapping[str, str]
) -> None:
    """Give each provider's secret to the functions, and our webhook's address to its simulator.

    Google has no webhook of ours: each calendar's channel names its own address.

    ``simulators``: {name: base address}. Raises httpx.HTTPError, botocore's ClientError.
    """
    secrets = boto3.client("secretsmanager", endpoint_url=api_url)
    for name, (output, value) in PROVIDERS.items():
        secrets.put_secret_value(SecretId=outputs[output], SecretString=json.dumps(value))
        if "webhook" not in value:
            continue
        settings = {
            "webhook_url": f"{api_url}/webhooks/{name}",
            "webhook_secret": value["webhook"]["current"],
        }
        httpx.post(f"{simulators[name]}/_control/config", json=settings).raise_for_status()


def verify_senders(api_url: str) -> None:
    """SES refuses a sender that is not verified; on AWS a person follows a link or sets DNS."""
    ses = boto3.client("ses", endpoint_url=api_url)
    for identity in ses.list_identities()["Identities"]:
        if "@" in identity:
            ses.verify_email_identity(EmailAddress=identity)
        else:
            ses.verify_domain_identity(Domain=identity)
