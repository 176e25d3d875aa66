"""What knowing the caller costs beside the reads that it cannot do without.

Our own work is the difference of two medians, taken in turns in one run: the whole decision with
an empty memory, and its bare reads by the same client. A token whose person was seen within the
last minute needs no reads at all.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks import engine
from benchmarks.entry import Entry
from consulta.core import aws, keys, table
from consulta.core.ids import new_id
from consulta.core.item import Actor
from consulta.core.keys import Tenant, all_practices
from consulta.core.permissions import Role
from consulta.core.time import from_epoch, to_text
from consulta.people import tokens
from consulta.people.authorization import Memory, context_of
from consulta.people.credentials import NewKey, digest
from consulta.people.policy import default_policy
from consulta.people.records import PRACTICE, ROLE, PracticeItem

PERSON, SESSION = "benchmark", "benchmark-session"
ISSUER, CLIENT, KID = "https://issuer.invalid/pool", "client", "key"
ROUNDS = 300
OWN_WORK_BAR_MS, REMEMBERED_BAR = 3.0, 0.1

Call = Callable[[], object]


def run() -> Iterable[Entry]:
    """identity.authorizer_*: milliseconds of own work, and what remembering saves."""
    os.environ |= {
        "TOKEN_ISSUER": ISSUER,
        "CLIENT_ID": CLIENT,
        "JWKS_URL": "https://keys.invalid/jwks.json",
    }
    key = NewKey.make()
    with engine.loading() as export:
        needed = _rows(export, key)
        with engine.client_of(export):
            yield from _authorizer(_token(), key, needed)


def _authorizer(token: str, key: NewKey, needed: list[keys.Key]) -> Iterator[Entry]:
    header, key_header = f"Bearer {token}", f"Bearer {key.text}"
    client, memory = aws.client("dynamodb"), Memory()
    batch = [table.raw_key(one) for one in [keys.session(PERSON, SESSION), *needed]]
    query = {
        "TableName": "core",
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :sk)",
        "ExpressionAttributeValues": {":pk": {"S": f"PERSON#{PERSON}"}, ":sk": {"S": "MEMBER#"}},
        "ConsistentRead": True,
    }

    def bare_reads() -> None:
        client.query(**query)
        client.batch_get_item(RequestItems={"core": {"Keys": batch, "ConsistentRead": True}})

    practice = needed[0].pk.split("#")[1]

    def bare_reads_of_key() -> None:
        for one in (keys.api_key(key.key_id), keys.membership(PERSON, practice)):
            client.get_item(TableName="core", Key=table.raw_key(one), ConsistentRead=True)

    assert "person" in context_of(header, memory), context_of(header, Memory())
    assert "person" in context_of(key_header, Memory()), context_of(key_header, Memory())
    took = _medians(
        {
            "decision": lambda: context_of(header, Memory()),
            "reads": bare_reads,
            "remembered": lambda: context_of(header, memory),
            "key": lambda: context_of(key_header, Memory()),
            "key's reads": bare_reads_of_key,
        }
    )
    yield Entry.at_most(
        "identity.authorizer_over_reads_ms",
        took["decision"] - took["reads"],
        "ms of own work",
        OWN_WORK_BAR_MS,
    )
    yield Entry.at_most(
        "identity.authorizer_ratio", took["decision"] / took["reads"], "× its bare reads"
    )
    yield Entry.at_most(
        "identity.key_over_reads_ms",
        took["key"] - took["key's reads"],
        "ms of own work",
        OWN_WORK_BAR_MS,
    )
    yield Entry.at_most(
        "identity.authorizer_remembered_ratio",
        took["remembered"] / took["reads"],
        "× its bare reads",
        REMEMBERED_BAR,
    )


def _medians(calls: dict[str, Call]) -> dict[str, float]:
    """Milliseconds of each, in turns: a machine that slows down slows all of them."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 20):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= 20:  # the first warm connections and caches
                took[name].append(1_000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in took.items()}


def _rows(export: engine.Export, key: NewKey) -> list[keys.Key]:
    """A person in two practices, in one by a role of the practice's own; their session and key.

    Gives the keys that the authorizer reads in its batch besides the session's.
    """
    later = int(time.time()) + 86_400
    needed: list[keys.Key] = []
    rows: list[tuple[keys.Key, dict[str, Any]]] = [
        (keys.session(PERSON, SESSION), {"entity": "SESSION", "mfa": False, "expires_at": later})
    ]
    practices = [new_id("prac") for _ in range(2)]
    for practice, role in zip(practices, (Role.OWNER, Role.CUSTOM), strict=True):
        tenant, role_id = Tenant(practice), new_id("role") if role is Role.CUSTOM else ""
        item = PracticeItem.create(
            tenant.item(PRACTICE, practice),
            PRACTICE,
            Actor("benchmark", "benchmark"),
            name="Benchmark",
            zone="Europe/Madrid",
            currency="EUR",
            country="ES",
            commission_bps=1000,
            policy=default_policy("EUR"),
            l1pk=all_practices(),
            l1sk=practice,
        )
        security = json.dumps({"mfa_required": False, "experts_see_all": True})
        export.write("core", [item.serialize() | table.to_raw({"security": security})])
        needed.append(item.key)
        membership = {"practice": practice, "role": role.value, "member": f"member-{practice}"}
        row = keys.membership(PERSON, practice)
        rows.append((row, membership | {"subject": "", "role_id": role_id}))
        if role_id:
            needed.append(tenant.item(ROLE, role_id))
            rows.append((needed[-1], {"permissions": ["patients:read", "appointments:read"]}))
    lookup = {
        "hash": digest(key.text),
        "practice": practices[0],
        "member": f"member-{practices[0]}",
        "person": PERSON,
        "permissions": ["patients:read"],
        "expires_at": to_text(from_epoch(later)),
    }
    rows.append((keys.api_key(key.key_id), lookup))
    export.write("core", ({**table.raw_key(at), **table.to_raw(row)} for at, row in rows))
    return needed


def _token() -> str:
    """An access token of a pool whose keys are known already, as in a warm environment."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
    jwks = jwt.PyJWKSet.from_dict({"keys": [public | {"kid": KID, "alg": "RS256", "use": "sig"}]})
    tokens.keys.cache_clear()
    fetched = tokens.keys(os.environ["JWKS_URL"]).jwk_set_cache
    assert fetched
    fetched.put(jwks)
    now = int(time.time())
    claims = {
        "sub": PERSON,
        "iss": ISSUER,
        "client_id": CLIENT,
        "token_use": "access",
        "origin_jti": SESSION,
        "iat": now,
        "exp": now + 900,
    }
    return jwt.encode(claims, private, algorithm="RS256", headers={"kid": KID})
