"""Single sign-on of a practice: its identity providers and the email domains they speak for.

Our row comes first and goes last, so that what the user pool has is always found by it:

- creating: row and domains (``creating``), then provider and app client in the user pool, then the
  row is ``ready``. A crash in between leaves a row that nobody signs in by; the same request with
  its Idempotency-Key goes on where it stopped, and DELETE cleans up.
- removing: the row is ``deleting`` and its domains are free, from when on nobody signs in by it;
  then app client and provider go, then the row. A repeated DELETE goes on.

A domain signs in nobody before an operator has verified that it is the practice's.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pynamodb.attributes import BooleanAttribute, JSONAttribute, ListAttribute, UnicodeAttribute

from consulta.core import ids, keys, table
from consulta.core.cursor import decode, encode
from consulta.core.errors import Conflict, FieldError, Invalid, NotFound, Problem
from consulta.core.http import check_version
from consulta.core.idempotency import LABEL, Idempotent
from consulta.core.identity import Principal
from consulta.core.item import ListedItem
from consulta.core.keys import Tenant
from consulta.core.time import from_text, now, to_epoch, to_text
from consulta.people import sso_cognito, writes
from consulta.people.schema.sso import (
    SsoDomain,
    SsoIn,
    SsoOut,
    SsoPage,
    SsoPatch,
    VerifyIn,
)

SSO, EMAIL_DOMAIN = "SSO", "EMAIL_DOMAIN"
CREATING, READY, DELETING = "creating", "ready", "deleting"
# The user pool has room for 300: no practice takes them all.
MAX_PROVIDERS = 5
# A domain that was claimed but never verified does not keep its owner out for longer.
CLAIM_LIFETIME = timedelta(days=7)
_COUNT, _DOMAIN = "SSO_COUNT", "domain "


class SsoItem(ListedItem):
    """An identity provider. Its secret is the user pool's alone.

    ``client_id`` is our app client for it, ``idp_client_id`` the one that we are there.
    ``verified`` has for each verified domain when that was; the domain's own row says so too.
    """

    kind = UnicodeAttribute()
    name = UnicodeAttribute()
    state = UnicodeAttribute(default=CREATING)
    enabled = BooleanAttribute(default=True)
    domains: ListAttribute[Any] = ListAttribute(default=list)
    verified = JSONAttribute(default=dict)
    issuer = UnicodeAttribute(null=True)
    idp_client_id = UnicodeAttribute(null=True)
    metadata_url = UnicodeAttribute(null=True)
    callback_url = UnicodeAttribute()
    client_id = UnicodeAttribute(default="")


def create(by: Principal, body: SsoIn, key: str | None, callback_url: str) -> SsoOut:
    """A new identity provider whose domains wait for verification.

    ``callback_url`` is where the user pool sends browsers back to. Raises Conflict for a domain
    that another provider has and for a provider too many, Invalid for settings that the user pool
    cannot work with: nothing is left of the request then.
    """
    tenant = by.tenant
    once = Idempotent.of(tenant, by.person, key, body)
    if once.result:
        return _finish(by, once, once.result, body, again=True)
    sso_id, stamp = ids.new_id("sso"), to_text(now())
    item = SsoItem.create(
        tenant.item(SSO, sso_id),
        SSO,
        by.actor,
        kind=body.kind,
        name=body.name,
        domains=body.domains,
        verified={},
        issuer=body.issuer,
        idp_client_id=body.client_id,
        metadata_url=body.metadata_url,
        callback_url=callback_url,
        l1pk=tenant.listing(SSO),
        l1sk=f"{stamp}#{sso_id}",
        walkpk=tenant.listing(SSO),
        walksk=sso_id,
    )
    claims = [_claim(tenant, sso_id, domain) for domain in body.domains]
    try:
        table.transact([table.put_new(item), _one_more(tenant), *claims, *once.actions(sso_id)])
    except table.ConditionFailed as failed:
        if LABEL not in failed.labels:
            raise _refusal(tenant, failed, body.domains) from None
        return _finish(by, once, once.again().result, body, again=True)
    return _finish(by, once, sso_id, body, again=False)


def _finish(by: Principal, once: Idempotent, sso_id: str, body: SsoIn, *, again: bool) -> SsoOut:
    """Everything after the row was written; any number of times."""
    tenant = by.tenant
    item = of(tenant, sso_id)
    if item.state != CREATING:
        return to_out(item)
    try:
        client_id = sso_cognito.connect(sso_id, body, item.callback_url, again=again)
    except sso_cognito.SettingsRefused:
        _undo(item, once)
        path = "body.issuer" if body.kind == "oidc" else "body.metadata_url"
        if body.metadata_xml:
            path = "body.metadata_xml"
        raise Invalid.of(
            path, "The identity provider does not answer as its kind should", "refused"
        ) from None
    try:
        table.transact(
            [table.change(item, by.actor, set_={"state": READY, "client_id": client_id})]
        )
    except table.ConditionFailed:
        _give_way(tenant, sso_id, client_id)
    return to_out(of(tenant, sso_id))


def _give_way(tenant: Tenant, sso_id: str, client_id: str) -> None:
    """Somebody finished or removed it while we were at the user pool: ours is one too many."""
    item = table.get(SsoItem, tenant.item(SSO, sso_id))
    if item is None or item.state == DELETING:
        sso_cognito.disconnect(sso_id)
    elif item.client_id != client_id:
        sso_cognito.delete_client(client_id)


def _undo(item: SsoItem, once: Idempotent) -> None:
    """Forget a provider that the user pool refused, its idempotency row too."""
    forgotten = [table.delete(once.row)] if once.row else []
    try:
        table.transact(
            [
                *_gone(item, "client_id = :none", none=""),
                *_releases(item, item.domains),
                *forgotten,
            ]
        )
    except table.ConditionFailed:
        # Somebody else finished it with settings that were better, or removed it.
        return


def listing(by: Principal, limit: int, cursor: str | None) -> SsoPage:
    """The practice's identity providers, the oldest first."""
    tenant = by.tenant
    scope = (tenant.practice, "/v1/sso")
    page = table.Query(tenant.listing(SSO), index="l1").page(limit, decode(cursor, *scope))
    return SsoPage(
        items=[to_out(SsoItem.read(raw)) for raw in page.items],
        next_cursor=encode(page.last_key, *scope),
    )


def of(tenant: Tenant, sso_id: str) -> SsoItem:
    """A tenant's provider. Raises NotFound."""
    item = table.get(SsoItem, tenant.item(SSO, sso_id))
    if item is None:
        raise NotFound
    return item


def get(by: Principal, sso_id: str) -> SsoOut:
    """One provider. Raises NotFound."""
    return to_out(of(by.tenant, sso_id))


def change(by: Principal, sso_id: str, body: SsoPatch, if_match: str | None) -> SsoOut:
    """Change name, domains and whether it is open for sign-ins.

    A domain that stays keeps its verification, a new one waits for its own. Sessions go on: who
    must be out at once is deactivated as a member. Raises NotFound, PreconditionFailed, Conflict.
    """
    item = of(by.tenant, sso_id)
    check_version(if_match, item.version)
    if item.state != READY:
        raise Conflict(f"The provider is {item.state}")
    values: dict[str, Any] = body.model_dump(exclude_none=True)
    if not values:
        return to_out(item)
    wanted = body.domains if body.domains is not None else item.domains
    values["verified"] = SsoItem.verified.serialize(
        {domain: at for domain, at in item.verified.items() if domain in wanted}
    )
    claims = [_claim(by.tenant, sso_id, d) for d in wanted if d not in item.domains]
    dropped = [domain for domain in item.domains if domain not in wanted]
    try:
        table.transact(
            [table.change(item, by.actor, set_=values), *claims, *_releases(item, dropped)]
        )
    except table.ConditionFailed as failed:
        if SSO in failed.labels:
            raise writes.lost_race(if_match) from None
        raise _refusal(by.tenant, failed, wanted) from None
    return get(by, sso_id)


def verify(by: Principal, sso_id: str, body: VerifyIn) -> SsoOut:
    """An operator has seen that the named domains are the practice's; again changes nothing.

    Raises NotFound, Invalid for a domain that is not the provider's, Conflict where its claim has
    run out and another provider has it.
    """
    tenant = Tenant(body.practice_id)
    item = of(tenant, sso_id)
    for number, domain in enumerate(body.domains):
        if domain not in item.domains:
            raise Invalid.of(
                f"body.domains.{number}", "The provider does not have this domain", "unknown"
            )
    at = to_text(now())
    verified = {**dict.fromkeys(body.domains, at), **item.verified}
    if item.state == DELETING or verified == item.verified:
        return to_out(item)
    marks = [
        table.update(
            keys.email_domain(domain),
            set_={"verified_at": at},
            condition="provider = :provider",
            values={":provider": sso_id},
            label=_DOMAIN + domain,
        )
        for domain in body.domains
        if domain not in item.verified
    ]
    renewed = {"verified": SsoItem.verified.serialize(verified)}
    try:
        table.transact([table.change(item, by.actor, set_=renewed), *marks])
    except table.ConditionFailed as failed:
        if SSO in failed.labels:
            raise writes.lost_race(None) from None
        raise _refusal(tenant, failed, body.domains) from None
    return to_out(of(tenant, sso_id))


def remove(by: Principal, sso_id: str) -> None:
    """Remove a provider: sign-ins end at once, its sessions with their next refresh.

    Raises NotFound, Conflict where somebody else changed it at the same time.
    """
    tenant = by.tenant
    item = of(tenant, sso_id)
    if item.state != DELETING:
        marked = table.change(item, by.actor, set_={"state": DELETING, "enabled": False})
        try:
            table.transact([marked, *_releases(item, item.domains)])
        except table.ConditionFailed:
            raise writes.lost_race(None) from None
    sso_cognito.disconnect(sso_id)
    try:
        # Once it is being deleted it stays so: the first who comes here removes the row.
        table.transact(_gone(item, "attribute_exists(pk)"))
    except table.ConditionFailed:
        # Removed by somebody else meanwhile.
        return


def to_out(item: SsoItem) -> SsoOut:
    """A provider as the API shows it."""
    return SsoOut(
        id=item.item_id,
        kind=item.kind,
        name=item.name,
        state=("active" if item.verified else "pending") if item.state == READY else item.state,
        enabled=item.enabled,
        domains=[
            SsoDomain(
                domain=domain,
                verified_at=from_text(item.verified[domain]) if domain in item.verified else None,
            )
            for domain in item.domains
        ],
        issuer=item.issuer,
        client_id=item.idp_client_id,
        metadata_url=item.metadata_url,
        created_at=item.created_at,
        version=int(item.version),
    )


# parts of transactions


def _claim(tenant: Tenant, sso_id: str, domain: str) -> table.Action:
    """Make a domain this provider's, unless it is another's: verified, or claimed lately."""
    instant = now()
    return table.update(
        keys.email_domain(domain),
        set_={
            "entity": EMAIL_DOMAIN,
            "practice": tenant.practice,
            "provider": sso_id,
            "claimed_at": to_epoch(instant),
        },
        condition="attribute_not_exists(pk)"
        " OR (attribute_not_exists(verified_at) AND claimed_at < :lapsed)",
        values={":lapsed": to_epoch(instant - CLAIM_LIFETIME)},
        label=_DOMAIN + domain,
    )


def _releases(item: SsoItem, domains: Iterable[str]) -> list[table.Action]:
    """Give domains up, of which another provider may have got some after their claim ran out."""
    rows = table.batch_get_raw([keys.email_domain(domain) for domain in domains])
    return [
        table.delete(
            key,
            condition="provider = :provider",
            values={":provider": item.item_id},
            label="release",
        )
        for key, raw in rows.items()
        if table.from_raw(raw)["provider"] == item.item_id
    ]


def _count_row(tenant: Tenant) -> keys.Key:
    return tenant.sub("PRACTICE", tenant.practice, SSO)


def _one_more(tenant: Tenant) -> table.Action:
    return table.update(
        _count_row(tenant),
        set_={"entity": _COUNT},
        add={"providers": 1},
        condition="attribute_not_exists(providers) OR providers < :most",
        values={":most": MAX_PROVIDERS},
        label=_COUNT,
    )


def _gone(item: SsoItem, condition: str, **values: str) -> list[table.Action]:
    return [
        table.delete(
            item.key,
            condition=condition,
            values={f":{name}": value for name, value in values.items()},
            label=SSO,
        ),
        table.update(_count_row(item.tenant), add={"providers": -1}, label=_COUNT),
    ]


def _refusal(tenant: Tenant, failed: table.ConditionFailed, domains: list[str]) -> Problem:
    if failed.label == _COUNT:
        return Conflict(f"A practice has at most {MAX_PROVIDERS} identity providers")
    domain = failed.label.removeprefix(_DOMAIN)
    if domain not in domains:
        return writes.lost_race(None)
    message = "Another identity provider has this domain: the platform's operators can help"
    row = table.from_raw(failed.old) if failed.old else {}
    own = row.get("practice") == tenant.practice
    return Conflict(
        message,
        errors=(FieldError(f"body.domains.{domains.index(domain)}", message, "duplicate"),),
        # Whose it is, only within the practice.
        extra={"existing_id": row["provider"] if own else None},
    )
