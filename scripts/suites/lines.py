"""How long a line takes from the process that prints it to who reads devstack's output: with log files, without them, and with honcho.

4 processes print so many lines a second in all, each line in a write of its own, in ticks of 10 ms, for 2 s. Two delays are told: half of
all lines came sooner than the one, 99 in 100 sooner than the other (`p99`).

Rule 1: all contenders are up at once, their children wait at a FIFO each; one after the other is let go, in an order that turns.
Rule 2: honcho is left out where it does not keep up.
Rule 3: devstack without log files is there twice: what lies between those two (`control`) is the machine's, not ours.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from suites import Comparison, Race
from suites.output import WITHIN, running

NEEDS = {"honcho": "honcho"}
COUNT, TICK, SECONDS = 4, 0.01, 2.0
OFF, AGAIN = "devstack without logs", "devstack without logs again"
SIDES = ("devstack", OFF, AGAIN, "honcho")
RATES = {2_000: SIDES, 20_000: SIDES, 200_000: SIDES[:3]}
CHILD = f"""
import os, time
gate, text = os.open("gate@", os.O_RDWR), b"x" * 70
print("@up ~", flush=True)
while rate := int(os.read(gate, 100)):
    began = time.monotonic()
    for tick in range({SECONDS / TICK:.0f}):
        time.sleep(max(0, began + tick * {TICK} - time.monotonic()))
        for _ in range(int(rate * {TICK})):
            os.write(1, b"@%d %s\\n" % (time.monotonic_ns(), text))
    os.write(1, b"@end ~\\n")
"""


class Delays(Race):
    unit = "ms"


def compare(runs: int, say: Callable[[str], None]) -> list[Comparison]:
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="devstack-bench-") as place, contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(up(Path(place) / name.replace(" ", "-"), name)) for name in SIDES}
        for rate, names in RATES.items():
            middle: dict[str, list[float]] = {name: [] for name in names}
            late: dict[str, list[float]] = {name: [] for name in names}
            for run in range(runs + 1):
                for name in (*names[run % len(names) :], *names[: run % len(names)]):
                    delays = sorted(delays_of(*sides[name], rate))
                    if run:
                        middle[name].append(delays[len(delays) // 2])
                        late[name].append(delays[len(delays) * 99 // 100])
                said = ", ".join(f"{name} {middle[name][-1]:.2f} and {late[name][-1]:.2f} ms" for name in names if run)
                say(f"{rate} lines a second: {f'run {run}: {said}' if run else 'warm-up'}")
            for metric, part, times in (("", "half", middle), ("_p99", "99 in 100", late)):
                what = f"milliseconds within which {part} of {rate} lines a second have come"
                ours, off = times["devstack"], times[OFF]
                found.append(Delays(f"lines{rate}{metric}_vs_no_logs", what, ours, off, OFF))
                found.append(Delays(f"lines{rate}{metric}_control", f"{what}, {OFF}", times[AGAIN], off, OFF))
                if "honcho" in names:
                    found.append(Delays(f"lines{rate}{metric}_vs_honcho", what, ours, times["honcho"], "honcho"))
    return found


@contextlib.contextmanager
def up(place: Path, name: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A contender whose children wait."""
    place.mkdir()
    for n in range(COUNT):
        os.mkfifo(place / f"gate{n}")
        (place / f"child{n}.py").write_text(CHILD.replace("gate@", f"gate{n}"))
    (place / "Procfile").write_text("".join(f"p{n}: {shlex.quote(sys.executable)} child{n}.py\n" for n in range(COUNT)))
    with running(place, name.removesuffix(" again")) as (process, _):
        until_marks(process)
        yield place, process


def delays_of(place: Path, process: subprocess.Popen[bytes], rate: int) -> list[float]:
    """Of each line, in milliseconds. OSError when one is missing."""
    for n in range(COUNT):
        gate = os.open(place / f"gate{n}", os.O_WRONLY)
        os.write(gate, b"%d" % (rate // COUNT))
        os.close(gate)
    came: list[tuple[float, bytes]] = []
    until_marks(process, lambda chunk: came.append((time.monotonic_ns(), chunk)))
    found, rest = [], b""
    for moment, chunk in came:
        *lines, rest = (rest + chunk).split(b"\n")
        found += [
            (moment - int(words[0])) / 1e6
            for line in lines
            if (words := line.partition(b"@")[2].split()) and words[0].isdigit()
        ]
    if len(found) != int(rate // COUNT * TICK) * COUNT * round(SECONDS / TICK):
        raise OSError(f"{len(found)} lines came of {rate * SECONDS:.0f}")
    return found


def until_marks(process: subprocess.Popen[bytes], take: Callable[[bytes], None] = lambda chunk: None) -> None:
    """Read until each child has printed its `~`. OSError when that takes too long."""
    assert process.stdout
    marks, end = COUNT, time.monotonic() + WITHIN
    while marks > 0:
        if not select.select([process.stdout], [], [], max(0, end - time.monotonic()))[0]:
            raise OSError(f"no end within {WITHIN:.0f} s")
        chunk = os.read(process.stdout.fileno(), 1 << 20)
        if not chunk:
            raise OSError("it has ended")
        take(chunk)
        marks -= chunk.count(b"~")
