"""Cold starts: each function's import time over the floor's.

The floor is what no API function can do without: the resolver with validation and the DynamoDB
client. Rounds are interleaved and the quickest of each counts, since a machine is never faster than
it is; the processor's time, since a neighbour's work is in the clock's.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.entry import Entry

ROOT = Path(__file__).resolve().parents[1]
# More rounds for what is over its bar: a neighbour's noise only ever adds to the quickest, so what
# is over after all of them is over.
ROUNDS, MORE_ROUNDS = 4, 20
# A provider waits for a webhook's answer, and sends it again where it comes too late.
BARS = {"dashboard": 1.15, "mercadopago_webhook": 1.2, "stripe_webhook": 1.2}
BAR = 1.5
FLOOR = """
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
APIGatewayHttpResolver(enable_validation=True)
import boto3
boto3.client("dynamodb")
"""
FUNCTION = "import app\nfrom consulta.core import aws\naws.client('dynamodb')"
TIMED = "import time; began = time.process_time()\n{code}\nprint(time.process_time() - began)"
LAYER = ROOT / ".local" / "bench-layer"
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "POWERTOOLS_SERVICE_NAME": "consulta",
    "POWERTOOLS_METRICS_NAMESPACE": "Consulta",
    "PATH": os.defpath,
}


def _install_layer() -> None:
    """What a function really has: the developer's packages change what botocore imports."""
    requirements = ROOT / "requirements" / "layer.txt"
    stamp = LAYER / ".stamp"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)]
    subprocess.run([*command, "--target", str(LAYER), "--python", sys.executable], check=True)
    stamp.write_text(requirements.read_text())


def _seconds(code: str, folder: Path | None = None) -> float:
    path = [str(LAYER), str(ROOT / "layers" / "consulta"), *([str(folder)] if folder else [])]
    result = subprocess.run(
        [sys.executable, "-S", "-c", TIMED.format(code=code)],
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout.splitlines()[-1])


def ratios(names: Iterable[str], rounds: int = ROUNDS) -> dict[str, float]:
    """Functions' import times over the floor's; more rounds for those over their bars.

    In a few rounds the floor's quickest may have been disturbed, too, and the ratio come out too
    low: what is near its bar wants more ``rounds`` from the start.
    """
    _install_layer()
    folders = {name: ROOT / "functions" / name for name in names}
    best: dict[str, float] = {}
    for number in range(rounds + MORE_ROUNDS):
        over = [n for n in folders if n not in best or best[n] / best["floor"] > bar_of(n)]
        wanted = list(folders) if number < rounds else over
        if not wanted:
            break
        measured = {"floor": _seconds(FLOOR)}
        measured |= {name: _seconds(FUNCTION, folders[name]) for name in wanted}
        best |= {name: min(took, best.get(name, took)) for name, took in measured.items()}
    return {name: best[name] / best["floor"] for name in folders}


def bar_of(name: str) -> float:
    """The highest ratio that is ok."""
    return BARS.get(name, BAR)


def run() -> Iterable[Entry]:
    """imports.<function>: ratio to the floor."""
    names = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    for name, ratio in ratios(names).items():
        yield Entry.at_most(f"imports.{name}", ratio, "× the floor", bar_of(name))
