"""``make bench``: ratios and counts measured in one run, never times to be compared across runs.

Prints a table and writes benchmarks/latest.json, a list of {name, value, unit, bar, ok}. Exits with
1 if any entry is not ok. ``make bench ONLY=imports`` runs the groups whose names begin so
(docs/benchmarks.md).
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import dashboards, identity, imports, lag, limits, money, scheduling
from benchmarks.entry import Entry

GROUPS = {
    "imports": imports.run,
    "dashboards": dashboards.run,
    "scheduling": scheduling.run,
    "identity": identity.run,
    "identity_limiter": limits.run,
    "money": money.run,
    "lag": lag.run,
}
LATEST = Path(__file__).parent / "latest.json"


def _print(entry: Entry) -> None:
    # Some bars are the lowest that is ok.
    sign = "≤" if entry.ok == (entry.value <= (entry.bar or 0)) else "≥"
    bar = f"{sign} {entry.bar:g}" if entry.bar is not None else "-"
    mark = "ok" if entry.ok else "NOT OK"
    print(f"{entry.name:<36}  {entry.value:>9.3f}  {bar:>8}  {mark:<6}  {entry.unit}", flush=True)


def main(only: str) -> int:
    """Run the groups that ``only`` selects."""
    wanted = only.partition(".")[0]
    groups = {name: run for name, run in GROUPS.items() if name.startswith(wanted)}
    if not groups:
        print(f"There is no group {only}: choose of {', '.join(GROUPS)}")
        return 2
    entries: list[Entry] = []
    for run in groups.values():
        for entry in run():
            if entry.name.startswith(only):
                entries.append(entry)
                _print(entry)
    LATEST.write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")
    return 0 if all(entry.ok for entry in entries) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
