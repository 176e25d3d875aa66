"""``sam build`` and ``sam deploy`` of the template into the local AWS."""

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from local.environment import REGION, aws_environment, endpoint, wheel_settings

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".local" / "build"
STACK_NAME = "consulta-local"
OPENAPI = ROOT / "functions" / "docs" / "openapi.json"
SOURCES = ("template.yaml", "samconfig.toml", "functions", "layers", "requirements", "tools")
CONFIGURATION = ("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local")


class DeployFailedError(RuntimeError):
    """The build or the deployment failed; the text is one sentence with the reason."""


@contextmanager
def build_lock() -> Iterator[None]:
    """Held while the build is written or deployed: stacks in several folders share one build."""
    BUILD.parent.mkdir(exist_ok=True)
    with (BUILD.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(parameters: Mapping[str, str], log: Path) -> bool:
    """Run ``sam build`` unless its sources are as they were last time; True if it ran.

    Raises DeployFailedError.
    """
    stamp = BUILD.parent / "build.sha256"
    settings = wheel_settings() | {name: parameters[name] for name in ("Runtime", "Architecture")}
    digest = _digest(settings)
    if stamp.exists() and stamp.read_text() == digest:
        return False
    stamp.unlink(missing_ok=True)
    _openapi(log)
    command = ["sam", "build", "--template-file", "template.yaml", "--build-dir", str(BUILD)]
    # A cache of its own: these wheels are this machine's, which need not be Lambda's.
    command += ["--cache-dir", str(BUILD.parent / "cache"), *CONFIGURATION]
    output = _run([*command, *_overrides(parameters)], log, _sam_environment(0) | settings)
    if output is not None:
        raise DeployFailedError(f"sam build failed: {_last_error(output)} (all of it: {log})")
    _pack_layers()
    stamp.write_text(digest)
    return True


def deploy(port: int, parameters: Mapping[str, str], log: Path) -> dict[str, str]:
    """Run ``sam deploy`` of the build against the local AWS; return the stack's outputs.

    Raises DeployFailedError with CloudFormation's own reason.
    """
    command = ["sam", "deploy", "--template-file", str(BUILD / "template.yaml")]
    command += ["--stack-name", STACK_NAME, "--region", REGION, *CONFIGURATION]
    output = _run([*command, *_overrides(parameters)], log, _sam_environment(port))
    cloudformation = boto3.client("cloudformation", endpoint_url=endpoint(port))
    if output is not None:
        reason = _cloudformation_reason(cloudformation) or _last_error(output)
        raise DeployFailedError(f"sam deploy failed: {reason} (all of it: {log})")
    stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}


def _pack_layers() -> None:
    """Zip each layer once a build; ``sam deploy`` would at every start, which takes seconds."""
    template = BUILD / "template.yaml"
    text = template.read_text()
    for layer in re.findall(r"ContentUri: (\w+)$", text, re.MULTILINE):
        shutil.make_archive(str(BUILD / layer), "zip", BUILD / layer)
        text = text.replace(f"ContentUri: {layer}\n", f"ContentUri: {layer}.zip\n")
    template.write_text(text)


def _openapi(log: Path) -> None:
    """Write the API's description, which the docs function carries, from the code."""
    project = {"PYTHONPATH": str(ROOT / "layers" / "consulta")}
    command = [sys.executable, str(ROOT / "tools" / "openapi.py")]
    output = _run(command, log, aws_environment(0) | project)
    if output is not None:
        raise DeployFailedError(f"make openapi failed: {_last_error(output)} (all of it: {log})")


def _run(command: list[str], log: Path, environment: Mapping[str, str]) -> str | None:
    """Run it with its output appended to the log; return the output if it failed."""
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with log.open("a") as file:
        file.write(result.stdout)
    return None if result.returncode == 0 else result.stdout


def _sam_environment(port: int) -> dict[str, str]:
    """SAM without telemetry, and without its weekly question to the internet for a newer SAM."""
    settings = ROOT / ".local" / "sam"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
    return aws_environment(port) | {
        "__SAM_CLI_APP_DIR": str(settings),
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS": "1",
        "SAM_CLI_POLL_DELAY": "0.1",
    }


def _overrides(parameters: Mapping[str, str]) -> list[str]:
    pairs = [f"ParameterKey={name},ParameterValue={value}" for name, value in parameters.items()]
    return ["--parameter-overrides", *pairs]


def _digest(settings: Mapping[str, str]) -> str:
    """A hash over the names and contents of everything that the build is made from."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for source in SOURCES:
        path = ROOT / source
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts and file != OPENAPI:
                digest.update(f"{file.relative_to(ROOT)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _cloudformation_reason(cloudformation: Any) -> str | None:
    """The reason of the first resource that failed; None when no stack was begun."""
    try:
        pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=STACK_NAME)
        events = [event for page in pages for event in page["StackEvents"]]
    except cloudformation.exceptions.ClientError:
        return None
    for event in reversed(events):
        if event["ResourceStatus"].endswith("_FAILED") and event.get("ResourceStatusReason"):
            return f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}"
    return None


def _last_error(output: str) -> str:
    """SAM's own last error line, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error:")]
    return (errors or lines or ["it said nothing"])[-1]
