"""Views of experts' profiles: each visitor once a day, whoever writes at the same moment."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consulta.audit.listing import NOT_ACTIVITY
from consulta.core import settings, table
from consulta.core.identity import Membership, authorizer_context
from consulta.core.permissions import Role
from consulta.people import profile_views
from consulta.people.records import PROFILE_VIEWS, ProfileViewsItem
from tests.conftest import CONNECTIONS, CORE, COUNTERS
from tests.faults import Faults
from tests.template import template
from tests.unit.people.calling import MEMBER, Answer, call, signed_in
from tests.unit.scheduling.world import World

# Lisbon's clocks are an hour ahead of UTC in summer.
EVENING = datetime(2027, 7, 10, 22, 59, tzinfo=UTC)
DAY = "2027-07-10"


class Site:
    """Where profiles are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = EVENING
        monkeypatch.setattr(profile_views, "now", lambda: self.at)
        self.world = World()
        self.helena = self.world.expert("Helena")

    def view(self, who: dict[str, str], expert: str = "", body: Any = None) -> Answer:
        path = f"/v1/experts/{expert or self.helena}/views"
        return call("experts", "POST", path, body or {}, context=who)

    def patient(self, name: str) -> dict[str, str]:
        return signed_in("patient", self.world.practice, f"pat_{name}", f"person-{name}")

    def key(self, *granted: str) -> dict[str, str]:
        member = Membership(self.world.practice, Role.ADMIN, MEMBER, "", frozenset(granted))
        return authorizer_context("person-key", [member], operator=False, key="key_1")

    def item(self, day: str = DAY, expert: str = "") -> ProfileViewsItem | None:
        views_id = f"{expert or self.helena}.{day}"
        return table.get(ProfileViewsItem, self.world.tenant.item(PROFILE_VIEWS, views_id))

    def views(self, day: str = DAY) -> tuple[int, int]:
        """How many, and the item's version."""
        found = self.item(day)
        return (int(found.views), int(found.version)) if found else (0, 0)


@pytest.fixture
def site(
    tables: Any, environment: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    # The limiter alone is left without its table: it would count these requests, too.
    site = Site(monkeypatch)
    environment.setenv("COUNTERS_TABLE", COUNTERS)
    settings.reset()
    profile_views.reset()
    monkeypatch.setattr("consulta.core.limits.admit", lambda *_: None)
    yield site
    settings.reset()
    profile_views.reset()


@pytest.fixture
def faults(tables: Any) -> Iterator[Faults]:
    with Faults(tables) as found:
        yield found


def scan(client: Any, name: str) -> list[dict[str, Any]]:
    return list(client.scan(TableName=name)["Items"])


def test_a_patient_counts_once_a_day_and_expert(site: Site) -> None:
    rui = site.world.expert("Rui")
    for _ in range(3):
        assert site.view(site.patient("ana")).status == 204
    assert site.views() == (1, 1)
    site.view(site.patient("ines"))
    assert site.views() == (2, 2)
    site.view(site.patient("ana"), rui)
    assert site.views() == (2, 2)
    found = site.item(expert=rui)
    assert found
    assert found.views == 1
    # A minute later it is tomorrow in Lisbon.
    site.at += timedelta(minutes=1)
    site.view(site.patient("ana"))
    assert (site.views(), site.views("2027-07-11")) == ((2, 2), (1, 1))


def test_what_the_figures_are_made_of(site: Site) -> None:
    site.view(site.patient("ana"))
    first = site.item()
    site.at += timedelta(seconds=30)
    site.view(site.patient("ines"))
    found = site.item()
    assert first
    assert found
    assert (found.entity, found.item_id) == (PROFILE_VIEWS, f"{site.helena}.{DAY}")
    assert (found.expert_id, found.local_date, found.zone) == (site.helena, DAY, "Europe/Lisbon")
    assert (found.walkpk, found.walksk) == (site.world.tenant.listing(PROFILE_VIEWS), found.item_id)
    # The audit's history of an item begins where it was made.
    assert found.created_at == first.created_at
    assert found.updated_at == site.at


def test_members_are_not_counted(site: Site, tables: Any) -> None:
    before = scan(tables, CORE)
    for role in ("owner", "admin", "expert", "billing", "viewer"):
        who = signed_in(role, site.world.practice, site.helena if role == "expert" else "")
        assert site.view(who, body={"visitor": "v-1"}).status == 204
    assert scan(tables, CORE) == before
    assert scan(tables, COUNTERS) == []


def test_a_website_names_its_visitors(site: Site) -> None:
    website = site.key("experts:read")
    nobody = site.view(website)
    assert (nobody.status, nobody.body["errors"][0]["path"]) == (422, "body.visitor")
    for visitor in ("v-1", "v-2", "v-1", "person-ana"):
        assert site.view(website, body={"visitor": visitor}).status == 204
    # A visitor of the website is nobody who is signed in, however they are called.
    site.view(site.patient("ana"), body={"visitor": "v-1"})
    assert site.views() == (4, 4)
    for visitor in ("", "x" * 101, "a\nb"):
        assert site.view(website, body={"visitor": visitor}).status == 422
    assert site.view(site.key("services:read"), body={"visitor": "v-9"}).status == 403
    assert site.views() == (4, 4)


def test_only_who_is_published_is_seen(site: Site, tables: Any) -> None:
    draft = site.world.expert("Nova", published=False)
    unknown = "exp_01JC0NS0TADEM0000000000009"
    for who in (site.patient("ana"), signed_in("owner", site.world.practice)):
        assert site.view(who, draft).status == 404
        assert site.view(who, unknown).status == 404
    assert site.view(signed_in("patient", person="p")).status == 404
    assert scan(tables, COUNTERS) == []
    assert site.item(expert=draft) is None


@pytest.mark.parametrize("fault", ["conflict", "throttle", "lost_call", "lost_answer"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_fault_on_the_way_counts_once(
    site: Site, faults: Faults, fault: str, is_first: bool
) -> None:
    if not is_first:
        site.view(site.patient("ines"))
    before = site.views()[0]
    # The day's first view is written at the second try.
    skipped = [faults.meanwhile(lambda: None)] if is_first else []
    faults.next("TransactWriteItems", *skipped, getattr(faults, fault))
    assert site.view(site.patient("ana")).status == 204
    assert site.views() == (before + 1, before + 1)


def test_two_first_visitors_at_once(site: Site, faults: Faults) -> None:
    other = faults.meanwhile(lambda: site.view(site.patient("ines")))
    # Between finding that the day has no item, and making it.
    faults.next("TransactWriteItems", faults.meanwhile(lambda: None), other)
    assert site.view(site.patient("ana")).status == 204
    assert site.views() == (2, 2)


def test_one_visitor_twice_at_once(site: Site, faults: Faults) -> None:
    same = faults.meanwhile(lambda: site.view(site.patient("ana")))
    faults.next("TransactWriteItems", same)
    assert site.view(site.patient("ana")).status == 204
    assert site.views() == (1, 1)


def test_two_environments_make_one_secret(site: Site, faults: Faults, tables: Any) -> None:
    other = faults.meanwhile(lambda: site.view(site.patient("ana")))
    # Between finding that the day has no secret, and making it.
    faults.next("TransactWriteItems", other)
    assert site.view(site.patient("ana")).status == 204
    assert site.views() == (1, 1)
    assert len(scan(tables, CONNECTIONS)) == 1


def test_without_the_secret_nobody_can_try_who_it_was(site: Site, tables: Any) -> None:
    site.view(site.patient("ana"))
    [secret] = scan(tables, CONNECTIONS)
    kept = json.dumps([*scan(tables, COUNTERS), *scan(tables, CORE)])
    assert secret["secret"]["S"] not in kept
    # It ends with the rows, and there is no copy of it.
    assert secret["expires_at"] == scan(tables, COUNTERS)[0]["expires_at"]
    where = template()["Resources"]["ConnectionsTable"]["Properties"]
    assert where["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert not {"PointInTimeRecoverySpecification", "StreamSpecification"} & set(where)
    # All else that there is makes the same row no more: the very same visitor is another.
    key = {name: secret[name] for name in ("pk", "sk")}
    tables.delete_item(TableName=CONNECTIONS, Key=key)
    profile_views.reset()
    site.view(site.patient("ana"))
    assert site.views() == (2, 2)


def test_who_has_seen_several_experts_is_not_told_by_their_rows(site: Site, tables: Any) -> None:
    for expert in (site.helena, site.world.expert("Rui")):
        site.view(site.patient("ana"), expert)
    digests = {row["pk"]["S"].rpartition("#")[2] for row in scan(tables, COUNTERS)}
    assert len(digests) == 2


def test_nobody_can_tell_who_it_was(site: Site, tables: Any) -> None:
    site.view(site.patient("ana"))
    site.view(site.key("experts:read"), body={"visitor": "v-secret"})
    kept = json.dumps(scan(tables, COUNTERS))
    [item] = [raw for raw in scan(tables, CORE) if raw.get("entity", {}).get("S") == PROFILE_VIEWS]
    kept += json.dumps(item)
    assert not any(who in kept for who in ("person-ana", "pat_ana", "v-secret", "127.0.0.1"))
    assert (item["updated_by"]["S"], "origin" in item) == ("visitor", False)
    # And no list of what people did says that a profile was seen.
    assert PROFILE_VIEWS in NOT_ACTIVITY


def test_who_was_counted_is_forgotten(site: Site, tables: Any) -> None:
    site.view(site.patient("ana"))
    [row] = scan(tables, COUNTERS)
    assert int(row["expires_at"]["N"]) == int((site.at + timedelta(days=2)).timestamp())
    assert row["pk"]["S"].startswith(f"P#{site.world.practice}#")
