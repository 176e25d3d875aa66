"""Lambda worker processes: what they wait for, unpack and can import."""

import hashlib
import io
import os
import shutil
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

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
        worker.config = config | {
            "Layers": [],
            "Environment": {
                "Variables": variables | {"_LAMBDA_LAYERS_DIRS": os.pathsep.join(folders)}
            },
        }
        try:
            spawn(worker)
        finally:
            worker.config = config

    lambda_runtime.Worker._spawn = spawn_with_shared_layers


def hide_the_virtual_environment() -> None:
    """Gap: a function can import whatever the developer has installed.

    A dependency that is missing from the layers would be noticed on AWS only. Workers run on
    the interpreter below the virtual environment, which has nothing but the standard library.
    """
    detect = lambda_runtime._detect_runtime_binary

    def detect_below_the_environment(runtime: str) -> tuple[str, str]:
        binary, script = detect(runtime)
        return (sys._base_executable if binary == sys.executable else binary), script

    lambda_runtime._detect_runtime_binary = detect_below_the_environment


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
