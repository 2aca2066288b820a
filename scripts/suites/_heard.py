"""From the start of a launcher to the moment when trivial processes have been heard: devstack and honcho, turn about.

Rule 1: both run the same Procfile, with their output in a pipe that is read at once; the clock stops at the line of the last process.
Rule 2: what they have compiled is kept: nobody starts fast otherwise. One run of each is not counted.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from suites import Comparison, Race

BIN = Path(sys.executable).parent
COMMANDS = {"devstack": ["devstack", "up"], "honcho": ["honcho", "start"]}
COUNTS = {"first_byte_vs_honcho": 1, "hundred_heard_vs_honcho": 100}
AT_LEAST = 31
"""Runs: one takes a tenth of a second, and the machine's own noise is larger than the difference."""
WITHIN = 60.0


def compare(place: Path, runs: int, say: Callable[[str], None]) -> list[Comparison]:
    found: list[Comparison] = []
    for metric, count in COUNTS.items():
        directory = place / metric
        directory.mkdir()
        lines = [f"p{number}: echo heard-{number} && exec sleep 600\n" for number in range(count)]
        (directory / "Procfile").write_text("".join(lines))
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for run in range(max(runs, AT_LEAST) + 1):
            for name in list(COMMANDS)[:: 1 if run % 2 else -1]:
                took = _heard(name, directory, count)
                if run:
                    times[name].append(took)
        what = f"seconds until {f'all of {count} trivial processes' if count > 1 else 'a trivial process'} can be heard"
        found.append(Race(metric, what, times["devstack"], times["honcho"], "honcho"))
        say(", ".join(f"{metric}: {name} {median(each):.3f} s" for name, each in times.items()))
    return found


def _heard(name: str, directory: Path, count: int) -> float:
    theirs = ("DEVSTACK", "PORT")
    env = {k: v for k, v in os.environ.items() if not k.startswith(theirs) and k != "PYTHONDONTWRITEBYTECODE"}
    program, *words = COMMANDS[name]
    began = time.monotonic()
    process = subprocess.Popen(
        [str(BIN / program), *words],
        cwd=directory,
        env=env | {"DEVSTACK_STATE_DIR": str(directory.parent / "state")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return _until_all_are_heard(process, count) - began
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Its output is read, or it could not end.
            process.communicate(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_all_are_heard(process: subprocess.Popen[bytes], count: int) -> float:
    """When that was (monotonic)."""
    assert process.stdout
    seen, end = b"", time.monotonic() + WITHIN
    while chunk := os.read(process.stdout.fileno(), 65536):
        now = time.monotonic()
        seen += chunk
        # honcho names a process's command, so what is printed has to stand alone behind the prefix.
        if len(set(re.findall(rb"\| (heard-\d+)\s*$", seen, re.MULTILINE))) == count:
            return now
        if now > end:
            break
    raise OSError(
        f"{process.args!r}: not all of {count} processes were heard:\n{seen.decode(errors='replace')[-2000:]}"
    )
