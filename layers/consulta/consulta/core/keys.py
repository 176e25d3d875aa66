"""Every key of every table, built here and nowhere else.

A hash key begins with the practice, so no tenant can reach another's item: a :class:`Tenant` is
made from the caller's principal (or from an item that was read by one) and is the only way to a
practice's keys. The exceptions hold no practice's data: a person's memberships (found before the
practice is known) and the due rows (a minute's work list of ids).
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from consulta.core.time import to_text

ITEM = "ITEM"
DUE_SHARDS = 8
CONTRIBUTION_SHARDS = 8


@dataclass(frozen=True, slots=True)
class Key:
    """Hash and range key of one item."""

    pk: str
    sk: str = ITEM


def _part(value: str) -> str:
    """One part of a key. A separator inside it would let a caller reach another key."""
    if not value or "#" in value:
        raise ValueError("a key's part is empty or holds a separator")
    return value


def _digest(value: str) -> str:
    """Short and one-way: keys are seen in metrics and traces, people's addresses must not be."""
    return hashlib.sha256(value.encode()).hexdigest()[:32]


def shard(value: str, shards: int) -> int:
    """A stable shard of ``value``, the same in every process."""
    return int.from_bytes(hashlib.sha256(value.encode()).digest()[:4], "big") % shards


@dataclass(frozen=True, slots=True)
class Tenant:
    """The keys of one practice."""

    practice: str

    def __post_init__(self) -> None:
        _part(self.practice)

    @property
    def prefix(self) -> str:
        """What every hash key of this practice begins with."""
        return f"P#{self.practice}#"

    # the core table

    def item(self, entity: str, item_id: str) -> Key:
        """The item itself; its sub-items share the hash key."""
        return Key(f"{self.prefix}{entity}#{_part(item_id)}")

    def sub(self, entity: str, item_id: str, kind: str, sub_id: str = "") -> Key:
        """An item under another: ``kind`` alone, or several by ``sub_id``."""
        return Key(self.item(entity, item_id).pk, f"{kind}#{_part(sub_id)}" if sub_id else kind)

    def unique(self, what: str, value: str) -> Key:
        """The lookup item that makes ``value`` unique in the practice (email, external id)."""
        return Key(f"{self.prefix}UNIQUE#{what}#{_digest(value)}")

    def idempotency(self, principal: str, key: str) -> Key:
        """The row that remembers one Idempotency-Key of one caller."""
        return Key(f"{self.prefix}IDEM#{_part(principal)}#{_digest(key)}")

    def calendar(self, kind: str, owner: str, day: date) -> Key:
        """The busy intervals of an expert, patient or room (``kind``) on one UTC day."""
        return Key(f"{self.prefix}CALENDAR#{kind}#{_part(owner)}", day.isoformat())

    def external(self, expert: str, day: date) -> Key:
        """What an expert's own calendar elsewhere has on one UTC day, beside that day's row."""
        return Key(self.calendar("EXPERT", expert, day).pk, f"{day.isoformat()}#EXTERNAL")

    def holds(self, patient: str) -> Key:
        """A patient's open holds, which are limited."""
        return Key(f"{self.prefix}HOLDS#{_part(patient)}")

    # the core table's lists: one dimension, then time

    def listing(self, entity: str) -> str:
        """All of an entity, by the list's own order."""
        return f"{self.prefix}{entity}"

    def listing_by(self, entity: str, dimension: str, value: str) -> str:
        """An entity's items of one month, expert or patient."""
        return f"{self.prefix}{entity}#{dimension}#{_part(value)}"

    # the aggregates table

    def figures(self, subject: str, subject_id: str, period: str) -> Key:
        """An aggregate of a subject: docs/figures.md lists them.

        ``period`` is ``TOTAL``, ``M#yyyy-mm`` or ``D#yyyy-mm-dd``, and of one of many ``…#<id>``.
        """
        return Key(f"{self.prefix}FIGURES#{subject}#{_part(subject_id)}", period)

    def pair(self, name: str, left: str, right: str) -> Key:
        """How many live items join two things, for distinct counts."""
        return Key(f"{self.prefix}PAIR#{name}#{_part(left)}", _part(right))

    def visits(self, patient: str) -> Key:
        """In which months a patient came, for the retention of patients."""
        return Key(f"{self.prefix}VISITS#{_part(patient)}")

    def walk(self, segment: str) -> Key:
        """How far a segment of the practice's walk through its items has come."""
        return Key(f"{self.prefix}WALK", segment)

    # the audit table, and the keys that its personal fields are encrypted with (core table)

    def audit_of(self, item: Key) -> str:
        """The partition of an item's audit rows."""
        part = "" if item.sk == ITEM else f"#{item.sk}"
        return f"{self.prefix}AUDIT#{item.pk.removeprefix(self.prefix)}{part}"

    def audit_month(self, month: str) -> str:
        """The audit's list of one UTC month, ``yyyy-mm``."""
        return f"{self.prefix}AUDIT#MONTH#{_part(month)}"

    def audit_actor(self, actor: str, month: str) -> str:
        """The audit's list of what one actor did in one UTC month."""
        return f"{self.prefix}AUDIT#BY#{_part(actor.replace('#', ' '))}#{_part(month)}"

    def person_key(self, subject: str) -> Key:
        """The key of one person's fields in the audit; erasure destroys it."""
        return Key(f"{self.prefix}PERSON_KEY#{_part(subject.replace('#', ' '))}")

    def contribution(self, item_pk: str) -> Key:
        """What one item has contributed to the figures."""
        return Key(contribution_partition(self, shard(item_pk, CONTRIBUTION_SHARDS)), item_pk)

    # the connections table

    def connections(self) -> str:
        """The partition of the practice's open WebSocket connections."""
        return f"{self.prefix}CONNECTIONS"

    def connection(self, kind: str, subject_id: str, connection_id: str) -> Key:
        """One of them, by what its dashboard is of: a PRACTICE, EXPERT or PATIENT."""
        return Key(self.connections(), f"{kind}#{_part(subject_id)}#{_part(connection_id)}")

    def listening(self) -> Key:
        """Until when somebody of the practice may be connected."""
        return Key(f"{self.prefix}LISTENING")

    def view_secret(self, day: date) -> Key:
        """What the visitors of a local day are told apart by: in this table, which has no backups.

        The rows of who was counted are in the counters, which have some.
        """
        return Key(f"{self.prefix}VIEW_SECRET#{day.isoformat()}")

    # the counters table

    def usage(self, month: str) -> str:
        """All requests counted for the practice in a UTC month ``yyyy-mm``."""
        return f"{self.prefix}USAGE#{month}"

    def usage_row(self, principal: str, at: datetime) -> Key:
        """One hour of one principal's requests (``person:…`` or ``key:…``), in order of time."""
        text = to_text(at)
        return Key(self.usage(text[:7]), f"{text[8:13]}#{_part(principal)}")

    def used_by(self, principal: str) -> str:
        """The hours in which one principal was here, in the counters' own list."""
        return f"{self.prefix}USED_BY#{_part(principal)}"

    def viewed(self, expert: str, day: date, visitor_digest: str) -> Key:
        """That a visitor has seen an expert's profile on a local day of the practice."""
        part = f"{_part(expert)}#{day.isoformat()}#{_part(visitor_digest)}"
        return Key(f"{self.prefix}VIEWED#{part}")


def contribution_partition(tenant: Tenant, number: int) -> str:
    """One of a practice's partitions of contribution rows."""
    return f"{tenant.prefix}CONTRIBUTION#{number}"


def tenant_of(pk: str) -> Tenant:
    """The practice that a hash key belongs to. Raises ValueError where it belongs to none."""
    kind, practice, _ = pk.split("#", 2)
    if kind != "P":
        raise ValueError("not a practice's key")
    return Tenant(practice)


def parse_item(pk: str) -> tuple[str, str]:
    """Entity and id of an item's hash key."""
    _, _, entity, item_id = pk.split("#", 3)
    return entity, item_id


def caller_row(principal: str, at: datetime) -> Key:
    """One hour of a caller in no practice: an operator, or somebody who has not chosen one."""
    return Key(f"CALLER#{_part(principal)}", to_text(at)[:13])


def stranger_row(address: str, at: datetime) -> Key:
    """One hour of an address from which nobody is signed in."""
    return Key(f"ANON#{_digest(address)}", to_text(at)[:13])


def person(person_id: str) -> str:
    """The partition of one person: profile and memberships."""
    return f"PERSON#{_part(person_id)}"


def membership(person_id: str, practice: str) -> Key:
    """One membership of a person."""
    return Key(person(person_id), f"MEMBER#{_part(practice)}")


def session(person_id: str, session_id: str) -> Key:
    """One session of a person: a refresh token and all that came of it by rotation."""
    return Key(person(person_id), f"SESSION#{_part(session_id)}")


def api_key(key_id: str) -> Key:
    """An API key as the authorizer finds it, before the practice is known."""
    return Key(f"API_KEY#{_part(key_id)}")


def invitation(token_digest: str) -> Key:
    """Which practice's invitation a mailed token belongs to."""
    return Key(f"INVITATION#{_part(token_digest)}")


def email_domain(domain: str) -> Key:
    """Which practice's identity provider signs in an email domain."""
    return Key(f"DOMAIN#{_digest(domain)}")


def sso_state(state_digest: str) -> Key:
    """A sign-in by an identity provider that was begun: ten minutes, once."""
    return Key(f"SSO_STATE#{_part(state_digest)}")


def feed(token_digest: str) -> Key:
    """Whose calendar feed an unguessable address belongs to."""
    return Key(f"FEED#{_part(token_digest)}")


def calendar_state(state_digest: str) -> Key:
    """A consent to a calendar elsewhere that was begun: ten minutes, once."""
    return Key(f"CALENDAR_STATE#{_part(state_digest)}")


def calendar_connections() -> str:
    """The list of all practices' calendars elsewhere, by when each has to be looked at again."""
    return "CALENDAR_CONNECTIONS"


def calendar_channel(channel_id: str) -> Key:
    """Whose calendar a push channel tells about."""
    return Key(f"CALENDAR_CHANNEL#{_part(channel_id)}")


def due(at: datetime, item_pk: str, what: str) -> Key:
    """The row that brings an item back at a time: one minute, one of eight shards."""
    return Key(due_partition(at, shard(item_pk, DUE_SHARDS)), f"{item_pk}#{what}")


def due_partition(at: datetime, number: int) -> str:
    """What is due in the minute of ``at``, in shard ``number``."""
    return f"DUE#{to_text(at)[:16]}#{number}"


def inbox(provider: str, account: str, event_id: str) -> Key:
    """A provider's event as it was received, before anybody knows whose it is."""
    return Key(f"INBOX#{_part(provider)}#{_part(account)}#{_part(event_id)}")


def inbox_month(at: datetime) -> str:
    """The list of all providers' events that were received in a UTC month, for operators."""
    return f"INBOX#{to_text(at)[:7]}"


def provider_account(provider: str, account: str) -> Key:
    """Which practice and payee a provider's account belongs to."""
    return Key(f"ACCOUNT#{_part(provider)}#{_part(account)}")


def provider_accounts() -> str:
    """The list of all accounts at the payment providers, those of one practice together."""
    return "PROVIDER_ACCOUNTS"


def account_email(email_digest: str, account: str) -> Key:
    """Whose connected account goes by an email, found by the email's digest."""
    return Key(f"ACCOUNT_EMAIL#{_part(email_digest)}", _part(account))


def plan_rates(plan_id: str) -> Key:
    """The rate table of one of the platform's plans: for all practices on it, and of none."""
    return Tenant("PLATFORM").sub("PLAN", plan_id, "RATES")


def ticket(ticket_digest: str) -> Key:
    """Who may open a WebSocket connection: a minute, once."""
    return Key(f"TICKET#{_part(ticket_digest)}")


def connection(connection_id: str) -> Key:
    """Whose an open WebSocket connection is, for the gateway, which knows it by its id alone."""
    return Key(f"CONNECTION#{_part(connection_id)}")


def download(token_digest: str) -> Key:
    """A link to one file, found by the hash of its token."""
    return Key(f"DOWNLOAD#{_part(token_digest)}")


def watermark(name: str) -> Key:
    """How far a sweep has come."""
    return Key(f"WATERMARK#{_part(name)}")


def all_practices() -> str:
    """The list partition of every practice, for operators and walks."""
    return "PRACTICES"
