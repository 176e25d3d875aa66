"""An identity provider in the user pool: the provider, and the app client that is its alone.

Both are named after our id, so that whatever a crash has left is found by the name. An app client
of each provider's own: docs/decisions/0007.
"""

import json
from dataclasses import dataclass
from typing import Any

from consulta.people import cognito
from consulta.people.contact import fold_email
from consulta.people.schema.sso import SAML_EMAIL, SsoIn

SCOPES = ["openid", "email"]
_PAGE = 60
_GONE = "ResourceNotFoundException"
_FEDERATED = "EXTERNAL_PROVIDER"
# Their own account's: an address that was never confirmed may be anybody's.
_NATIVE = frozenset({"CONFIRMED", "FORCE_CHANGE_PASSWORD", "RESET_REQUIRED"})


class SettingsRefused(Exception):
    """The user pool cannot work with these settings: no such issuer, metadata that is none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user that Cognito made of a provider's: its name in the pool, its id at the provider."""

    username: str
    user_id: str


def provider_name(sso_id: str) -> str:
    """``sso_01J…`` as Cognito allows names: no underscore, at most 32 characters."""
    return sso_id.replace("_", "-")


def connect(sso_id: str, body: SsoIn, callback_url: str, *, again: bool) -> str:
    """Make the provider and its app client; gives the client's id.

    ``again``: an earlier try may have made either. Raises SettingsRefused.
    """
    name = provider_name(sso_id)
    _put_provider(name, body)
    made = _clients(name) if again else []
    return made[0] if made else _create_client(name, callback_url)


def disconnect(sso_id: str) -> None:
    """Remove the provider and every app client of its; what is gone already is fine."""
    name = provider_name(sso_id)
    for client_id in _clients(name):
        delete_client(client_id)
    _unless_gone("delete_identity_provider", ProviderName=name)


def delete_client(client_id: str) -> None:
    """Remove an app client: its refresh tokens are worth nothing then."""
    _unless_gone("delete_user_pool_client", ClientId=client_id)


def native_username(person: str, email: str) -> str | None:
    """The user name of a person's account with this address; None where it is no such account.

    Only one that signs in with a password: not one of a provider's, not a disabled one.
    """
    found = _user(person)
    attributes = _attributes(found)
    fits = (
        found.get("Enabled", True)
        and found["UserStatus"] in _NATIVE
        and attributes.get("sub") == person
        and fold_email(attributes.get("email")) == email
    )
    return str(found["Username"]) if fits else None


def identity_of(person: str, sso_id: str) -> Identity | None:
    """What Cognito made of somebody who came by this provider; None where it made nobody."""
    found = _user(person)
    attributes = _attributes(found)
    if found["UserStatus"] != _FEDERATED or attributes.get("sub") != person:
        return None
    for identity in json.loads(attributes.get("identities", "[]")):
        if identity["providerName"] == provider_name(sso_id):
            return Identity(str(found["Username"]), str(identity["userId"]))
    return None


def groups_of(username: str) -> list[str]:
    """The names of a user's groups."""
    found: list[str] = []
    request: dict[str, Any] = {"UserPoolId": cognito.pool().user_pool_id, "Username": username}
    while True:
        answer = cognito.call("admin_list_groups_for_user", Limit=_PAGE, **request)
        found += [group["GroupName"] for group in answer["Groups"]]
        if not answer.get("NextToken"):
            return found
        request["NextToken"] = answer["NextToken"]


def link(sso_id: str, identity: Identity, native: str) -> None:
    """Delete the identity's own user: from now on who comes with it is the user ``native``."""
    pool_id = cognito.pool().user_pool_id
    cognito.call("admin_delete_user", UserPoolId=pool_id, Username=identity.username)
    cognito.call(
        "admin_link_provider_for_user",
        UserPoolId=pool_id,
        DestinationUser={"ProviderName": "Cognito", "ProviderAttributeValue": native},
        SourceUser={
            "ProviderName": provider_name(sso_id),
            "ProviderAttributeName": "Cognito_Subject",
            "ProviderAttributeValue": identity.user_id,
        },
    )


def _user(person: str) -> dict[str, Any]:
    return cognito.call("admin_get_user", UserPoolId=cognito.pool().user_pool_id, Username=person)


def _attributes(found: dict[str, Any]) -> dict[str, str]:
    return {entry["Name"]: entry["Value"] for entry in found["UserAttributes"]}


def _unless_gone(operation: str, **request: str) -> None:
    try:
        cognito.call(operation, UserPoolId=cognito.pool().user_pool_id, **request)
    except cognito.Refused as refused:
        if refused.code != _GONE:
            raise


def _put_provider(name: str, body: SsoIn) -> None:
    request = {
        "UserPoolId": cognito.pool().user_pool_id,
        "ProviderName": name,
        "ProviderDetails": _details(body),
        "AttributeMapping": {
            "email": "email" if body.kind == "oidc" else body.email_attribute or SAML_EMAIL
        },
    }
    try:
        try:
            cognito.call("create_identity_provider", ProviderType=body.kind.upper(), **request)
        except cognito.Refused as refused:
            if refused.code != "DuplicateProviderException":
                raise
            cognito.call("update_identity_provider", **request)
    except cognito.Refused as refused:
        if refused.code == "InvalidParameterException":
            raise SettingsRefused from None
        raise


def _details(body: SsoIn) -> dict[str, str]:
    if body.kind == "oidc":
        return {
            "client_id": body.client_id or "",
            "client_secret": body.client_secret.get_secret_value() if body.client_secret else "",
            "authorize_scopes": " ".join(SCOPES),
            "oidc_issuer": body.issuer or "",
            "attributes_request_method": "GET",
        }
    if body.metadata_url:
        return {"MetadataURL": body.metadata_url}
    return {"MetadataFile": body.metadata_xml or ""}


def _create_client(name: str, callback_url: str) -> str:
    answer = cognito.call(
        "create_user_pool_client",
        UserPoolId=cognito.pool().user_pool_id,
        ClientName=name,
        SupportedIdentityProviders=[name],
        CallbackURLs=[callback_url],
        AllowedOAuthFlows=["code"],
        AllowedOAuthScopes=SCOPES,
        AllowedOAuthFlowsUserPoolClient=True,
        # Left out, it would allow passwords (SRP). This one needs triggers, which the pool has not:
        # nobody signs in by this client but through its provider.
        ExplicitAuthFlows=["ALLOW_CUSTOM_AUTH"],
        PreventUserExistenceErrors="ENABLED",
        EnableTokenRevocation=True,
        # As the template's own client.
        AccessTokenValidity=15,
        IdTokenValidity=15,
        RefreshTokenValidity=30,
        TokenValidityUnits={"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
        RefreshTokenRotation={"Feature": "ENABLED", "RetryGracePeriodSeconds": 10},
    )
    return str(answer["UserPoolClient"]["ClientId"])


def _clients(name: str) -> list[str]:
    """The ids of the app clients with this name; a pool has a thousand at most, 60 a page."""
    found: list[str] = []
    request: dict[str, Any] = {"UserPoolId": cognito.pool().user_pool_id, "MaxResults": _PAGE}
    while True:
        answer = cognito.call("list_user_pool_clients", **request)
        found += [c["ClientId"] for c in answer["UserPoolClients"] if c["ClientName"] == name]
        if not answer.get("NextToken"):
            return found
        request["NextToken"] = answer["NextToken"]
