"""What devstack costs between a process and the terminal: merging, memory in a burst, idling, stopping; honcho and `cat` beside it.

    merge    a million lines of 100 bytes from N processes at once, until the last line of each has come out; per million lines
    logs     the same with and without devstack's log files
    burst    the largest memory of devstack itself while 4 processes print 50 MB
    idle     10 processes that do nothing: wake-ups and CPU time of devstack and its guardians, and their memory
    stop     from SIGINT until nobody is left, 10 and 100 processes that leave at once

Rule 1: all contenders are up at once, their children wait at a FIFO each; one after the other is let go, in an order that turns.
Rule 2: devstack writes its log files, as it does by default. `cat` is one `cat` a process into one pipe: no prefix, and it may cut lines.
Rule 3: honcho runs on fewer lines (LINES), and its time is scaled to a million: it takes half a minute for those.
Rule 4: one round of each is not counted, in which every line of devstack is looked at: whole, once, in order.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from suites import Comparison, Race

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"honcho": "honcho"}
BIN = Path(sys.executable).parent
MILLION = 1_000_000
LINES = {"devstack": MILLION, "devstack without logs": MILLION, "cat": MILLION, "honcho": 20_000}
COUNTS = (1, 4, 16, 50)
WITHIN = 120.0
IDLE_FOR = 10.0
MARK = "DEVSTACK_BENCH_MARK"
SILENT = (
    "from devstack.runtime.logs import Logs; Logs.write = lambda *_: None; from devstack.__main__ import main; main()"
)
"""devstack without its log files: there is no such option."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=7, help="of each side, not counting one to warm up (default: 7)")
    parser.add_argument("--only", action="append", choices=("merge", "burst", "idle", "stop"), help="may be repeated")


@dataclass(frozen=True)
class Figure:
    """One number of ours, and how much it may be."""

    metric: str
    what: str
    ours: list[float]
    unit: str
    limit: float
    more: dict[str, float] = field(default_factory=dict)

    def figures(self) -> dict[str, float | str | int]:
        return {
            "ours": round(median(self.ours), 4),
            "unit": self.unit,
            "limit": self.limit,
            "runs": len(self.ours),
            **self.more,
        }

    def table(self) -> str:
        more = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in self.more.items())
        good = "within" if median(self.ours) < self.limit else "OVER"
        return (
            f"{self.metric}: {self.what}\n{median(self.ours):.3f} {self.unit}{more}: {good} the limit of {self.limit:g}"
        )


def compare(say: Callable[[str], None], runs: int = 7, only: list[str] | None = None) -> list[Comparison | Figure]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    found: list[Comparison | Figure] = []
    with tempfile.TemporaryDirectory(prefix="devstack-bench-") as place:
        ground = Path(place)
        if not only or "merge" in only:
            for count in COUNTS:
                found += merge(ground / f"merge{count}", count, runs, say)
        if not only or "burst" in only:
            found.append(burst(ground / "burst", runs, say))
        if not only or "idle" in only:
            found += idle(ground / "idle", say)
        if not only or "stop" in only:
            for count, limit in ((10, 0.1), (100, 0.3)):
                found += stop(ground / f"stop{count}", count, limit, runs, say)
    return found


# ---- merging


def merge(place: Path, count: int, runs: int, say: Callable[[str], None]) -> list[Comparison | Figure]:
    times: dict[str, list[float]] = {name: [] for name in LINES}
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(Side.up(place / name.replace(" ", "-"), name, count)) for name in LINES}
        for run in range(runs + 1):
            order = list(LINES)
            order = order[run % len(order) :] + order[: run % len(order)]
            for name in order:
                took = sides[name].round(LINES[name], look=not run and name.startswith("devstack"))
                if run:
                    times[name].append(took * MILLION / LINES[name])
            said = ", ".join(f"{name} {values[-1]:.2f} s" for name, values in times.items() if values)
            say(f"merge{count} {f'run {run}: {said}' if run else 'warm-up'}")
    what = f"seconds for a million lines from {count} process{'es' * (count > 1)}"
    scaled = f"honcho: scaled from {LINES['honcho']} lines"
    bare = "without prefixes, and lines may be cut"
    off = "devstack without log files"
    ours = times["devstack"]
    return [
        Race(f"merge{count}_vs_honcho", what, ours, times["honcho"], "honcho", scaled),
        Race(f"merge{count}_vs_cat", what, ours, times["cat"], "cat", bare),
        Race(f"merge{count}_vs_no_logs", what, ours, times["devstack without logs"], off),
    ]


class Side:
    """One contender with its children, which wait at their FIFOs for the name of a file to print."""

    def __init__(self, place: Path, name: str, count: int, process: subprocess.Popen[bytes], mark: str) -> None:
        self.place = place
        self.name = name
        self.count = count
        self.process = process
        self.mark = mark
        assert process.stdout
        self._reading = process.stdout.fileno()

    @classmethod
    @contextlib.contextmanager
    def up(cls, place: Path, name: str, count: int) -> Iterator[Side]:
        place.mkdir(parents=True)
        rows, alone = [], []
        for n in range(count):
            os.mkfifo(place / f"gate{n}")
            text = f'echo "@up ~"\nexec 9<>gate{n}\nwhile read -r file <&9; do cat "$file"; done\n'
            (place / f"child{n}.sh").write_text(text)
            rows.append(f"p{n}: exec sh child{n}.sh\n")
            alone.append(f"sh child{n}.sh | cat &\n")
        (place / "Procfile").write_text("".join(rows))
        (place / "cat.sh").write_text("".join(alone) + "wait\n")
        with running(place, name) as (process, mark):
            side = cls(place, name, count, process, mark)
            side._until(count, look=False)
            yield side

    def round(self, lines: int, look: bool) -> float:
        """Seconds from letting everybody go to the last line of the last one."""
        each = lines // self.count
        files = [data(self.place.parent, n, each) for n in range(self.count)]
        gates = [os.open(self.place / f"gate{n}", os.O_WRONLY) for n in range(self.count)]
        began = time.monotonic()
        for gate, file in zip(gates, files, strict=True):
            os.write(gate, f"{file}\n".encode())
        text = self._until(self.count, look)
        took = time.monotonic() - began
        for gate in gates:
            os.close(gate)
        if look:
            self._check(text, each)
        return took

    def _until(self, marks: int, look: bool) -> bytes:
        """Read until so many last lines came; what was read if somebody wants to look at it."""
        seen, end = [], time.monotonic() + WITHIN
        while marks > 0:
            if not select.select([self._reading], [], [], max(0, end - time.monotonic()))[0]:
                raise OSError(f"{self.name}: no end within {WITHIN:.0f} s")
            chunk = os.read(self._reading, 1 << 20)
            if not chunk:
                raise OSError(f"{self.name} has ended")
            marks -= chunk.count(b"~")
            if look:
                seen.append(chunk)
        return b"".join(seen)

    def drain(self) -> None:
        """Read to the end."""
        while os.read(self._reading, 1 << 20):
            pass

    def _check(self, text: bytes, each: int) -> None:
        for n in range(self.count):
            came = re.findall(rb"\| (?:\x1b\[0m)?(@p%04d:[^\n]*)" % n, text)  # the last newline may not be here yet
            if came != data(self.place.parent, n, each).read_bytes().splitlines():
                raise OSError(f"{self.name}: the lines of process {n} are not those that it printed")


def data(place: Path, n: int, lines: int) -> Path:
    """A file with so many lines of 100 bytes of process n. The last one has the only `~` in it."""
    file = place / f"data-{n}-{lines}"
    if not file.exists():
        filler = bytes(97 + k * 7 % 26 for k in range(84))
        rows = [b"@p%04d:%08d:%s\n" % (n, k, filler) for k in range(lines)]
        rows[-1] = rows[-1][:-2] + b"~\n"
        file.write_bytes(b"".join(rows))
    return file


# ---- what devstack takes


def burst(place: Path, runs: int, say: Callable[[str], None]) -> Figure:
    peaks = []
    for run in range(min(runs, 3)):
        with Side.up(place / str(run), "devstack", 4) as side:
            before = status(side.process.pid, "VmHWM") / 1024
            side.round(500_000, look=False)
            peaks.append(status(side.process.pid, "VmHWM") / 1024)
            say(f"burst: {before:.1f} MB before, {peaks[-1]:.1f} MB at the peak")
    return Figure("burst_memory", "peak memory of devstack, 50 MB from 4 processes", peaks, "MB", 64)


def idle(place: Path, say: Callable[[str], None]) -> list[Comparison | Figure]:
    with Side.up(place / "ten", "devstack", 10) as side:
        ours = [pid for pid in marked(side.mark) if b"devstack" in command(pid)]
        time.sleep(3)  # what the start set in motion comes to rest
        woken, used = sum(map(wakeups, ours)), sum(map(cpu, ours))
        time.sleep(IDLE_FOR)
        woken, used = sum(map(wakeups, ours)) - woken, sum(map(cpu, ours)) - used
        memory = sum(map(proportional, ours)) / 1024
    say(
        f"idle: {len(ours)} processes, {woken / IDLE_FOR:.1f} wake-ups a second, {used * 1000:.2f} ms CPU, {memory:.1f} MB"
    )
    return [
        Figure("idle_wakeups", "a second, with 10 idle processes", [woken / IDLE_FOR], "wake-ups", 1.01),
        Figure("idle_cpu", "of a core, with 10 idle processes", [used / IDLE_FOR * 100], "%", 0.1),
        Figure("idle_memory", "with 10 idle processes, both guardians included", [memory], "MB", 40),
    ]


def stop(place: Path, count: int, limit: float, runs: int, say: Callable[[str], None]) -> list[Comparison | Figure]:
    times: dict[str, list[float]] = {"devstack": [], "honcho": []}
    for run in range(runs + 1):
        for name in ("devstack", "honcho") if run % 2 else ("honcho", "devstack"):
            with Side.up(place / f"{name}-{run}", name, count) as side:
                time.sleep(0.5)  # everybody sleeps
                began = time.monotonic()
                side.process.send_signal(signal.SIGINT)
                side.drain()
                side.process.wait(WITHIN)
                while marked(side.mark):
                    time.sleep(0.001)
                if run:
                    times[name].append(time.monotonic() - began)
        if run:
            say(f"stop{count} run {run}: " + ", ".join(f"{name} {values[-1]:.3f} s" for name, values in times.items()))
    what = f"seconds from SIGINT until nobody is left, {count} processes that leave at once"
    return [
        Race(f"stop{count}_vs_honcho", what, times["devstack"], times["honcho"], "honcho"),
        Figure(f"stop{count}", what, times["devstack"], "s", limit),
    ]


# ---- processes


@contextlib.contextmanager
def running(place: Path, name: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A contender in a session of its own. Afterwards all that carries its mark is ended."""
    words = {
        "devstack": [str(BIN / "devstack"), "up", "--no-watch"],
        "devstack without logs": [sys.executable, "-c", SILENT, "up", "--no-watch"],
        "honcho": [str(BIN / "honcho"), "start"],
        "cat": ["sh", "cat.sh"],
    }[name]
    mark = uuid.uuid4().hex
    theirs = ("CELERY", "REDIS", "DJANGO", "DEVSTACK", "PORT", "PYTHONDONTWRITEBYTECODE")
    env = {key: value for key, value in os.environ.items() if not key.startswith(theirs)}
    env |= {MARK: mark, "DEVSTACK_STATE_DIR": str(place / "state"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        words,
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process, mark
    finally:
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


def marked(mark: str) -> list[int]:
    """The live processes that a contender has started, and itself."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
    return found


def command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def status(pid: int, name: str) -> int:
    """A number of /proc/PID/status: kilobytes, or a count."""
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1]) if found else 0


def wakeups(pid: int) -> int:
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        text = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        total += sum(map(int, re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", text, re.M)))
    return total


def cpu(pid: int) -> float:
    """Seconds that all its threads have run."""
    threads = os.listdir(f"/proc/{pid}/task")
    return sum(int(Path(f"/proc/{pid}/task/{each}/schedstat").read_text().split()[0]) for each in threads) / 1e9


def proportional(pid: int) -> int:
    """Kilobytes; a page that several share counts once."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) if found else 0
