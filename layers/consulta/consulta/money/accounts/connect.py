"""Connected accounts at Stripe: create one for a payee, set it up, keep its state as Stripe has it.

Creating is one operation however often it is asked for: its id is on the payee before Stripe hears
of it (rules §6). Reading is by freshness, not by rank: our payee at a version, then Stripe, then
written only if the version is still that one, else both again (rules §1).
"""

import json
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from consulta.core import keys, table, trail
from consulta.core.errors import Conflict, Forbidden, NotFound
from consulta.core.http import check_version
from consulta.core.identity import Principal
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.keys import Tenant
from consulta.core.permissions import Role
from consulta.core.time import from_text, now, to_epoch, to_text
from consulta.money.accounts import lookup as account_lookup
from consulta.money.accounts import payees
from consulta.money.accounts.payees import Owner
from consulta.money.records import PayeeItem, Provider
from consulta.money.schema.connect import (
    AccountIn,
    AccountOut,
    AccountPatch,
    LinkIn,
    LinkOut,
    LoginLinkOut,
    PayoutSchedule,
)
from consulta.money.stripe import accounts as stripe_accounts
from consulta.money.stripe.accounts import ProviderAccount
from consulta.money.stripe.client import AccountUnreachable
from consulta.money.stripe.provider import is_direct

# Who bears losses and pays Stripe; the two kinds of charge follow from it (rules §3).
CONTROLLERS: dict[str, dict[str, Any]] = {
    "platform_losses": {
        "losses": {"payments": "application"},
        "fees": {"payer": "application"},
        "requirement_collection": "stripe",
        "stripe_dashboard": {"type": "express"},
    },
    "stripe_losses": {
        "losses": {"payments": "stripe"},
        "fees": {"payer": "account"},
        "requirement_collection": "stripe",
        "stripe_dashboard": {"type": "full"},
    },
}
# Where an account with the full dashboard signs in by itself.
STRIPE_DASHBOARD = "https://dashboard.stripe.com"
# A call that was sent longer ago than this is over: look for what it made, then a new key.
IN_FLIGHT = timedelta(seconds=60)
DEADLINE_S = 15.0
# Clocks differ; the lookup begins a little before we sent.
SKEW_S = 300

State = Literal["not_submitted", "restricted", "enabled"]


def state_of(payee: PayeeItem) -> State:
    """How far the account is: what account sessions and the dashboard go by."""
    if not payee.details_submitted:
        return "not_submitted"
    if payee.requirements_due or not (payee.charges_enabled and payee.payouts_enabled):
        return "restricted"
    return "enabled"


# ---------------------------------------------------------------- create


def create(by: Principal, body: AccountIn) -> tuple[AccountOut, bool]:
    """The payee's account, and whether this call connected it.

    Raises Conflict where it has, or is getting, one in another country or under another controller;
    ProviderFailed where Stripe does not answer: the same request then goes on with the operation.
    """
    tenant, payee_id = by.tenant, payees.resolve(by, body.payee)
    payee = payees.ensure(tenant, payee_id, by.actor)
    for _ in table.attempts(DEADLINE_S):
        wanted = {"country": body.country, "controller": body.controller}
        begun = payee.stripe_operation
        if begun and {name: begun[name] for name in wanted} != wanted:
            raise Conflict("The payee's account has another country or controller")
        if payee.stripe_account:
            return to_out(payee), False
        try:
            payee = _begin(payee, wanted, by.actor)
            account = _send(payee)
            _connect(payee, account, by.actor)
        except table.ConditionFailed:
            payee = payees.ensure(tenant, payee_id, by.actor)
            continue
        payees.update_readiness(tenant, payee_id, by.actor)
        return to_out(_connected(tenant, payee_id)), True
    raise AssertionError("attempts() ends with Busy")


def _begin(payee: PayeeItem, wanted: dict[str, str], by: Actor) -> PayeeItem:
    """Persist the operation before it is sent; a new attempt once the one before is over."""
    begun = payee.stripe_operation or {"id": new_id("op"), "attempt": 0, **wanted}
    if begun["attempt"] and now() - from_text(begun["sent_at"]) < IN_FLIGHT:
        return payee
    first = begun.get("first_sent_at") or to_text(now())
    operation = {
        **begun,
        "attempt": begun["attempt"] + 1,
        "sent_at": to_text(now()),
        "first_sent_at": first,
    }
    table.transact([table.change(payee, by, set_={"stripe_operation": json.dumps(operation)})])
    return _reread(payee)


def _send(payee: PayeeItem) -> ProviderAccount:
    operation = payee.stripe_operation
    if operation["attempt"] > 1:
        since = to_epoch(from_text(operation["first_sent_at"])) - SKEW_S
        found = stripe_accounts.find_account(operation["id"], since)
        if found:
            return found
    return stripe_accounts.create_account(
        f"{operation['id']}:{operation['attempt']}",
        operation["country"],
        CONTROLLERS[operation["controller"]],
        {
            "practice": payee.tenant.practice,
            "payee": payee.item_id,
            "op_id": operation["id"],
        },
    )


def _connect(payee: PayeeItem, account: ProviderAccount, by: Actor) -> None:
    is_direct(account.controller)  # refuses a controller that we cannot charge under
    owner = Owner(payee.tenant.practice, payee.item_id)
    digest, rows = account_lookup.remember(payee, account.id, account.email)
    values = {**_state_values(account), **digest, "stripe_account": account.id}
    table.transact(
        [
            table.change(payee, by, set_=values),
            payees.account_row(Provider.STRIPE, account.id, owner),
            *rows,
        ]
    )


def _state_values(account: ProviderAccount) -> dict[str, Any]:
    return {
        "controller": json.dumps(account.controller),
        "details_submitted": account.details_submitted,
        "charges_enabled": account.charges_enabled,
        "payouts_enabled": account.payouts_enabled,
        "requirements_due": account.requirements_due,
        "payout_schedule": json.dumps(account.payout_schedule),
        "read_at": to_text(now()),
    }


def _reread(payee: PayeeItem) -> PayeeItem:
    found = table.get(PayeeItem, payee.key)
    if found is None:
        raise NotFound
    return found


def _connected(tenant: Tenant, payee_id: str) -> PayeeItem:
    payee = payees.find(tenant, payee_id)
    if payee is None or not payee.stripe_account:
        raise NotFound("No account is connected for this payee")
    return payee


# ---------------------------------------------------------------- set up, read, change


def onboarding_link(by: Principal, payee: str, body: LinkIn) -> LinkOut:
    """Where the account's owner goes on with the set-up at Stripe; a fresh one each time."""
    found = _connected(by.tenant, payees.resolve(by, payee))
    url, expires_at = stripe_accounts.onboarding_link(
        str(found.stripe_account), body.refresh_url, body.return_url
    )
    return LinkOut(url=url, expires_at=expires_at)


def login_link(by: Principal, payee: str) -> LoginLinkOut:
    """Into the account's dashboard at Stripe; a fresh one each time, and nowhere kept.

    It shows all of the account and moves its money, so that it is for the practice's owner and for
    the expert who is its payee (rules §7). Raises Forbidden, NotFound, Conflict before the set-up
    is finished, Busy where the audit cannot be told.
    """
    payee_id = payees.resolve(by, payee)
    if by.role is not Role.OWNER and by.expert != payee_id:
        raise Forbidden("The account's dashboard is for its payee and for the practice's owner")
    found = _connected(by.tenant, payee_id)
    if not found.details_submitted:
        raise Conflict("The account has no dashboard until its set-up is finished")
    dashboard = (found.controller or {}).get("stripe_dashboard", {}).get("type")
    url = STRIPE_DASHBOARD
    if dashboard == "express":
        url = stripe_accounts.login_link(str(found.stripe_account))
    record_opening(by, found, "account_login")
    return LoginLinkOut(url=url)


def record_opening(by: Principal, payee: PayeeItem, kind: str, **facts: str) -> None:
    """Tell the audit who was let into an account. Raises Busy where it cannot be told."""
    trail.insist("This", kind, by.practice, by.actor, payee=payee.item_id, **facts)


def get(by: Principal, payee: str, *, refresh: bool) -> AccountOut:
    """The account's state as last read, or with ``refresh`` as Stripe has it now."""
    payee_id = payees.resolve(by, payee)
    if refresh:
        refresh_account(by.tenant.practice, payee_id, by.actor)
    return to_out(_connected(by.tenant, payee_id))


def change(by: Principal, payee: str, body: AccountPatch, if_match: str | None) -> AccountOut:
    """Settings of the account: owner and admin only, for they bind the practice, not the expert.

    When it pays out is for the owner and for the expert who is its payee (rules §7); that is kept
    by Stripe, and asked again with the same body it is the same operation. Raises Forbidden,
    NotFound, PreconditionFailed, Conflict, ProviderFailed.
    """
    values = body.model_dump(exclude_none=True, exclude={"payout_schedule"})
    schedule = body.payout_schedule
    if (values or not schedule) and by.role not in (Role.OWNER, Role.ADMIN):
        raise Forbidden("The account's settings are the practice's")
    payee_id = payees.resolve(by, payee)
    if schedule and by.role is not Role.OWNER and not by.expert == payee_id:
        raise Forbidden("When it pays out is for the payee and for the practice's owner")
    found = _connected(by.tenant, payee_id)
    check_version(if_match, found.version)
    if schedule:
        wanted = schedule.model_dump(exclude_none=True)
        values["schedule_operation"] = json.dumps(_scheduling(found, wanted))
    if values:
        try:
            table.transact([table.change(found, by.actor, set_=values)])
        except table.ConditionFailed:
            raise Conflict("It was changed at the same moment: read it and try again") from None
    if schedule:
        _send_schedule(_reread(found), by.actor)
    return to_out(_reread(found))


def _scheduling(payee: PayeeItem, wanted: dict[str, Any]) -> dict[str, Any]:
    """The operation to persist before it is sent (rules §6): the one under way, if it is this."""
    begun = payee.schedule_operation or {}
    if begun.get("schedule") != wanted:
        begun = {"id": new_id("op"), "attempt": 0, "schedule": wanted}
    elif now() - from_text(begun["sent_at"]) < IN_FLIGHT:
        return begun
    return {**begun, "attempt": begun["attempt"] + 1, "sent_at": to_text(now())}


def _send_schedule(payee: PayeeItem, by: Actor) -> None:
    """Send it, and keep what Stripe answers; its own event may have told us by then."""
    operation = payee.schedule_operation
    if operation is None:
        return
    key = f"{operation['id']}:{operation['attempt']}"
    account = str(payee.stripe_account)
    read = stripe_accounts.set_payout_schedule(key, account, operation["schedule"])
    for _ in table.attempts(DEADLINE_S):
        if payee.stripe_account != account or payee.schedule_operation != operation:
            return
        try:
            _keep(payee, read, by, ("schedule_operation",))
        except table.ConditionFailed:
            payee = _reread(payee)
            # Somebody wrote meanwhile: what Stripe said to us may be the older of the two.
            read = stripe_accounts.read_account(account)
            continue
        return


def refresh_account(practice: str, payee_id: str, by: Actor) -> None:
    """Read the account again and keep what it says; the ``account.updated`` webhook calls it.

    An account that is closed to us is disconnected. Raises NotFound where none is connected.
    """
    tenant = Tenant(practice)
    for _ in table.attempts(DEADLINE_S):
        payee = _connected(tenant, payee_id)
        try:
            account = stripe_accounts.read_account(str(payee.stripe_account))
        except AccountUnreachable:
            disconnect(practice, payee_id, str(payee.stripe_account), by)
            return
        try:
            _keep(payee, account, by)
        except table.ConditionFailed:
            continue
        break
    payees.update_readiness(tenant, payee_id, by)


def _keep(
    payee: PayeeItem, account: ProviderAccount, by: Actor, remove: tuple[str, ...] = ()
) -> None:
    """Write what was read of the account. Raises ConditionFailed where the payee has changed."""
    digest, rows = account_lookup.remember(payee, account.id, account.email)
    values = {**_state_values(account), **digest}
    table.transact([table.change(payee, by, set_=values, remove=remove), *rows])


def disconnect(practice: str, payee_id: str, account: str, by: Actor) -> None:
    """Forget an account whose owner has withdrawn (``account.application.deauthorized``).

    From the event alone: the account can no longer be read. Does nothing where the payee has
    another account by now.
    """
    tenant = Tenant(practice)
    for _ in table.attempts(DEADLINE_S):
        payee = payees.find(tenant, payee_id)
        if payee is None or payee.stripe_account != account:
            break
        off = ("details_submitted", "charges_enabled", "payouts_enabled", "requirements_due", "pix")
        gone = ["stripe_account", "stripe_operation", "controller"]
        gone += ["payout_schedule", "schedule_operation", "email_digest"]
        actions = [
            table.change(payee, by, set_=dict.fromkeys(off, False), remove=gone),
            table.delete(keys.provider_account(Provider.STRIPE, account)),
            *account_lookup.forget(payee, account),
        ]
        try:
            table.transact(actions)
        except table.ConditionFailed:
            continue
        break
    payees.update_readiness(tenant, payee_id, by)


def _shown_schedule(payee: PayeeItem) -> PayoutSchedule | None:
    """As last read; None for one that Stripe describes in another way than we do."""
    try:
        return PayoutSchedule.model_validate(payee.payout_schedule or {})
    except ValidationError:
        return None


def to_out(payee: PayeeItem) -> AccountOut:
    """The account as the API shows it."""
    read_at: datetime | None = payee.read_at
    return AccountOut(
        payee=payee.item_id,
        stripe_account=str(payee.stripe_account),
        state=state_of(payee),
        charge_type="direct" if is_direct(payee.controller) else "destination",
        details_submitted=payee.details_submitted,
        charges_enabled=payee.charges_enabled,
        payouts_enabled=payee.payouts_enabled,
        requirements_due=payee.requirements_due,
        on_behalf_of=payee.on_behalf_of,
        pix=payee.pix,
        refund_management=payee.refund_management,
        payout_schedule=_shown_schedule(payee),
        read_at=read_at,
        version=int(payee.version),
    )
