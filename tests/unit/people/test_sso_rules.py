"""Single sign-on without a table: what is accepted, one spelling per domain, where browsers go."""

from typing import Any

import pytest
from pydantic import ValidationError

from consulta.people import sso_cognito, sso_sign_in
from consulta.people.domains import PUBLIC, domain_of, fold_domain
from consulta.people.schema.sso import MAX_DOMAINS, SsoIn, SsoPatch

OIDC: dict[str, Any] = {
    "kind": "oidc",
    "name": "Clinic",
    "issuer": "https://login.clinic.example/realm",
    "client_id": "consulta",
    "client_secret": "s3cret-of-the-provider",
    "domains": ["clinic.example"],
}
SAML: dict[str, Any] = {
    "kind": "saml",
    "name": "Clinic",
    "metadata_url": "https://login.clinic.example/metadata.xml",
    "domains": ["clinic.example"],
}


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Clinic.EXAMPLE", "clinic.example"),
        (" clinic.example ", "clinic.example"),
        ("ｃlinic.example", "clinic.example"),
        ("Clínica.example", "xn--clnica-4va.example"),
        ("CLI\u0301NICA.example", "xn--clnica-4va.example"),
        ("xn--clnica-4va.example", "xn--clnica-4va.example"),
    ],
)
def test_a_domain_has_one_spelling(written: str, folded: str) -> None:
    assert fold_domain(written) == folded
    assert domain_of(f"ana@{written.strip()}") == folded
    assert SsoIn.model_validate(OIDC | {"domains": [written]}).domains == [folded]


@pytest.mark.parametrize(
    "text", ["", "clinic", "a b.example", "clinic.example/x", "a@b.example", "-a.example", "a..b"]
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="domain"):
        fold_domain(text)


@pytest.mark.parametrize("email", ["", "ana", "@clinic.example", "ana@"])
def test_what_is_no_address_has_no_domain(email: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        domain_of(email)


def test_public_domains_are_folded_themselves() -> None:
    assert {fold_domain(domain) for domain in PUBLIC} == PUBLIC
    assert {"gmail.com", "outlook.com", "yahoo.com", "icloud.com"} <= PUBLIC


@pytest.mark.parametrize(
    "body",
    [
        OIDC,
        SAML,
        SAML | {"email_attribute": "email"},
        {**SAML, "metadata_url": None, "metadata_xml": "<EntityDescriptor/>"},
        OIDC | {"issuer": "http://127.0.0.1:4702"},
        OIDC | {"issuer": "https://login.microsoftonline.com/9188040d-6c67-4c5b/v2.0"},
    ],
)
def test_good_settings_are_accepted(body: dict[str, Any]) -> None:
    assert SsoIn.model_validate(body).domains == ["clinic.example"]


@pytest.mark.parametrize(
    "changes",
    [
        {"domains": []},
        {"domains": ["GMail.com"]},
        {"domains": ["clinic.example", "CLINIC.example"]},
        {"domains": [f"d{n}.example" for n in range(MAX_DOMAINS + 1)]},
        {"issuer": None},
        {"issuer": "http://login.clinic.example"},
        {"issuer": "https://user:pass@login.clinic.example"},
        {"issuer": "https://login.clinic.example?tenant=1"},
        {"issuer": "https://login.clinic.example#x"},
        {"issuer": "https://accounts.google.com"},
        {"issuer": "https://login.microsoftonline.com/common/v2.0"},
        {"issuer": "https://LOGIN.microsoftonline.com/organizations/v2.0"},
        {"issuer": "javascript:alert(1)"},
        {"client_id": "with space"},
        {"client_secret": None},
        {"client_secret": ""},
        {"metadata_url": "https://login.clinic.example/metadata.xml"},
        {"email_attribute": "email"},
        {"kind": "ldap"},
        {"unknown": 1},
        {"enabled": True},
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SsoIn.model_validate(OIDC | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata_url": None},
        {"metadata_xml": "<EntityDescriptor/>"},
        {"metadata_url": "ftp://login.clinic.example"},
        {"client_secret": "x"},
    ],
)
def test_bad_saml_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SsoIn.model_validate(SAML | changes)


def test_the_secret_is_in_no_text_of_the_request() -> None:
    body = SsoIn.model_validate(OIDC)
    assert "s3cret" not in body.model_dump_json() + repr(body)
    assert body.client_secret is not None
    assert body.client_secret.get_secret_value() == OIDC["client_secret"]


def test_a_secret_keeps_its_white_space() -> None:
    body = SsoIn.model_validate(OIDC | {"client_secret": " secret "})
    assert body.client_secret is not None
    assert body.client_secret.get_secret_value() == " secret "


def test_a_patch_refuses_what_never_changes() -> None:
    with pytest.raises(ValidationError):
        SsoPatch.model_validate({"issuer": "https://other.example"})
    with pytest.raises(ValidationError):
        SsoPatch.model_validate({"domains": ["gmail.com"]})


def test_the_providers_name_is_one_that_cognito_takes() -> None:
    name = sso_cognito.provider_name("sso_01JC0NS0TADEM0000000000000")
    assert name == "sso-01JC0NS0TADEM0000000000000"
    assert len(name) <= 32


def test_where_browsers_come_back_to(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SSO_BASE", "https://pool.example")
    environment.setenv("APP_URL", "https://app.example/")
    environment.setenv("PUBLIC_URL", "")
    assert (
        sso_sign_in.callback_url("abc.execute-api.example")
        == "https://abc.execute-api.example/v1/auth/sso/callback"
    )
    assert sso_sign_in.app_url() == "https://app.example/"
    assert sso_sign_in.app_url("expired") == "https://app.example/?sso_error=expired"


def test_the_public_address_comes_before_the_gateways(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SSO_BASE", "https://pool.example")
    environment.setenv("APP_URL", "https://app.example")
    environment.setenv("PUBLIC_URL", "https://api.example")
    assert sso_sign_in.callback_url("x.example") == "https://api.example/v1/auth/sso/callback"


def test_the_browsers_cookie_comes_back_from_another_site_and_is_not_read_by_scripts() -> None:
    parts = set(str(sso_sign_in.browser_cookie("abc")).split("; "))
    assert parts == {
        "consulta_sso=abc",
        "Path=/v1/auth/sso",
        "HttpOnly",
        "Secure",
        "SameSite=Lax",
        "Max-Age=600",
    }
    assert sso_sign_in.browser_of(["a=1", " consulta_sso=abc"]) == "abc"
    assert sso_sign_in.browser_of(["xconsulta_sso=abc"]) == ""
