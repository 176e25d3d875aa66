"""Cold starts: each function's import time over the floor's.

The floor is what no API function can do without: the resolver with validation and the DynamoDB
client. Each round measures a function and the floor one after the other, and the median of the
rounds' ratios counts: a machine that is shared changes its pace, and does so for both. It is the
processor's time, since a neighbour's work is in the clock's.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from benchmarks.entry import Entry

ROOT = Path(__file__).resolve().parents[1]
# More rounds for what is near its bar, or over it.
ROUNDS, MORE_ROUNDS, NEAR = 3, 20, 0.9
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
    """Functions' import times over the floor's; from more rounds for those near their bars."""
    _install_layer()
    found = {}
    for name in names:
        rates = _rates(name, rounds)
        if median(rates) > NEAR * bar_of(name):
            rates += _rates(name, MORE_ROUNDS)
        found[name] = median(rates)
    return found


def _rates(name: str, rounds: int) -> list[float]:
    folder = ROOT / "functions" / name
    return [_seconds(FUNCTION, folder) / _seconds(FLOOR) for _ in range(rounds)]


def bar_of(name: str) -> float:
    """The highest ratio that is ok."""
    return BARS.get(name, BAR)


def run() -> Iterable[Entry]:
    """imports.<function>: ratio to the floor."""
    names = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))
    for name, ratio in ratios(names).items():
        yield Entry.at_most(f"imports.{name}", ratio, "× the floor", bar_of(name))
