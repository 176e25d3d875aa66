"""What a team would write in place of figures: the provider panel's eleven queries on PostgreSQL.

A private cluster in a temporary folder, on a unix socket, has the same practices' rows: a schema
each, so that no size stands in another's indexes. Everything is in its favour: integers for ids,
columns that the queries need and no others, a covering index for each query (partial ones where
only a part is asked for), vacuumed and analyzed, all of it in memory, one connection that is open
already, and statements prepared once. Both sides are asked for the same, and have to agree.
"""

import os
import pwd
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2

from benchmarks import history
from benchmarks.bare import Requests
from benchmarks.practice import PATIENTS, ZONE, Practice
from consulta.core import aws
from consulta.core.time import now, to_text
from consulta.dashboards import dashboard
from consulta.dashboards.schema import Dashboard, ExpertDashboard

MINIMUM = 15
PROGRAMS = ("initdb", "postgres", "pg_ctl")
DEBIAN = "usr/lib/postgresql/*/bin"
# PostgreSQL refuses to be run by root.
UNPRIVILEGED = ("postgres", "nobody")
SETTINGS = {
    "listen_addresses": "''",
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "random_page_cost": "1.1",
    "max_wal_size": "8GB",
    "jit": "off",
}
# The panel, as our sections.
PANEL = dashboard.asked_for("today,weeks,schedule,activity")
WHOLE = dashboard.asked_for("all")
LISTED, DAY_LISTED = 5, 50

TABLES = """
CREATE TABLE patients (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE services (id int PRIMARY KEY, provider int NOT NULL, name text NOT NULL, active bool);
CREATE TABLE threads (id int PRIMARY KEY, provider int NOT NULL, unread int NOT NULL);
CREATE TABLE appointments (
    id bigint PRIMARY KEY, provider int NOT NULL, service int NOT NULL, patient int NOT NULL,
    status text NOT NULL, payment_status text NOT NULL, start timestamptz NOT NULL,
    ends timestamptz NOT NULL, price int NOT NULL, currency char(3) NOT NULL
);
CREATE TABLE payments (
    id bigint PRIMARY KEY, provider int NOT NULL, patient int NOT NULL, state text NOT NULL,
    amount int NOT NULL, refunded int NOT NULL, currency char(3) NOT NULL,
    paid_at timestamptz NOT NULL
);
CREATE TABLE reviews (
    id bigint PRIMARY KEY, provider int NOT NULL, patient int NOT NULL, rating int NOT NULL,
    status text NOT NULL, created_at timestamptz NOT NULL
);
"""
INDEXES = """
CREATE INDEX ON appointments (provider, start) INCLUDE (status);
CREATE INDEX ON appointments (provider, patient) INCLUDE (status);
CREATE INDEX ON appointments (provider, status, start)
    WHERE status IN ('awaiting_approval', 'confirmed');
CREATE INDEX ON services (provider) WHERE active;
CREATE INDEX ON threads (provider) INCLUDE (unread) WHERE unread > 0;
CREATE INDEX ON reviews (provider) INCLUDE (rating) WHERE status = 'published';
CREATE INDEX ON reviews (provider, created_at);
CREATE INDEX ON payments (provider, paid_at) INCLUDE (amount, refunded, currency);
"""
BOOKED = "status IN ('awaiting_approval', 'confirmed', 'completed', 'no_show')"
_IN_TIME = f"SELECT count(*) FROM appointments WHERE provider = 1 AND {BOOKED} AND start >= $1"
_AHEAD = "SELECT count(*) FROM appointments WHERE provider = 1 AND start >= $1 AND status ="
# name: (types of its parameters, statement, names of what is put in)
QUERIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "today": ("timestamptz, timestamptz", f"{_IN_TIME} AND start < $2", ("today", "tomorrow")),
    "pending": ("timestamptz", f"{_AHEAD} 'awaiting_approval'", ("now",)),
    "confirmed": ("timestamptz", f"{_AHEAD} 'confirmed'", ("now",)),
    "services": ("", "SELECT count(*) FROM services WHERE provider = 1 AND active", ()),
    "reviews": (
        "",
        "SELECT count(*), avg(rating) FROM reviews WHERE provider = 1 AND status = 'published'",
        (),
    ),
    "revenue": (
        "timestamptz, timestamptz",
        "SELECT currency, sum(amount), sum(refunded) FROM payments"
        " WHERE provider = 1 AND paid_at >= $1 AND paid_at < $2 GROUP BY currency",
        ("today", "tomorrow"),
    ),
    "unread": (
        "",
        "SELECT coalesce(sum(unread), 0) FROM threads WHERE provider = 1 AND unread > 0",
        (),
    ),
    "this_week": ("timestamptz, timestamptz", f"{_IN_TIME} AND start < $2", ("monday", "next")),
    "last_week": ("timestamptz, timestamptz", f"{_IN_TIME} AND start < $2", ("last", "monday")),
    "schedule": (
        "timestamptz, timestamptz",
        "SELECT a.id, a.status, a.payment_status, a.start, a.ends, a.price, a.currency,"
        " p.id, p.name, s.id, s.name FROM appointments a JOIN patients p ON p.id = a.patient"
        f" JOIN services s ON s.id = a.service WHERE a.provider = 1 AND a.{BOOKED}"
        f" AND a.start >= $1 AND a.start < $2 ORDER BY a.start LIMIT {DAY_LISTED + 1}",
        ("today", "tomorrow"),
    ),
    "activity": (
        "",
        f"(SELECT 'payment', y.id, y.paid_at AS at, p.name, y.amount, y.state FROM payments y"
        f" JOIN patients p ON p.id = y.patient WHERE y.provider = 1"
        f" ORDER BY y.paid_at DESC LIMIT {LISTED}) UNION ALL"
        f" (SELECT 'review', r.id, r.created_at, p.name, r.rating, r.status FROM reviews r"
        f" JOIN patients p ON p.id = r.patient WHERE r.provider = 1"
        f" ORDER BY r.created_at DESC LIMIT {LISTED}) ORDER BY at DESC",
        (),
    ),
}

# What the other sections show besides: stats, upcoming, recent, earnings (D4).
_LISTED = (
    "SELECT a.id, a.status, a.start, a.ends, a.price, p.name, s.name FROM appointments a"
    " JOIN patients p ON p.id = a.patient JOIN services s ON s.id = a.service"
    " WHERE a.provider = 1 AND a."
)
_MONTHS = "date_trunc('month', paid_at AT TIME ZONE 'Europe/Madrid')"
MORE_QUERIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "total": ("", f"SELECT count(*) FROM appointments WHERE provider = 1 AND {BOOKED}", ()),
    "patients": (
        "",
        f"SELECT count(DISTINCT patient) FROM appointments WHERE provider = 1 AND {BOOKED}",
        (),
    ),
    "this_month": ("timestamptz, timestamptz", f"{_IN_TIME} AND start < $2", ("month", "after")),
    "last_month": ("timestamptz, timestamptz", f"{_IN_TIME} AND start < $2", ("before", "month")),
    "upcoming": (
        "timestamptz",
        f"{_LISTED}status IN ('awaiting_approval', 'confirmed') AND a.start >= $1"
        f" ORDER BY a.start LIMIT {LISTED}",
        ("now",),
    ),
    "recent": (
        "timestamptz",
        f"{_LISTED}{BOOKED} AND a.start <= $1 ORDER BY a.start DESC LIMIT {LISTED}",
        ("now",),
    ),
    "earned": (
        "",
        "SELECT currency, sum(amount), sum(refunded), count(*) FROM payments"
        " WHERE provider = 1 GROUP BY currency",
        (),
    ),
    "earned_by_month": (
        "timestamptz",
        f"SELECT {_MONTHS} AS month, currency, sum(amount), sum(refunded) FROM payments"
        " WHERE provider = 1 AND paid_at >= $1 GROUP BY 1, 2 ORDER BY 1",
        ("year",),
    ),
}

Rows = list[tuple[Any, ...]]


def _folder() -> Path:
    """Where the programs of a new enough version are. Exits, and says what to install."""
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/").glob(DEBIAN), reverse=True)
    for folder in folders:
        if all((folder / program).exists() for program in PROGRAMS):
            said = subprocess.run(
                [folder / "postgres", "--version"], capture_output=True, text=True, check=True
            ).stdout
            version = re.search(r"\d+", said)
            if version and int(version[0]) >= MINIMUM:
                return folder
    raise SystemExit(
        f"The comparison needs PostgreSQL {MINIMUM} or newer: apt-get install postgresql"
    )


def _account() -> pwd.struct_passwd | None:
    """Who is to run it, where we are root; None for ourselves."""
    if os.geteuid():
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in UNPRIVILEGED if name in known)


@contextmanager
def running() -> Iterator[Callable[[], Any]]:
    """Connects to an empty cluster of its own, as long as the ``with`` block lives."""
    programs, account = _folder(), _account()
    as_account = {"user": account.pw_uid, "group": account.pw_gid} if account else {}

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            extra_groups=[] if account else None,
            **as_account,
        )
        if done.returncode:
            raise SystemExit(f"{program} of PostgreSQL failed: {done.stderr}")

    # Short, in /tmp: a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
        data, log = f"{folder}/data", f"{folder}/log"
        call("initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        call("pg_ctl", "-D", data, "-l", log, "-w", "-o", f"-k {folder} {options}", "start")
        try:
            yield lambda: psycopg2.connect(host=folder, user="bench", dbname="postgres")
        finally:
            call("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


# ---------------------------------------------------------------- the same rows


def load(connection: Any, one: Practice) -> None:
    """A practice's rows into a schema of their own, with the indexes, vacuumed and analyzed.

    The connection sees that schema from then on, and no other.
    """
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"CREATE SCHEMA size_{one.size}; SET search_path = size_{one.size}; {TABLES}")
    rows = {
        "patients": ((n, f"Patient {n}") for n in range(PATIENTS)),
        "services": [(1, 1, "Session", "true")],
        "threads": ((n, 1, int(n % 3 == 0)) for n in range(PATIENTS)),
        "appointments": _appointments(one),
        "payments": _payments(one),
        "reviews": _reviews(one),
    }
    for table, found in rows.items():
        cursor.copy_expert(f"COPY {table} FROM STDIN", _Lines(found))
    cursor.execute(INDEXES)
    for table in rows:
        cursor.execute(f"VACUUM (FREEZE, ANALYZE) {table}")


class _Lines:
    """Rows as a file in the form that COPY reads."""

    def __init__(self, rows: Any) -> None:
        self._rows = iter(rows)

    def read(self, size: int = 8192) -> str:
        """At least so much, where there is still so much."""
        lines: list[str] = []
        length = 0
        for row in self._rows:
            line = "\t".join(map(str, row)) + "\n"
            lines.append(line)
            length += len(line)
            if length >= size:
                break
        return "".join(lines)


def _appointments(one: Practice) -> Iterator[tuple[Any, ...]]:
    booked, price = ("EUR",), history.PRICE
    for cell in one.cells():
        for n in cell.numbers:
            times = cell.start(n), cell.end(n)
            yield n, 1, 1, cell.patient, "completed", "paid", *times, price, *booked
    for n, (start, patient) in enumerate(one.ahead()):
        times = to_text(start), to_text(start + history.LENGTH)
        who = one.patients.index(patient)
        yield one.size + n, 1, 1, who, "confirmed", "paid", *times, price, *booked


def _payments(one: Practice) -> Iterator[tuple[Any, ...]]:
    for cell in one.cells():
        for n in cell.numbers:
            yield n, 1, cell.patient, "succeeded", history.PRICE, 0, "EUR", cell.start(n)


def _reviews(one: Practice) -> Iterator[tuple[Any, ...]]:
    for cell in one.cells():
        for n in cell.numbers:
            if stars := history.rating(n):
                yield n, 1, cell.patient, stars, "published", cell.start(n)


# ---------------------------------------------------------------- the panel


class Panel:
    """The queries of the practice that a connection sees, prepared."""

    def __init__(self, connection: Any) -> None:
        self._cursor = connection.cursor()
        for name, (types, statement, _) in (QUERIES | MORE_QUERIES).items():
            declared = f"({types})" if types else ""
            self._cursor.execute(f"PREPARE ask_{name} {declared} AS {statement}")

    def ask(self) -> tuple[dict[str, Rows], dict[str, float]]:
        """All of it, one query after the other: what was answered, and each one's seconds."""
        instants = _instants()
        rows, took = {}, {}
        for name, (_, _, wanted) in (QUERIES | MORE_QUERIES).items():
            values = tuple(instants[one] for one in wanted)
            marks = f"({', '.join(['%s'] * len(values))})" if values else ""
            began = time.perf_counter()
            self._cursor.execute(f"EXECUTE ask_{name} {marks}", values)
            rows[name] = self._cursor.fetchall()
            took[name] = time.perf_counter() - began
        return rows, took


def _instants() -> dict[str, datetime]:
    instant, zone = now(), ZoneInfo(ZONE)
    today = instant.astimezone(zone).date()
    monday = today - timedelta(days=today.weekday())
    first = today.replace(day=1)

    def midnight(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=zone)

    return {
        "now": instant,
        "today": midnight(today),
        "tomorrow": midnight(today + timedelta(days=1)),
        "monday": midnight(monday),
        "next": midnight(monday + timedelta(days=7)),
        "last": midnight(monday - timedelta(days=7)),
        "month": midnight(first),
        "after": midnight((first + timedelta(days=31)).replace(day=1)),
        "before": midnight((first - timedelta(days=1)).replace(day=1)),
        "year": midnight(date(today.year - (today.month < 12), today.month % 12 + 1, 1)),
    }


def check(rows: dict[str, Rows], found: ExpertDashboard) -> None:
    """Both say the same, in all sections. Raises AssertionError."""
    shown: dict[str, Any] = {name: part["data"] for name, part in dashboard.shown(found)}
    today, weeks, stats = shown["today"], shown["weeks"].appointments, shown["stats"]
    theirs = {name: answer[0][0] for name, answer in rows.items() if answer}
    ours = {
        "today": today.appointments,
        "pending": today.pending,
        "confirmed": today.confirmed,
        "services": today.services,
        "unread": today.unread_messages,
        "this_week": weeks.this_week,
        "last_week": weeks.last_week,
        "total": stats.appointments_total,
        "patients": stats.unique_patients,
        "this_month": stats.appointments_this_month,
        "last_month": stats.appointments_last_month,
    }
    assert {name: theirs[name] for name in ours} == ours
    [(reviews, average)] = rows["reviews"]
    # PostgreSQL rounds halves up; Decimal, as we do, to even.
    assert (reviews, float(round(average, 1))) == (today.reviews, today.average_rating)
    revenue = [(one.collected.currency, one.collected.amount, 0) for one in today.revenue]
    assert rows["revenue"] == revenue
    starts = {"schedule": 3, "upcoming": 2, "recent": 2}
    for name, column in starts.items():
        expected = [one.start for one in shown[name].items]
        assert [row[column] for row in rows[name]][:DAY_LISTED] == expected, name
    assert [row[2] for row in rows["activity"]] == [one.at for one in shown["activity"].items]


@dataclass(frozen=True)
class Compared:
    """Seconds of one extent, theirs and ours, medians; and which of their queries takes longest.

    ``bare`` are our requests alone (benchmarks/bare.py).
    """

    theirs: float
    ours: float
    bare: float
    queries: int
    slowest: str


class Measured:
    """One size, asked for in turns: the panel, and all that a dashboard has."""

    def __init__(self, one: Practice, connection: Any) -> None:
        load(connection, one)
        self._caller, self._panel = one.caller(), Panel(connection)
        self._theirs: list[dict[str, float]] = []
        self._ours: dict[str, list[float]] = {"panel": [], "whole": []}
        self._bare: dict[str, list[float]] = {"panel": [], "whole": []}
        client = aws.client("dynamodb")
        self._requests = {
            name: Requests(client, partial(dashboard.build, self._caller, wanted))
            for name, wanted in (("panel", PANEL), ("whole", WHOLE))
        }

    def round(self) -> None:
        """Once each."""
        rows, took = self._panel.ask()
        self._theirs.append(took)
        self._build("panel", PANEL)
        found = self._build("whole", WHOLE)
        assert isinstance(found, ExpertDashboard)
        check(rows, found)
        for name, requests in self._requests.items():
            began = time.perf_counter()
            requests.send()
            self._bare[name].append(time.perf_counter() - began)

    def _build(self, name: str, wanted: frozenset[str] | None) -> Dashboard:
        began = time.perf_counter()
        found = dashboard.build(self._caller, wanted)
        self._ours[name].append(time.perf_counter() - began)
        return found

    @property
    def panel(self) -> Compared:
        """The provider panel: eleven queries, and our four sections."""
        return self._compared("panel", list(QUERIES))

    @property
    def whole(self) -> Compared:
        """All sections, and what they would ask PostgreSQL besides."""
        return self._compared("whole", [*QUERIES, *MORE_QUERIES])

    def _compared(self, extent: str, queries: list[str]) -> Compared:
        each = {name: statistics.median(took[name] for took in self._theirs) for name in queries}
        return Compared(
            statistics.median(sum(took[name] for name in queries) for took in self._theirs),
            statistics.median(self._ours[extent]),
            statistics.median(self._bare[extent]),
            len(queries),
            max(each, key=each.__getitem__),
        )
