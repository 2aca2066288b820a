"""Measurements: devstack beside what it is compared with, both in one run, taking turns.

    python scripts/bench.py SUITE [--json FILE] [--runs N]

A suite is a module in scripts/suites/ with `compare(runs, say) -> list[Comparison]`. FILE gets one object: {"metric": {"ours": …,
"peer": …, "peer_name": …, "ratio": …, "runs": n}}, with medians in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import environment
from suites import Comparison

HERE = Path(__file__).resolve().parent
NEEDED = ("devstack", "django", "flower")


def main() -> None:
    suites = sorted(file.stem for file in (HERE / "suites").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description="Measure devstack beside what it is compared with.")
    parser.add_argument("suite", choices=suites)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--runs", type=int, default=7, help="of each side, not counting one to warm up (default: 7)")
    chosen = parser.parse_args()
    with environment.explained():
        if any(importlib.util.find_spec(name) is None for name in NEEDED):
            python = environment.ready(".venv", [".[demo]"])
            environment.become([python, str(Path(__file__).resolve()), *sys.argv[1:]])
        found: list[Comparison] = importlib.import_module(f"suites.{chosen.suite}").compare(chosen.runs, print)
        for each in found:
            print(f"\n{each.table()}")
        if chosen.json:
            document = {each.metric: each.figures() for each in found}
            chosen.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
