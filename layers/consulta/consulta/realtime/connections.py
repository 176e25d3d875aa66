"""Who is connected: the rows of the connections table.

    pk P#<practice>#CONNECTIONS  sk EXPERT#<expert>#<connection>   a connection, by its dashboard
    pk CONNECTION#<connection>   sk ITEM                           the same, for the gateway's id
    pk P#<practice>#LISTENING    sk ITEM                           until when there may be any
    pk TICKET#<sha256>           sk ITEM                           who may connect (tickets.py)

A connection names the person and session that it was opened by, and whose dashboard it is for. The
row of whoever may be connected is one read for the stream: a practice without it costs nothing
more. It is renewed when a connection could outlive it, so a morning's first connection writes it
and the next do not.

The table's TTL tidies. API Gateway ends a connection after two hours in any case ("Amazon API
Gateway quotas", WebSocket APIs).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from typing import Self

from consulta.core import aws, keys, settings, table
from consulta.core.keys import Key, Tenant
from consulta.core.observe import count, logger
from consulta.core.time import now, to_epoch

MAX_LIFETIME = timedelta(hours=2)
# A row outlives its connection, never the other way round.
KEPT = MAX_LIFETIME + timedelta(minutes=10)
# A message that comes between our answer to $connect and the gateway's own is refused as gone too.
SETTLING_S = 30
MAX_CONNECTIONS_READ = 500
# Of one person in one practice: tabs and devices, and no reason to post hundreds of messages.
MAX_OF_ONE = 20
# Of what the stream's reader asks and tells: nobody waits for it, and the stream must not.
TIMEOUT_S, RETRIES = 1.0, 1


class ConnectionSettings(settings.Settings):
    """Where the connections are."""

    connections_table: str


def connections_table() -> str:
    """The connections table's name."""
    name: str = settings.load(ConnectionSettings).connections_table
    return name


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a connection is for: whose dashboard, and by which session.

    ``kind`` and ``subject_id`` are what the dashboard is of: the PRACTICE, an EXPERT, a PATIENT.
    """

    practice: str
    person: str
    session: str
    kind: str
    subject_id: str

    @property
    def tenant(self) -> Tenant:
        """The practice's keys."""
        return Tenant(self.practice)

    @property
    def subject(self) -> str:
        """What the dashboard is of, as messages name it."""
        return f"{self.kind}#{self.subject_id}"

    @classmethod
    def read(cls, raw: table.Raw) -> Self:
        """Out of a row that has these attributes."""
        values = table.from_raw(raw)
        return cls(**{name: values[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Connection:
    """An open connection; ``since`` and ``expires_at`` in epoch seconds."""

    id: str
    holder: Holder
    since: int
    expires_at: int

    @property
    def key(self) -> Key:
        """Its row among the practice's."""
        holder = self.holder
        return holder.tenant.connection(holder.kind, holder.subject_id, self.id)

    @property
    def settled(self) -> bool:
        """Whether the gateway has long known it: then what it calls gone is gone."""
        return to_epoch(now()) >= self.since + SETTLING_S

    @classmethod
    def read(cls, raw: table.Raw) -> Self:
        """The row of DynamoDB's attribute map."""
        return cls(
            raw["connection"]["S"],
            Holder.read(raw),
            int(raw["since"]["N"]),
            int(raw["expires_at"]["N"]),
        )


def opening(holder: Holder, connection_id: str) -> list[table.Action]:
    """What a new connection writes, to be done in one transaction with its ticket's end."""
    instant, name = now(), connections_table()
    expires_at = to_epoch(instant + KEPT)
    connection = Connection(connection_id, holder, to_epoch(instant), expires_at)
    values = {"connection": connection_id, "since": connection.since, "expires_at": expires_at}
    by_id = {"practice": holder.practice, "range": connection.key.sk, "expires_at": expires_at}
    actions = [
        table.put_values(connection.key, {**asdict(holder), **values}, table=name),
        table.put_values(keys.connection(connection_id), by_id, table=name),
    ]
    marker = holder.tenant.listening()
    raw = table.get_raw(marker, table=name)
    if raw is None or int(raw["expires_at"]["N"]) < expires_at:
        until = to_epoch(instant + 2 * KEPT)
        actions.append(table.update(marker, set_={"expires_at": until}, table=name))
    return actions


def listening(tenants: Sequence[Tenant]) -> list[Tenant]:
    """The practices in which somebody may be connected, by one consistent read per hundred.

    Consistent, so that whoever connects and then reads misses no later change. What the table is
    too busy to answer is not asked for again, but counted. Raises ClientError, BotoCoreError.
    """
    name, at = connections_table(), to_epoch(now())
    found: set[str] = set()
    for start in range(0, len(tenants), table.BATCH_GET_MAX):
        batch = tenants[start : start + table.BATCH_GET_MAX]
        wanted = [table.raw_key(tenant.listening()) for tenant in batch]
        answer = aws.client("dynamodb", TIMEOUT_S, RETRIES).batch_get_item(
            RequestItems={name: {"Keys": wanted, "ConsistentRead": True}}
        )
        rows = answer["Responses"].get(name, ())
        found |= {row["pk"]["S"] for row in rows if int(row["expires_at"]["N"]) > at}
        unanswered = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", ())
        if unanswered:
            logger.warning("it is not known whether anybody listens")
            count("DashboardsUntold", len(unanswered))
    return [tenant for tenant in tenants if tenant.listening().pk in found]


def is_full(holder: Holder) -> bool:
    """Whether this person has as many connections as anybody may have.

    Roughly: several that are opened at the same moment do not see each other.
    """
    query = table.Query(
        holder.tenant.connections(),
        begins=f"{holder.subject}#",
        where="person = :person AND expires_at > :at",
        values={":person": holder.person, ":at": to_epoch(now())},
        table=connections_table(),
    )
    return len(list(islice(query.all(MAX_CONNECTIONS_READ), MAX_OF_ONE))) >= MAX_OF_ONE


def of_practice(tenant: Tenant) -> Iterator[Connection]:
    """Every connection of a practice that may still be open."""
    query = table.Query(tenant.connections(), table=connections_table())
    at = to_epoch(now())
    for raw in query.all(MAX_CONNECTIONS_READ):
        connection = Connection.read(raw)
        # TTL tidies days late.
        if connection.expires_at > at:
            yield connection


def forget(connection: Connection) -> None:
    """Remove what is known of a connection."""
    _remove(connection.key, connection.id)


def close(connection_id: str) -> None:
    """Remove what is known of the connection that the gateway says has ended."""
    raw = table.get_raw(keys.connection(connection_id), table=connections_table())
    if raw is not None:
        tenant = Tenant(raw["practice"]["S"])
        _remove(Key(tenant.connections(), raw["range"]["S"]), connection_id)


def _remove(row: Key, connection_id: str) -> None:
    name = connections_table()
    by_id = keys.connection(connection_id)
    table.transact([table.delete(row, table=name), table.delete(by_id, table=name)])
