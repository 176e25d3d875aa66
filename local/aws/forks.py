"""Workers that start in a moment: forked from a process that has the packages imported already.

``serve`` is that process, one for each set of layers. What MiniStack starts as a worker is
``hand_over``: it gives its pipes, environment and script to the server, and lives as long as the
worker does, so that whoever waits for it or kills it means the worker.

Standard library only: both run on the interpreter below the virtual environment.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path

SOCKET = "_FORK_SOCKET"
# Third-party alone: our own modules see each function's environment when they are imported.
PRELOADED = (
    "aws_lambda_powertools.event_handler.openapi.params",
    "aws_lambda_powertools.metrics",
    "boto3.dynamodb.types",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "email_validator",
    "jwt",
    "pynamodb.models",
)


def hand_over() -> None:
    """Have a worker forked with this process's pipes, and wait until it ends."""
    request = {"environment": dict(os.environ), "folder": str(Path.cwd()), "script": sys.argv[1]}
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[SOCKET])
        socket.send_fds(server, [len(content).to_bytes(4)], [0, 1, 2])
        server.sendall(content)
        # From now on the pipes end with the worker.
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        server.recv(1)


def serve(address: str, layers: list[str]) -> None:
    """Fork a worker for each request, until standard input ends."""
    usual_path = list(sys.path)
    sys.path[:0] = [str(Path(layer) / "python") for layer in layers]
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # a layer need not have them all
            importlib.import_module(name)
    sys.path[:] = usual_path
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: no zombies
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _become_worker(client)
            client.close()


def _become_worker(client: socket.socket) -> None:
    head, pipes, _, _ = socket.recv_fds(client, 4, 3)
    content = b""
    while len(content) < int.from_bytes(head):
        content += client.recv(65_536)
    request = json.loads(content)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # as long as the process
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    del os.environ[SOCKET]
    os.chdir(request["folder"])
    sys.argv = [request["script"]]
    random.seed()  # or all workers would draw the same numbers
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    try:
        runpy.run_path(request["script"], run_name="__main__")
    finally:
        os._exit(0)


def _end_with(client: socket.socket) -> None:
    """Whoever kills the process that handed over kills the worker."""
    client.recv(1)
    os._exit(137)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3:])
    else:
        hand_over()
