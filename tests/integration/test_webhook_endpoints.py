"""``consulta webhooks check``, and the simulator's webhook endpoints: made, listed, called."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk
from click.testing import Result
from typer.testing import CliRunner

from consulta.core import settings
from consulta.money.webhooks.endpoints import Scope, wanted
from consulta_cli import app, stack
from tests.integration.test_providers import (  # noqa: F401  # fixtures are found by their names
    Simulator,
    aws,
    stripe,
    stripe_process,
)
from tests.integration.test_simulators import until

# ruff: noqa: F811  # a fixture's name as argument is how pytest hands it over
API = "https://api.example.com"
URL = f"{API}/webhooks/stripe"


@pytest.fixture
def client(stripe: Simulator) -> sdk.StripeClient:
    return sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})


def checked(*options: str) -> Result:
    named = ["--stripe-secret", os.environ["STRIPE_SECRET_ARN"], "--api-url", f"{API}/"]
    return CliRunner().invoke(app, ["webhooks", "check", *named, *options])


def lines(result: Result) -> list[str]:
    """What was found, without the last line, which counts."""
    return str(result.stdout).splitlines()[:-1]


def make(client: sdk.StripeClient, scope: Scope, **changes: Any) -> sdk.WebhookEndpoint:
    values: dict[str, Any] = {
        "url": URL,
        "connect": scope is Scope.CONNECT,
        "enabled_events": sorted(wanted(scope)),
        "api_version": sdk.api_version,
        **changes,
    }
    return client.v1.webhook_endpoints.create({k: v for k, v in values.items() if v is not None})


# ---------------------------------------------------------------- the command


def test_the_address_that_the_simulator_delivers_to_is_right(stripe: Simulator) -> None:
    stripe.control("config", {"webhook_url": URL})
    ran = checked()
    assert ran.exit_code == 0, ran.output
    counted = f"3 endpoints at {URL}, API version {sdk.api_version}: 0 findings"
    assert ran.stdout.strip() == counted


def test_endpoints_as_the_guide_wants_them(client: sdk.StripeClient) -> None:
    for scope in Scope:
        make(client, scope)
    # Of another stack: no matter of ours.
    make(client, Scope.ACCOUNT, url="https://other.example.com/webhooks/stripe", api_version=None)
    ran = checked()
    assert (ran.exit_code, lines(ran)) == (0, []), ran.output


def test_nothing_is_there(stripe: Simulator) -> None:
    ran = checked()
    assert ran.exit_code == 1
    assert lines(ran) == ["missing: -: account: -", "missing: -: connect: -"]


def test_everything_that_can_be_wrong(client: sdk.StripeClient) -> None:
    old = make(client, Scope.ACCOUNT, api_version="2025-01-27.acacia")
    off = make(client, Scope.ACCOUNT, enabled_events=["*"])
    client.v1.webhook_endpoints.update(off.id, {"disabled": True})
    most = sorted(wanted(Scope.CONNECT) - {"account.updated"})
    own = make(client, Scope.CONNECT, api_version=None, enabled_events=most)
    ran = checked()
    assert ran.exit_code == 1
    assert sorted(lines(ran)) == sorted(
        [
            f"api_version: {old.id}: account: 2025-01-27.acacia",
            f"api_version: {own.id}: connect: the account's own",
            f"disabled: {off.id}: account: -",
            "types: -: connect: account.updated",
        ]
    )


def test_more_endpoints_than_one_page(
    client: sdk.StripeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consulta.money.stripe.endpoints.PAGE", 2)
    for number in range(5):
        make(client, Scope.ACCOUNT, url=f"https://other{number}.example.com/webhooks/stripe")
    for scope in Scope:
        make(client, scope)
    assert checked().exit_code == 0


def test_stripe_cannot_be_asked(stripe: Simulator) -> None:
    for path in ("/v1/webhook_endpoints", "/v2/core/event_destinations"):
        fault = {"method": "GET", "path_prefix": path, "kind": "status", "status": 401}
        stripe.control("faults", fault)
        ran = checked()
        assert (ran.exit_code, ran.stdout) == (2, "")
    secret = ["--stripe-secret", f"{os.environ['STRIPE_SECRET_ARN']}-other"]
    settings.reset()
    assert checked(*secret).exit_code == 2


def test_the_local_stack_is_found_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "stack.json"
    local = "http://127.0.0.1:4566"
    outputs = {"StripeSecretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"}
    told = {"api_url": local, "stripe_url": "http://127.0.0.1:4567", "outputs": outputs}
    described.write_text(json.dumps(told))
    monkeypatch.setattr(os, "environ", {})
    assert stack.use_stripe("", "", "", "", described) == local
    assert os.environ["STRIPE_SECRET_ARN"] == outputs["StripeSecretArn"]
    assert os.environ["STRIPE_API_BASE"] == told["stripe_url"]
    assert os.environ["AWS_ENDPOINT_URL"] == local


@pytest.mark.parametrize("options", [[], ["--api-url", API], ["--stripe-secret", "arn"]])
def test_half_a_stack_is_none(options: list[str], tmp_path: Path) -> None:
    missing = ["--stack-file", str(tmp_path / "stack.json")]
    assert CliRunner().invoke(app, ["webhooks", "check", *options, *missing]).exit_code == 2


# ---------------------------------------------------------------- the simulator


def test_a_secret_is_told_once(client: sdk.StripeClient) -> None:
    made = make(client, Scope.CONNECT, description="d", metadata={"a": "1"})
    assert made.secret
    assert made.secret.startswith("whsec_")
    assert made.application
    found = client.v1.webhook_endpoints.retrieve(made.id)
    assert "secret" not in found
    assert (found.url, found.status, found.description) == (URL, "enabled", "d")
    (listed,) = client.v1.webhook_endpoints.list().data
    assert listed.to_dict() == found.to_dict()
    changed = client.v1.webhook_endpoints.update(
        made.id, {"enabled_events": ["charge.updated"], "metadata": {"b": "2"}}
    )
    assert (changed.enabled_events, changed.metadata.to_dict()) == (
        ["charge.updated"],
        {"a": "1", "b": "2"},
    )
    assert client.v1.webhook_endpoints.delete(made.id).deleted
    assert client.v1.webhook_endpoints.list().data == []
    with pytest.raises(sdk.InvalidRequestError, match="No such webhook_endpoint"):
        client.v1.webhook_endpoints.retrieve(made.id)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"url": "api.example.com/webhooks"}, "Invalid URL"),
        ({"url": None}, "Missing required param: url"),
        ({"enabled_events": None}, "Missing required param: enabled_events"),
        ({"enabled_events": ["charge.exploded"]}, "Invalid enabled_events"),
        ({"api_version": "2026-13-01"}, "Invalid api_version"),
        ({"secret": "whsec_mine"}, "Received unknown parameter: secret"),
    ],
)
def test_what_stripe_would_refuse(
    client: sdk.StripeClient, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(sdk.InvalidRequestError, match=told):
        make(client, Scope.ACCOUNT, **changes)


def test_there_are_sixteen_at_most(client: sdk.StripeClient) -> None:
    for _ in range(16):
        make(client, Scope.ACCOUNT)
    with pytest.raises(sdk.InvalidRequestError, match="maximum of 16"):
        make(client, Scope.ACCOUNT)


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """An address, and what came to it: path, signature, body."""
    received: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Stripe-Signature"], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_an_endpoint_gets_what_it_hears_of(
    stripe: Simulator, client: sdk.StripeClient, inbox: tuple[str, list[tuple[str, str, bytes]]]
) -> None:
    address, received = inbox
    made = {
        scope: make(client, scope, url=f"{address}/{scope}", enabled_events=types)
        for scope, types in (
            (Scope.ACCOUNT, ["product.created"]),
            (Scope.CONNECT, ["account.updated"]),
        )
    }
    old = "2025-01-27.acacia"
    every = make(client, Scope.ACCOUNT, url=f"{address}/off", enabled_events=["*"], api_version=old)
    client.v1.webhook_endpoints.update(every.id, {"disabled": True})
    product = client.v1.products.create({"name": "p"})
    client.v1.prices.create({"currency": "mxn", "unit_amount": 1, "product": product.id})
    account = client.v1.accounts.create({"country": "MX", "type": "express"})
    client.v1.accounts.update(account.id, {"email": "a@example.com"})
    until(lambda: len(received) >= len(made))
    told = {}
    for path, signature, body in received:
        secret = made[Scope(path.removeprefix("/"))].secret
        event = sdk.Webhook.construct_event(body, signature, str(secret))
        assert event.api_version == sdk.api_version
        told[path, event.type] = json.loads(body).get("account")
    assert told == {
        ("/account", "product.created"): None,
        ("/connect", "account.updated"): account.id,
    }
    # Nobody hears of the price, which is no failure.
    events = stripe.get("/_control/events")["events"]
    states = {one["event"]["type"]: one["state"] for one in events}
    assert states["price.created"] == "not_configured"
