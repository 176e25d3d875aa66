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


def _is_over(name: str, best: dict[str, float]) -> bool:
    return best[name] / best["floor"] > BARS.get(name, BAR)


def run() -> Iterable[Entry]:
    """imports.<function>: ratio to the floor."""
    _install_layer()
    folders = sorted(path.parent for path in (ROOT / "functions").glob("*/app.py"))
    best: dict[str, float] = {}
    for number in range(ROUNDS + MORE_ROUNDS):
        now = [one for one in folders if number < ROUNDS or _is_over(one.name, best)]
        if not now:
            break
        measured = {"floor": _seconds(FLOOR)}
        measured |= {folder.name: _seconds(FUNCTION, folder) for folder in now}
        best |= {name: min(took, best.get(name, took)) for name, took in measured.items()}
    for folder in folders:
        name = folder.name
        ratio = best[name] / best["floor"]
        yield Entry.at_most(f"imports.{name}", ratio, "× the floor", BARS.get(name, BAR))
