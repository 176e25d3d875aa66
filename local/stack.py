"""Start, stop and look at the whole system on this machine: ``python -m local.stack up``.

``up`` starts the local AWS and the providers' simulators, deploys template.yaml, seeds a demo
practice through the public API and writes ``<dir>/stack.json``:

    {"api_url", "docs_url", "mailbox_url", "stripe_url", "mercadopago_url", "google_url", "region",
     "realtime_url", "stack_name", "outputs": {...}, "signins": [{"role", "email", "password"}]}

Every start is a fresh one: nothing is kept of the last but the build.
"""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import botocore.exceptions
import httpx
import typer

from local import deploy, logs, processes
from local.connect import connect_providers, verify_senders
from local.environment import (
    HOST,
    REGION,
    architecture,
    aws_environment,
    endpoint,
    ministack_environment,
    runtime,
)
from local.processes import Service
from local.progress import console, step
from local.seed import SeedError, seed

ROOT = deploy.ROOT
DEFAULT_FOLDER = ROOT / ".local"
DEFAULT_PORT = 4701
OLDEST_PYTHON = (3, 12)


class StackError(RuntimeError):
    """Why the stack cannot start, in one sentence for the person at the keyboard."""


# What is said in one sentence; anything else is a bug of ours and shows its traceback.
FAILURES = (
    StackError,
    processes.StartFailedError,
    deploy.DeployFailedError,
    httpx.HTTPError,
    botocore.exceptions.ClientError,
)


@dataclass(frozen=True)
class Stack:
    """One local stack: the folder of its files and the ports of its four servers."""

    folder: Path
    port: int
    auth: bool = False
    """Whether MiniStack enforces IAM."""

    @property
    def servers(self) -> dict[str, int]:
        """What listens where, by the name in the texts for people."""
        return {
            "the local AWS": self.port,
            "the Stripe simulator": self.port + 1,
            "the Mercado Pago simulator": self.port + 2,
            "the Google simulator": self.port + 3,
        }

    @property
    def api_url(self) -> str:
        return endpoint(self.port)

    @property
    def simulators(self) -> dict[str, str]:
        """The providers' base addresses by name, which is also the simulator's module."""
        return {
            "stripe": endpoint(self.port + 1),
            "mercadopago": endpoint(self.port + 2),
            "google": endpoint(self.port + 3),
        }

    @property
    def parameters(self) -> dict[str, str]:
        """The template's parameters; they replace those that samconfig.toml has."""
        return {
            "Stage": "local",
            "Runtime": runtime(),
            "Architecture": architecture(),
            "LogRetention": "1",
            "ProtectTables": "false",
            "PublicUrl": self.api_url,
            "CognitoBase": self.api_url,
            "RealtimeBase": f"{self.api_url}/_aws/execute-api",
            "StripeApiBase": self.simulators["stripe"],
            "MercadoPagoApiBase": self.simulators["mercadopago"],
            "GoogleAuthBase": self.simulators["google"],
            "GoogleTokenBase": self.simulators["google"],
            "GoogleApiBase": self.simulators["google"],
        }


# --- start and stop -----------------------------------------------------------------------------


def start(stack: Stack, *, seeded: bool = True) -> dict[str, Any]:
    """Start everything and return what stack.json holds; on any failure leave nothing running.

    Raises one of FAILURES.
    """
    _use_local_aws_only(stack.port)
    _check_tools()
    _check_ports(stack)
    stack.folder.mkdir(parents=True, exist_ok=True)
    _forget_last_start(stack.folder)
    try:
        return _start(stack, seeded=seeded)
    except BaseException:  # also Ctrl-C: whatever it was, nothing stays behind
        stop(stack.folder)
        raise


def stop(folder: Path) -> list[str]:
    """End every process of the stack in that folder; return their names."""
    stopped = processes.stop_all(folder)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "stack.json").unlink(missing_ok=True)
    return stopped


@contextmanager
def running_stack(folder: Path, port: int, *, auth: bool = False) -> Iterator[dict[str, Any]]:
    """A stack that lives as long as the ``with`` block; yields what stack.json holds.

    Within the block the process's own AWS calls go to that stack. Raises one of FAILURES.
    """
    environment = dict(os.environ)
    try:
        yield start(Stack(folder.resolve(), port, auth))
    finally:
        stop(folder.resolve())
        os.environ.clear()
        os.environ.update(environment)


def _start(stack: Stack, *, seeded: bool) -> dict[str, Any]:
    log = stack.folder / "logs" / "deploy.log"
    with step("Start the local AWS and the simulators of Stripe, Mercado Pago and Google"):
        processes.start(stack.folder, [_local_aws(stack), *_simulators(stack)], ROOT)
    with deploy.build_lock():
        with step("Build the functions and layers") as progress:
            if not deploy.build(stack.parameters, log):
                progress.show("unchanged")
        with step("Deploy template.yaml"):
            outputs = deploy.deploy(stack.port, stack.parameters, log)
    with step("Connect the providers and the mailbox"):
        connect_providers(stack.api_url, outputs, stack.simulators)
        verify_senders(stack.api_url)
    signins = _seed(stack, outputs) if seeded else []
    description = {
        "api_url": stack.api_url,
        "docs_url": f"{stack.api_url}/v1/docs",
        "realtime_url": f"ws{outputs['RealtimeEndpoint'].removeprefix('http')}",
        "mailbox_url": f"{stack.api_url}/_ministack/ses/messages",
        "stripe_url": stack.simulators["stripe"],
        "mercadopago_url": stack.simulators["mercadopago"],
        "google_url": stack.simulators["google"],
        "region": REGION,
        "stack_name": deploy.STACK_NAME,
        "outputs": outputs,
        "signins": signins,
    }
    (stack.folder / "stack.json").write_text(json.dumps(description, indent=2) + "\n")
    return description


# --- steps --------------------------------------------------------------------------------------


def _use_local_aws_only(port: int) -> None:
    """Make the whole process, boto3 included, unable to reach a real account."""
    environment = aws_environment(port)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _check_tools() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise StackError("Python 3.12 or newer is needed.")
    missing = [tool for tool in ("sam", "uv", "make") if shutil.which(tool) is None]
    if missing:
        raise StackError(f"Missing: {', '.join(missing)}. `make run` installs sam and uv.")


def _check_ports(stack: Stack) -> None:
    """Name every port that is taken before anything is started."""
    taken = [f"{port} ({name})" for name, port in stack.servers.items() if _is_taken(port)]
    if not taken:
        return
    ports = "Port" if len(taken) == 1 else "Ports"
    verb = "is" if len(taken) == 1 else "are"
    if processes.running(stack.folder):
        raise StackError(
            f"{ports} {', '.join(taken)} {verb} taken: this stack is already running; "
            "`make stop` ends it."
        )
    raise StackError(
        f"{ports} {', '.join(taken)} {verb} taken by another program; stop it or choose others, "
        f"for example `make run PORT={stack.port + 100}`."
    )


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return True
    return False


def _forget_last_start(folder: Path) -> None:
    """Processes left by a killed start on other ports, and its files."""
    stop(folder)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "logs").mkdir()
    (folder / "tmp").mkdir()


def decisions(folder: Path) -> Path:
    """Where a stack that enforces IAM writes its decisions (local/aws/permissions.py)."""
    return folder / "logs" / "iam.jsonl"


def _local_aws(stack: Stack) -> Service:
    layers = DEFAULT_FOLDER / "layers"
    layers.mkdir(parents=True, exist_ok=True)
    environment = ministack_environment(stack.port, stack.folder / "tmp", layers, auth=stack.auth)
    if stack.auth:
        environment["IAM_DECISIONS"] = str(decisions(stack.folder))
    return Service("aws", ("local.aws",), environment, f"{stack.api_url}/_ministack/health")


def _simulators(stack: Stack) -> list[Service]:
    return [
        Service(
            name,
            (f"local.simulators.{name}", "--port", address.rpartition(":")[2]),
            aws_environment(stack.port),
            f"{address}/_control/health",
        )
        for name, address in stack.simulators.items()
    ]


def _seed(stack: Stack, outputs: dict[str, str]) -> list[dict[str, str]]:
    with step("Seed a demo practice") as progress:
        try:
            return seed(stack.api_url, outputs, stack.simulators, progress.show)
        except SeedError as error:
            raise StackError(f"The demo practice could not be made: {error}") from error


# --- commands -----------------------------------------------------------------------------------

cli = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help="The whole system on this machine."
)
Folder = Annotated[Path, typer.Option("--dir", help="Where its files are kept.")]


@cli.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[int, typer.Option(help="Of the API; the simulators take the next three.")] = (
        DEFAULT_PORT
    ),
    detach: Annotated[bool, typer.Option("--detach", help="Return when ready.")] = False,
    auth: Annotated[bool, typer.Option("--auth", help="Enforce IAM as AWS does.")] = False,
) -> None:
    """Start everything; stay with the functions' logs until Ctrl-C, unless detached."""
    stack = Stack(folder.resolve(), port, auth)
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    try:
        description = start(stack)
    except FAILURES as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise typer.Exit(130) from None
    _print_description(description, time.monotonic() - began)
    if detach:
        console.print("Stop it with `make stop`.")
        return
    console.print("The functions' logs follow; Ctrl-C stops everything.\n")
    try:
        for group, line in logs.follow(stack.port):
            name = group.rpartition("/")[2].removeprefix(f"{deploy.STACK_NAME}-")
            console.print(f"[cyan]{name}[/cyan] ", end="")
            console.print(line, markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop(stack.folder)
        console.print("Stopped.")


@cli.command()
def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop everything that was started in that folder."""
    stopped = stop(folder.resolve())
    console.print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@cli.command()
def status(folder: Folder = DEFAULT_FOLDER) -> None:
    """Say what runs; exit 1 if nothing does."""
    found = processes.running(folder.resolve())
    if not found:
        console.print("Not running.")
        raise typer.Exit(1)
    for name, pid in found.items():
        console.print(f"{name}: process {pid}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _print_description(description: dict[str, Any], seconds: float) -> None:
    api = description["api_url"]
    console.print(f"\n[bold]Ready[/bold] in {seconds:.0f} s.")
    for title, value in (
        ("API", api),
        ("Docs", description["docs_url"]),
        ("Live", description["realtime_url"]),
        ("Mailbox", description["mailbox_url"]),
    ):
        console.print(f"  {title:8} {value}", soft_wrap=True)
    if not description["signins"]:
        return
    console.print("\nSign in as")
    for who in description["signins"]:
        console.print(f"  {who['role']:12} {who['email']:34} {who['password']}", markup=False)
    console.print("\nTry")
    first = description["signins"][0]
    body = json.dumps({"email": first["email"], "password": first["password"]})
    for command in (
        f"curl -s {description['docs_url'].removesuffix('docs')}openapi.json",
        f"curl -s {api}/v1/auth/login -H 'Content-Type: application/json' -d '{body}'",
        f'curl -s {api}/v1/me -H "Authorization: Bearer $TOKEN"  # access_token of the above',
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    cli()
