"""The environment of every process that the local stack starts."""

import os
import platform
import sys
from pathlib import Path

REGION = "us-east-1"
HOST = "127.0.0.1"

# Settings of the developer's own that must not reach us: a real account, a real mail relay,
# modules for the functions that are not in their layers.
FOREIGN_PREFIXES = ("AWS_", "SAM_CLI_", "SMTP_", "PYTHONPATH")

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
WHEEL_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


def endpoint(port: int) -> str:
    """The address of the server on that port of this machine."""
    return f"http://{HOST}:{port}"


def aws_environment(port: int) -> dict[str, str]:
    """The environment in which every AWS call goes to the local AWS on that port.

    The developer's profile, credentials and configuration are out of reach, so that nothing
    here can touch a real account.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)
    }
    scripts = str(Path(sys.executable).parent)
    return inherited | {
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint(port),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def ministack_environment(port: int, files: Path, layers: Path, *, auth: bool) -> dict[str, str]:
    """The environment of a MiniStack that keeps everything in memory.

    ``files`` takes what it unpacks and is of no use after its end; ``layers`` takes what the
    next start can use again (local/aws/workers.py). ``auth``: whether IAM is enforced.
    """
    return aws_environment(port) | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "TMPDIR": str(files),
        "S3_DATA_DIR": str(files / "s3"),
        "LAYERS_DIR": str(layers),
        "PERSIST_STATE": "0",
        "AUTH": str(auth).lower(),
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "INFO",
    }


def architecture() -> str:
    """This machine's architecture as Lambda names it: x86_64 or arm64."""
    return ARCHITECTURES[platform.machine().lower()]


def runtime() -> str:
    """The Lambda runtime of the interpreter in use; MiniStack runs functions on it."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def wheel_settings() -> dict[str, str]:
    """Which wheels the layers' makefiles take, so that functions run on this very machine."""
    system = "apple-darwin" if sys.platform == "darwin" else "manylinux_2_28"
    return {
        "CONSULTA_PYTHON_PLATFORM": f"{WHEEL_MACHINES[architecture()]}-{system}",
        "CONSULTA_PYTHON_VERSION": runtime().removeprefix("python"),
    }
