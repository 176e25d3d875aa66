"""Connected accounts at Stripe: create, onboard, read, and sessions for embedded components."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from consulta.core.time import from_epoch
from consulta.money.stripe.client import client, translated

PAGE = 100
CAPABILITIES = ("card_payments", "transfers")


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """A connected account as Stripe has it now. ``controller`` decides the kind of charge."""

    id: str
    controller: dict[str, Any]
    details_submitted: bool
    charges_enabled: bool
    payouts_enabled: bool
    requirements_due: bool
    payout_schedule: dict[str, Any] = field(default_factory=dict)
    email: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AccountSession:
    """Opens the embedded components of one account, once. Never stored, never logged."""

    client_secret: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"AccountSession(expires_at={self.expires_at!r})"


def create_account(
    key: str, country: str, controller: dict[str, Any], metadata: dict[str, str]
) -> ProviderAccount:
    """A new account under ``controller``. ``country`` is ISO 3166-1 alpha-2."""
    params = {
        "country": country,
        "controller": controller,
        "capabilities": {name: {"requested": True} for name in CAPABILITIES},
        "metadata": metadata,
    }
    with translated("accounts.create"):
        created = client().v1.accounts.create(params, {"idempotency_key": key})
    return _account(created.to_dict())


def read_account(account: str) -> ProviderAccount:
    """The account as it is now. Raises AccountUnreachable where its owner disconnected us."""
    with translated("accounts.retrieve"):
        return _account(client().v1.accounts.retrieve(account).to_dict())


def set_payout_schedule(key: str, account: str, schedule: dict[str, Any]) -> ProviderAccount:
    """Change how often it is paid out; the account as it is then."""
    params = {"settings": {"payouts": {"schedule": schedule}}}
    with translated("accounts.update"):
        changed = client().v1.accounts.update(account, params, {"idempotency_key": key})
    return _account(changed.to_dict())


def find_account(op_id: str, since: int) -> ProviderAccount | None:
    """The account that an operation made since an epoch second, if it did (rules §6)."""
    with translated("accounts.list"):
        listed = client().v1.accounts.list({"created": {"gte": since}, "limit": PAGE})
        for account in listed.auto_paging_iter():
            raw = account.to_dict()
            if (raw.get("metadata") or {}).get("op_id") == op_id:
                return _account(raw)
    return None


def onboarding_link(account: str, refresh_url: str, return_url: str) -> tuple[str, datetime]:
    """Where the account's owner goes on with the set-up, and until when; good once."""
    params = {
        "account": account,
        "type": "account_onboarding",
        "refresh_url": refresh_url,
        "return_url": return_url,
    }
    with translated("account_links.create"):
        link = client().v1.account_links.create(params)
    return link.url, from_epoch(link.expires_at)


def login_link(account: str) -> str:
    """Into an account's Express dashboard; good once."""
    with translated("accounts.login_links.create"):
        return str(client().v1.accounts.login_links.create(account).url)


def create_session(account: str, components: dict[str, Any]) -> AccountSession:
    """A session for these components of one account."""
    with translated("account_sessions.create"):
        session = client().v1.account_sessions.create(
            {"account": account, "components": components}
        )
    return AccountSession(session.client_secret, from_epoch(session.expires_at))


def _account(raw: dict[str, Any]) -> ProviderAccount:
    requirements = raw.get("requirements") or {}
    due = ("currently_due", "past_due", "disabled_reason")
    controller = raw.get("controller") or {}
    kept = ("fees", "losses", "requirement_collection", "stripe_dashboard")
    return ProviderAccount(
        id=raw["id"],
        controller={name: controller[name] for name in kept if name in controller},
        details_submitted=bool(raw.get("details_submitted")),
        charges_enabled=bool(raw.get("charges_enabled")),
        payouts_enabled=bool(raw.get("payouts_enabled")),
        requirements_due=any(requirements.get(name) for name in due),
        payout_schedule=_schedule(raw.get("settings") or {}),
        email=raw.get("email") or "",
    )


def _schedule(given: dict[str, Any]) -> dict[str, Any]:
    """What of the schedule we know of; empty where Stripe says nothing."""
    found = (given.get("payouts") or {}).get("schedule") or {}
    kept = ("interval", "weekly_anchor", "monthly_anchor")
    return {name: found[name] for name in kept if found.get(name) is not None}
