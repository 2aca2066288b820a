"""From a save to the first work done by the new code: devstack against what people restart their workers and web servers with.

`light` is a Django project of eight small apps, `heavy` the same with Django REST framework and pandas; a prefork worker with two
processes. While files are saved, 100 tasks (or requests) a second arrive, whatever becomes of them. Each task writes into a list in Redis
when it began and ended, and by which version of the code; a process beside knows what was sent. From these two, and from nothing that a
contender says, come the figures:

    time      from the moment before the file is written to the beginning of the first task (the end of the first response) of that version
    lost      sent, and not done when nothing had happened for a while, with an empty queue; `parked` are those that wait in the broker
    doubled   begun more than once
    stale     begun by older code more than 100 ms after a save
    gap       the longest time around a save in which no task began

With --form spawned ours does not fork its spare, as on systems where that is not safe (Windows, macOS): each reload uses one up.

Rule 1: the contenders take turns, in halves, so that neither always comes first; each has had time to settle before a save, but in
the burst.
Rule 2: memory is that of all processes, shared pages counted once. CPU is what a save costs: what was used beyond the use before it.
Rule 3: a save that was not answered within a minute is `missed`: it is not in the median.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from suites import Comparison

if TYPE_CHECKING:
    from suites._contenders import Contender
    from tests.support.redis_server import Server
    from tests.support.reload_ledger import Ledger
    from tests.support.reload_load import Visitors
    from tests.support.reload_project import Project

ROOT = Path(__file__).resolve().parents[2]
NEEDS = {"watchfiles": "watchfiles", "watchdog": "watchdog>=7"}
"""Modules that must be there, and what to install for them."""
LIKES = {"rest_framework": "djangorestframework", "pandas": "pandas"}
"""What makes the heavy project heavy; where it cannot be installed, the project does without."""
FLOWS = {
    "heavy_vs_watchfiles": ("heavy", "watchfiles"),
    "heavy_vs_watchmedo": ("heavy", "watchmedo"),
    "light_vs_watchfiles": ("light", "watchfiles"),
    "light_vs_watchmedo": ("light", "watchmedo"),
}
METRICS = (*FLOWS, "burst_vs_watchfiles", "web_vs_runserver")
RATE = 100.0
SAVES, BURST, WEB_SAVES = 7, 20, 10
WITHIN = 60.0
SETTLED = 3.0
"""Seconds of nothing but load before the first save and after each: restarting and saving take turns, as they do for a person."""
FRESH = 0.1
QUIET = 8.0
"""Seconds without any news after which nothing more is expected."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", action="append", choices=METRICS, help="this metric alone; may be repeated")
    parser.add_argument(
        "--saves", type=int, metavar="N", help=f"of each side (default: {SAVES}; burst {BURST}, web {WEB_SAVES})"
    )
    parser.add_argument(
        "--form", choices=("forked", "spawned"), default="forked", help="of our spares (default: forked)"
    )


@dataclass
class Tally:
    """What happened to one contender."""

    times: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, **found: int) -> None:
        for name, number in found.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def figures(self) -> dict[str, float | int]:
        medians = {"gap": self.gaps, "memory_mib": self.memory, "cpu_seconds_per_save": self.cpu}
        return self.counts | {name: round(median(values), 3) for name, values in medians.items() if values}


@dataclass(frozen=True)
class Race(Comparison):
    """Here the ratio says how many times as fast devstack is: their time / ours."""

    ours_tally: Tally = field(default_factory=Tally)
    peer_tally: Tally = field(default_factory=Tally)

    @property
    def ratio(self) -> float:
        return median(self.peer) / median(self.ours)

    def figures(self) -> dict[str, float | str | int]:
        sides = (("ours", self.ours_tally), ("peer", self.peer_tally))
        return super().figures() | {f"{side}_{k}": v for side, tally in sides for k, v in tally.figures().items()}

    def table(self) -> str:
        rows = super().table().splitlines()
        for name, tally in (("devstack", self.ours_tally), (self.peer_name, self.peer_tally)):
            said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in tally.figures().items())
            rows.insert(-1, f"{name}: {said}")
        rows[-1] = f"devstack is {self.ratio:.1f} times as fast"
        return "\n".join(rows)


def compare(
    say: Callable[[str], None], only: list[str] | None = None, saves: int | None = None, form: str = "forked"
) -> list[Comparison]:
    sys.path.insert(0, str(ROOT))
    chosen = only or list(METRICS)
    found: list[Comparison] = []
    with _ground(say, form) as ground:
        for weight in ("heavy", "light"):
            peers = {name: FLOWS[name][1] for name in FLOWS if name in chosen and FLOWS[name][0] == weight}
            if peers:
                tallies = ground.turns(["devstack", *peers.values()], weight, saves or SAVES, ground.flow)
                what = f"seconds from a save to the first task on the new code ({weight} project)"
                found += [_race(name, what, tallies, "devstack", peer) for name, peer in peers.items()]
        if "burst_vs_watchfiles" in chosen:
            tallies = ground.turns(["devstack", "watchfiles"], "light", saves or BURST, ground.burst, halves=False)
            what = "seconds from a save to the first task on that code, one save a second (light project)"
            found.append(_race("burst_vs_watchfiles", what, tallies, "devstack", "watchfiles"))
        if "web_vs_runserver" in chosen:
            tallies = ground.turns(["devstack web", "runserver"], "light", saves or WEB_SAVES, ground.web)
            what = "seconds from a save to the first response of the new code (light project)"
            found.append(_race("web_vs_runserver", what, tallies, "devstack web", "runserver"))
    return found


def _race(name: str, what: str, tallies: dict[str, Tally], ours: str, peer: str) -> Race:
    for side in (ours, peer):
        if not tallies[side].times:
            raise OSError(f"{name}: {side} has not answered a single save")
    return Race(name, what, tallies[ours].times, tallies[peer].times, peer, tallies[ours], tallies[peer])


@contextmanager
def _ground(say: Callable[[str], None], form: str) -> Iterator[Ground]:
    from tests.support.redis_server import redis_server

    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="devstack-bench-")))
        yield Ground(place, stack.enter_context(redis_server()), say, form)


class Ground:
    """A directory and a Redis, where the contenders show what they can, one after the other."""

    def __init__(self, place: Path, redis: Server, say: Callable[[str], None], form: str) -> None:
        self._place = place
        self._form = form
        self._redis = redis
        self._say = say
        self._projects: dict[str, Project] = {}
        self._version = 0

    def turns(
        self,
        names: list[str],
        weight: str,
        saves: int,
        act: Callable[[str, Project, int, Tally], None],
        *,
        halves: bool = True,
    ) -> dict[str, Tally]:
        """Each one acts, `saves` times in all; in the second half they come in the opposite order."""
        tallies = {name: Tally() for name in names}
        parts = [(names, saves - saves // 2), (names[::-1], saves // 2)] if halves else [(names, saves)]
        for order, number in parts:
            for name in order if number else ():
                self._redis.command("FLUSHALL")
                act(name, self._project(weight), number, tallies[name])
        return tallies

    def _project(self, weight: str) -> Project:
        from tests.support import reload_project
        from tests.support.ports import free_port

        if weight not in self._projects:
            made = reload_project.make(
                self._place / weight, broker=self._redis.url, weight=weight, web_port=free_port()
            )
            self._projects[weight] = made
            missing = [name for key, name in reload_project.HEAVY.items() if key not in made.imports]
            if weight == "heavy" and missing:
                self._say(f"the heavy project does without {' and '.join(missing)}: not installed here")
        return self._projects[weight]

    def _next(self) -> int:
        self._version += 1
        return self._version

    # ---- workers

    def flow(self, name: str, project: Project, saves: int, tally: Tally) -> None:
        """Saves with a pause after each."""
        with self._tasks(name, project, tally) as (contender, ledger):
            before = _cpu_rate(contender)
            for _ in range(saves):
                began, used, version = time.monotonic(), contender.cpu(), self._next()
                saved = time.monotonic()
                project.save_tasks(version)
                if not _waited(partial(ledger.wait_for_code, version, WITHIN)):
                    self._missed(name, tally)
                    continue
                tally.times.append(ledger.wait_for_code(version).at - saved)
                self._say(f"{name}, {project.path.name}: {tally.times[-1]:.2f} s")
                time.sleep(SETTLED)
                tally.cpu.append(contender.cpu() - used - before * (time.monotonic() - began))
                tally.memory.append(contender.memory())
                _judge(ledger, tally, version, saved)

    def burst(self, name: str, project: Project, saves: int, tally: Tally) -> None:
        """One save a second. A save is answered by its own code or by any later."""
        with self._tasks(name, project, tally) as (contender, ledger):
            before, began, used = _cpu_rate(contender), time.monotonic(), contender.cpu()
            saved: dict[int, float] = {}
            for number in range(saves):
                time.sleep(max(0.0, began + number - time.monotonic()))
                version = self._next()
                saved[version] = time.monotonic()
                project.save_tasks(version)
            _waited(partial(ledger.wait_for_code, max(saved), WITHIN))
            for version, moment in saved.items():
                first = next((each for each in ledger.starts() if each.version >= version), None)
                if first:
                    tally.times.append(first.at - moment)
                else:
                    self._missed(name, tally)
            self._say(f"{name}, {saves} saves, one a second: " + " ".join(f"{each:.2f}" for each in tally.times))
            tally.cpu.append((contender.cpu() - used - before * (time.monotonic() - began)) / saves)
            tally.memory.append(contender.memory())

    @contextmanager
    def _tasks(self, name: str, project: Project, tally: Tally) -> Iterator[tuple[Contender, Ledger]]:
        """The contender at work on a flow of tasks. At the end they are counted."""
        from suites._contenders import running
        from tests.support.reload_ledger import Ledger
        from tests.support.reload_load import Sender

        first = self._next()
        project.save_tasks(first)
        with (
            running(name, project, self._place / "log", self._form) as contender,
            Ledger(project.ledger) as ledger,
            Sender(project.broker) as sender,
        ):
            sender.flow(RATE)
            ledger.wait_for_code(first, WITHIN)
            time.sleep(SETTLED)
            yield contender, ledger
            sender.halt()
            missing = ledger.drained(sender.sent, WITHIN, QUIET)
            queued = int(self._redis.command("LLEN", "celery").lstrip(":"))
            queued += int(self._redis.command("HLEN", "unacked").lstrip(":"))
            parked = min(queued, len(missing))
            tally.count(sent=len(sender.sent), lost=len(missing) - parked, parked=parked, doubled=len(ledger.doubled()))

    # ---- the web server

    def web(self, name: str, project: Project, saves: int, tally: Tally) -> None:
        from suites._contenders import running
        from tests.support.reload_load import Visitors

        first = self._next()
        project.save_web(first)
        with running(name, project, self._place / "log", self._form) as contender:
            with Visitors(project.url, 10) as visitors:
                visitors.wait_for_version(first, WITHIN)
                visitors.halt()
            with Visitors(project.url, RATE) as visitors:
                visitors.wait_for_version(first, WITHIN)
                time.sleep(SETTLED)
                self._web_saves(contender, project, visitors, saves, tally)
                visitors.halt()
            tally.count(requests=len(visitors.visits), failed=len(visitors.failed()))

    def _web_saves(self, contender: Contender, project: Project, visitors: Visitors, saves: int, tally: Tally) -> None:
        before = _cpu_rate(contender)
        for _ in range(saves):
            began, used, version = time.monotonic(), contender.cpu(), self._next()
            saved = time.monotonic()
            project.save_web(version)
            if not _waited(partial(visitors.wait_for_version, version, WITHIN)):
                self._missed(contender.name, tally)
                continue
            tally.times.append(visitors.wait_for_version(version).ended - saved)
            self._say(
                f"{contender.name}: {tally.times[-1]:.2f} s, {len(visitors.failed())} requests have failed so far"
            )
            time.sleep(SETTLED)
            tally.cpu.append(contender.cpu() - used - before * (time.monotonic() - began))
            tally.memory.append(contender.memory())

    def _missed(self, name: str, tally: Tally) -> None:
        tally.count(missed=1)
        self._say(f"{name}: a save was not answered within {WITHIN:.0f} s")


def _waited(wait: Callable[[], object]) -> bool:
    try:
        wait()
    except AssertionError:
        return False
    return True


def _cpu_rate(contender: Contender) -> float:
    """CPU-seconds a second under load alone."""
    began, used = time.monotonic(), contender.cpu()
    time.sleep(SETTLED)
    return (contender.cpu() - used) / (time.monotonic() - began)


def _judge(ledger: Ledger, tally: Tally, version: int, saved: float) -> None:
    """What the ledger tells about the time around a save."""
    starts = [each for each in ledger.starts() if each.at > saved - 0.5]
    tally.gaps.append(max(after.at - before.at for before, after in pairwise(sorted(starts, key=lambda each: each.at))))
    tally.count(stale=sum(each.version < version and each.at > saved + FRESH for each in starts))
