"""Lambda worker processes: what they wait for, unpack and can import."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

from local.aws import forks

# Two layers each for a few stacks that run side by side, or for going back to the last build.
KEPT_LAYERS = 8

_extracting = threading.Lock()


def do_not_wait_for_silent_functions() -> None:
    """Gap: an invocation that logs nothing waits 50 ms for a line that does not come.

    4 ms for the first line are enough: it was written before the answer was.
    """
    first_line_wait, idle_confirm, hard_cap = 0.004, 0.002, 0.250
    lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (
        first_line_wait,
        idle_confirm,
        hard_cap,
    )


def extract_each_layer_once() -> None:
    """Gap: every cold start unpacks every layer again and compiles each module that it imports.

    Our layers hold thousands of files. All workers share one copy per layer content, whose
    compiled modules stay with it, in the folder that the environment names as LAYERS_DIR.
    MiniStack tells a worker its layers' folders in a variable of its own.
    """
    spawn = lambda_runtime.Worker._spawn

    def spawn_with_shared_layers(worker: lambda_runtime.Worker) -> None:
        config = worker.config
        folders = [str(_extracted(layer)) for layer in config.get("Layers", [])]
        variables = config.get("Environment", {}).get("Variables", {})
        ours = {
            "_LAMBDA_LAYERS_DIRS": os.pathsep.join(folders),
            forks.SOCKET: _fork_server(tuple(folders)),
        }
        worker.config = config | {"Layers": [], "Environment": {"Variables": variables | ours}}
        try:
            spawn(worker)
        finally:
            worker.config = config

    lambda_runtime.Worker._spawn = spawn_with_shared_layers


def fork_workers_below_the_environment() -> None:
    """Gap: a function can import whatever the developer has installed, and takes a second to start.

    A dependency that is missing from the layers would be noticed on AWS only. Workers run on
    the interpreter below the virtual environment, which has nothing but the standard library, and
    are forked from a process that has the layers' packages imported (forks.py).
    """
    detect = lambda_runtime._detect_runtime_binary
    launcher = Path(tempfile.mkdtemp(prefix="worker-")) / "worker"
    launcher.write_text(
        f"#!{sys._base_executable} -IS\n"
        f"import runpy\nrunpy.run_path({forks.__file__!r}, run_name='__main__')\n"
    )
    launcher.chmod(0o700)

    def detect_below_the_environment(runtime: str) -> tuple[str, str]:
        binary, script = detect(runtime)
        return (str(launcher) if binary == sys.executable else binary), script

    lambda_runtime._detect_runtime_binary = detect_below_the_environment


_starting = threading.Lock()
_fork_servers: dict[tuple[str, ...], tuple[str, subprocess.Popen[str]]] = {}


def _fork_server(layers: tuple[str, ...]) -> str:
    """The address of the process from which workers with these layers are forked."""
    with _starting:
        if layers not in _fork_servers:
            address = str(Path(tempfile.mkdtemp(prefix="forks-")) / "socket")
            # It ends when its standard input does: with MiniStack, however that ends.
            server = subprocess.Popen(
                [sys._base_executable, "-I", forks.__file__, "serve", address, *layers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            if not server.stdout or server.stdout.readline() != "ready\n":
                raise RuntimeError("The process that forks workers did not start.")
            _fork_servers[layers] = address, server
        return _fork_servers[layers][0]


def _extracted(layer: str | dict[str, Any]) -> Path:
    """The folder with the layer's content, unpacked on first use; named by the content's hash.

    LAYERS_DIR may outlive MiniStack; the layers that were used longest ago are deleted.
    """
    content = lambda_svc._resolve_layer_zip(layer)
    if not content:
        raise RuntimeError(f"The layer {layer} has no content.")
    cache = Path(os.environ["LAYERS_DIR"])
    folder = cache / hashlib.sha256(content).hexdigest()
    with _extracting:
        if not folder.exists():
            unpacking = Path(tempfile.mkdtemp(dir=cache))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(unpacking)
            unpacking.rename(folder)
        os.utime(folder)
        by_use = sorted(cache.iterdir(), key=lambda other: other.stat().st_mtime, reverse=True)
        for unused in by_use[KEPT_LAYERS:]:
            shutil.rmtree(unused)
    return folder
