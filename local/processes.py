"""Background processes that outlive the command that started them, and how they end.

Each process inherits a lock on its own file, ``<folder>/run/<name>.pid``. The lock lives exactly
as long as the process, so a recorded process id is signalled only while it is still ours, and
a file left by a crash is harmless.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.05


class StartFailedError(RuntimeError):
    """A process ended, or did not answer in time, while it was starting."""


@dataclass(frozen=True)
class Service:
    """A server to run: its name, ``python -m`` arguments, environment and health address."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    health_url: str


def start(folder: Path, services: Sequence[Service], working_directory: Path) -> None:
    """Start the services side by side and return when all answer.

    Output goes to ``<folder>/logs/<name>.log``. Raises StartFailedError, naming that file.
    """
    started = [(service, _spawn(folder, service, working_directory)) for service in services]
    deadline = time.monotonic() + PATIENCE_SECONDS
    for service, process in started:
        log = _log(folder, service.name)
        while not _answers(service.health_url):
            if process.poll() is not None:
                raise StartFailedError(f"{service.name} ended while starting; see {log}.")
            if time.monotonic() > deadline:
                raise StartFailedError(f"{service.name} did not answer in time; see {log}.")
            time.sleep(POLL_SECONDS)


def _spawn(folder: Path, service: Service, working_directory: Path) -> subprocess.Popen[bytes]:
    record = folder / "run" / f"{service.name}.pid"
    log = _log(folder, service.name)
    for path in (record, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a+") as lock, log.open("w") as output:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            [sys.executable, "-m", *service.arguments],
            cwd=working_directory,
            env=dict(service.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
        lock.truncate(0)
        lock.write(str(process.pid))
    return process


def running(folder: Path) -> dict[str, int]:
    """The processes started in that folder that still run, as {name: process id}."""
    records = sorted((folder / "run").glob("*.pid"))
    return {record.stem: int(record.read_text()) for record in records if _is_held(record)}


def stop_all(folder: Path) -> list[str]:
    """End every process started in that folder, with its children; return their names."""
    stopped = running(folder)
    for pid in stopped.values():
        _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while running(folder) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid in stopped.values():  # what is left of each group: a process or child that hangs
        _signal_group(pid, signal.SIGKILL)
    for record in (folder / "run").glob("*.pid"):
        record.unlink()
    return list(stopped)


def _log(folder: Path, name: str) -> Path:
    return folder / "logs" / f"{name}.log"


def _is_held(record: Path) -> bool:
    with record.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False
