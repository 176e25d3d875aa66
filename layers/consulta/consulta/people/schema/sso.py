"""Single sign-on: a practice's identity providers, and signing in by one."""

from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from consulta.core.fields import Name
from consulta.core.http import ApiModel, Id
from consulta.people.contact import Email
from consulta.people.domains import MAX_DOMAIN, PUBLIC, fold_domain
from consulta.people.schema.fields import Version

MAX_DOMAINS = 20
# Cognito's limit of one provider detail is 131,072 characters.
MAX_METADATA = 100_000
SAML_EMAIL = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
_LOOPBACK = {"127.0.0.1", "localhost"}
_MICROSOFT, _ANY_TENANT = "login.microsoftonline.com", {"common", "organizations", "consumers"}
_GOOGLE = "accounts.google.com"


def _domain(value: str) -> str:
    folded = fold_domain(value)
    if folded in PUBLIC:
        raise ValueError("anybody can have an address there")
    return folded


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("a domain is named twice")
    return values


def _address(value: str) -> str:
    parts = urlsplit(value)
    # Plain HTTP on the own machine is for the local AWS: Cognito itself takes https only.
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not is_safe or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("not an https address")
    return value


def _issuer(value: str) -> str:
    parts = urlsplit(_address(value))
    if parts.query:
        raise ValueError("an issuer has no query (OpenID Connect Discovery 1.0, section 3)")
    tenant = parts.path.strip("/").partition("/")[0]
    # Such an issuer signs in whoever has an account there, under an address of their choice.
    if parts.hostname == _GOOGLE or (parts.hostname == _MICROSOFT and tenant in _ANY_TENANT):
        raise ValueError("this issuer signs in people of any organisation: use your tenant's own")
    return value


def _hidden(value: object) -> object:
    # Before white space is stripped off every text: a secret is taken as it is.
    return SecretStr(value) if isinstance(value, str) else value


Domain = Annotated[str, StringConstraints(max_length=MAX_DOMAIN), AfterValidator(_domain)]
Domains = Annotated[
    list[Domain], Field(min_length=1, max_length=MAX_DOMAINS), AfterValidator(_distinct)
]
_Address = Annotated[str, StringConstraints(max_length=512, pattern=r"^[!-~]+$")]
Issuer = Annotated[_Address, AfterValidator(_issuer)]
MetadataUrl = Annotated[_Address, AfterValidator(_address)]
Secret = Annotated[SecretStr, BeforeValidator(_hidden), Field(min_length=1, max_length=1_024)]
Code = Annotated[str | None, Query(max_length=2_048, description="From the user pool")]
State = Annotated[str | None, Query(max_length=512, description="As the start gave it")]

_OIDC = ("issuer", "client_id", "client_secret")
_SAML = ("metadata_url", "metadata_xml", "email_attribute")


class SsoIn(ApiModel):
    """A new identity provider.

    `oidc` needs `issuer`, `client_id` and `client_secret`, which is handed on to the user pool and
    kept nowhere else. `saml` needs `metadata_url` or `metadata_xml`; `email_attribute` is the
    assertion's attribute that has the address.
    """

    kind: Literal["oidc", "saml"]
    name: Name
    domains: Domains
    issuer: Issuer | None = None
    client_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")] | None = None
    client_secret: Secret | None = None
    metadata_url: MetadataUrl | None = None
    metadata_xml: Annotated[str, StringConstraints(max_length=MAX_METADATA)] | None = None
    email_attribute: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")] | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        own, foreign = (_OIDC, _SAML) if self.kind == "oidc" else (_SAML, _OIDC)
        if any(getattr(self, name) is not None for name in foreign):
            raise ValueError(f"{', '.join(foreign)} do not belong to {self.kind}")
        if self.kind == "oidc" and any(getattr(self, name) is None for name in own):
            raise ValueError(f"oidc needs {', '.join(own)}")
        if self.kind == "saml" and (self.metadata_url is None) == (self.metadata_xml is None):
            raise ValueError("saml needs one of metadata_url, metadata_xml")
        return self


class SsoPatch(ApiModel):
    """What of a provider changes. A domain that is new waits for its verification."""

    name: Name | None = None
    domains: Domains | None = None
    enabled: bool | None = None


class SsoDomain(ApiModel):
    """An email domain; nobody signs in by it before `verified_at`."""

    domain: str
    verified_at: datetime | None


class SsoOut(ApiModel):
    """An identity provider.

    `creating` until the user pool has it (repeat the request, or delete it), `pending` until a
    domain is verified, then `active`; `deleting` until the user pool has forgotten it.
    """

    id: Id
    kind: Literal["oidc", "saml"]
    name: str
    state: Literal["creating", "pending", "active", "deleting"]
    enabled: bool
    domains: list[SsoDomain]
    issuer: str | None
    client_id: str | None
    metadata_url: str | None
    created_at: datetime
    version: Version


class SsoPage(ApiModel):
    """Identity providers, the oldest first."""

    items: list[SsoOut]
    next_cursor: str | None


class VerifyIn(ApiModel):
    """Whose provider it is, and which of its domains were proved to be the practice's."""

    practice_id: Id
    domains: Domains


class SsoStartIn(ApiModel):
    """Whose sign-in it is."""

    email: Email


class SsoStartOut(ApiModel):
    """Where the browser goes on; null where this address signs in by a password."""

    authorize_url: str | None
