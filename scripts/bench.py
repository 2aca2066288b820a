"""Measurements: devstack beside what it is compared with, both in one run, taking turns.

    python scripts/bench.py SUITE [--json FILE] [--runs N | options of the suite]

A suite is a module in scripts/suites/ with `compare(runs, say) -> list[Comparison]`. FILE (standard output without one; all else that is
said goes to standard error then) gets one object: {"metric": {"ours": …,
"peer": …, "peer_name": …, "ratio": …, "runs": n}}, with medians in seconds. With `options(parser)` it adds options of its own in place
of --runs, which `compare` gets by name; `NEEDS` and `LIKES`, {module: requirement}, are packages that it cannot or can do without.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

import environment
from suites import Comparison

HERE = Path(__file__).resolve().parent
NEEDED = ("devstack", "django", "flower")
MADE = "DEVSTACK_BENCH_ENVIRONMENT"
"""Set in the process that runs in an environment of ours: what is missing there cannot be had."""


def main() -> None:
    suites = sorted(file.stem for file in (HERE / "suites").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description="Measure devstack beside what it is compared with.")
    commands = parser.add_subparsers(dest="suite", required=True, metavar="SUITE", help=", ".join(suites))
    modules = {name: importlib.import_module(f"suites.{name}") for name in suites}
    for name, module in modules.items():
        own = commands.add_parser(
            name, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        own.add_argument(
            "--json",
            nargs="?",
            const="-",
            metavar="FILE",
            help="write the figures there too (to standard output without FILE)",
        )
        if hasattr(module, "options"):
            module.options(own)
        else:
            own.add_argument(
                "--runs", type=int, default=7, help="of each side, not counting one to warm up (default: 7)"
            )
    chosen = vars(parser.parse_args())
    suite, json_file = modules[chosen.pop("suite")], chosen.pop("json")
    with environment.explained():
        _with_packages(getattr(suite, "NEEDS", {}), getattr(suite, "LIKES", {}))
        with redirect_stdout(sys.stderr if json_file == "-" else sys.stdout):
            found: list[Comparison] = suite.compare(say=_say, **chosen)
            for each in found:
                print(f"\n{each.table()}")
        document = json.dumps({each.metric: each.figures() for each in found}, indent=2)
        if json_file == "-":
            print(document)
        elif json_file:
            Path(json_file).write_text(document + "\n", "utf-8")


def _with_packages(needs: dict[str, str], likes: dict[str, str]) -> None:
    """Go on in an environment that has them, unless this one does."""
    missing = [name for name in (*NEEDED, *needs, *likes) if importlib.util.find_spec(name) is None]
    if not missing or os.environ.get(MADE):
        return
    where = ".venv-bench" if needs or likes else ".venv"
    try:
        python = environment.ready(where, [".[demo]", *needs.values(), *likes.values()])
    except environment.Failed as error:
        if not likes:
            raise
        print(f"{error}\ngoing on without {', '.join(likes.values())}")
        python = environment.ready(where, [".[demo]", *needs.values()])
    os.environ[MADE] = "1"
    environment.become([python, str(Path(__file__).resolve()), *sys.argv[1:]])


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
