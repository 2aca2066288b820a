"""`devstack ps` of a stack of 50 processes, against `python -c 'import click, socket'`: what a Python tool that talks to a socket costs
before it does anything. Turn about in the same run, each a process of its own, from its start to its end.

Then how long it takes until a hundred questions, twenty at a time, are answered while a process floods its log: the slowest of each run,
beside the two seconds that a person puts up with.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from suites import Comparison

PROCESSES = 50
CLIENTS, QUESTIONS = 20, 100
PUT_UP_WITH = 2.0
PEER = "import click, socket"
SLEEPS = f'{sys.executable} -c "import time; time.sleep(3600)"'
FLOODS = f"{sys.executable} -uc \"import sys; [sys.stdout.write('x' * 200 + chr(10)) for _ in iter(int, 1)]\""


def compare(runs: int, say: Callable[[str], None]) -> list[Comparison]:
    with tempfile.TemporaryDirectory(prefix="devstack-bench-") as place:
        with _stack(Path(place, "fifty"), {f"p{n}": SLEEPS for n in range(PROCESSES)}) as (directory, env):
            found = [_ps(directory, env, runs, say)]
        with _stack(Path(place, "flood"), {"web": FLOODS, "worker": SLEEPS}) as (directory, env):
            found.append(_answers(directory, env, runs, say))
    return found


def _ps(directory: Path, env: dict[str, str], runs: int, say: Callable[[str], None]) -> Comparison:
    ours: list[float] = []
    peer: list[float] = []
    commands = {"ours": [str(Path(sys.executable).with_name("devstack")), "ps"], "peer": [sys.executable, "-c", PEER]}
    for run in range(3 * runs + 1):
        for side in ("ours", "peer") if run % 2 else ("peer", "ours"):
            began = time.perf_counter()
            done = subprocess.run(commands[side], cwd=directory, env=env, stdout=subprocess.PIPE, check=True)
            took = time.perf_counter() - began
            assert side == "peer" or done.stdout.count(b" ready ") == PROCESSES, done.stdout.decode()
            if run:
                (ours if side == "ours" else peer).append(took)
    say(f"{3 * runs} runs of each side, {PROCESSES} processes")
    return Comparison("ps_vs_click", f"seconds of devstack ps, {PROCESSES} processes", ours, peer, PEER)


def _answers(directory: Path, env: dict[str, str], runs: int, say: Callable[[str], None]) -> Comparison:
    from devstack.config import dirs
    from devstack.control import client

    runtime = dirs.state(str(directory), env)[1]
    slowest: list[float] = []
    for _ in range(runs):
        times: list[float] = []

        def drive(times: list[float] = times) -> None:
            for _ in range(QUESTIONS // CLIENTS):
                began = time.perf_counter()
                client.one(runtime, "ps")
                times.append(time.perf_counter() - began)

        drivers = [threading.Thread(target=drive) for _ in range(CLIENTS)]
        for each in drivers:
            each.start()
        for each in drivers:
            each.join()
        slowest.append(max(times))
    say(f"{runs} runs of {QUESTIONS} questions, {CLIENTS} at a time, beside a flood")
    what = f"seconds of the slowest of {QUESTIONS} answers beside a flood"
    return Comparison("answer_vs_patience", what, slowest, [PUT_UP_WITH] * runs, "put up with")


@contextlib.contextmanager
def _stack(place: Path, lines: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    directory = Path(os.path.realpath(place))
    directory.mkdir(parents=True)
    (directory / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in lines.items()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DEVSTACK", "PORT"))}
    # Compiled files are used and written, as on any machine.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    env = {**kept, "DEVSTACK_STATE_DIR": f"{directory}.state"}
    devstack = str(Path(sys.executable).with_name("devstack"))
    subprocess.run([devstack, "up", "-d"], cwd=directory, env=env, check=True, capture_output=True)
    try:
        yield directory, env
    finally:
        subprocess.run([devstack, "down", "--force"], cwd=directory, env=env, capture_output=True)
