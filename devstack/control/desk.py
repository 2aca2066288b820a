"""What can be asked of a running stack, and the answers.

Rule 1: what a person asks for becomes an event like any other; then its effect is watched until the processes it names have settled.
Rule 2: an answer never holds a password: what looks like one is masked, and so is the value of every variable that is named like one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from devstack.config.environment import BREAKPOINT
from devstack.control.names import chosen
from devstack.control.picture import Picture, Supervised, history
from devstack.control.server import Connection
from devstack.control.stops import Stops, sit_at
from devstack.core import events as e
from devstack.core.machine import closed_gates
from devstack.core.model import Phase, Process, Service, Stack
from devstack.core.names import listing, seconds
from devstack.core.secrets import cover as cover_of
from devstack.errors import FAILED, USAGE, DevstackError, did_you_mean

MOST_INSTANCES = 50
STOPPING = "the stack is stopping"
POKE = 0.05
"""Seconds between two words that there is more to read."""
OF_PROCESS = (
    *("FORCE_COLOR", "PS", "PYTHONUNBUFFERED"),
    *("DEVSTACK_PROCESS", "DEVSTACK_RUN", "DEVSTACK_CHANNEL", "DEVSTACK_RUNTIME_DIR"),
)
"""What belongs to a process of the stack, not to a command beside it."""


class Desk:
    """One `up`. `about` says which one it is, to whom wants to know. `supervised` gives its stack, once there is one.

    `leave(force)` stops everything, also before that.

    `listen(call)` has `call` called when log files have grown; with None no more.
    """

    def __init__(
        self,
        about: Mapping[str, str],
        supervised: Callable[[], Supervised | None],
        leave: Callable[[bool], None],
        listen: Callable[[Callable[[], None] | None], None],
        say: Callable[[str], None],
    ) -> None:
        self._supervised = supervised
        self._about = about
        self._leave = leave
        self._listen = listen
        self._since = time.time()
        self._followers: set[asyncio.Event] = set()
        self._picture = Picture()
        self._stops = Stops(about["directory"], say)

    async def answer(self, request: dict[str, object], to: Connection) -> int:
        answers: dict[str, Callable[[dict[str, object], Connection], Awaitable[int]]] = {
            "hello": self._hello,
            "ps": self._ps,
            "watch": self._watch,
            "why": self._why,
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "scale": self._scale,
            "wait": self._wait,
            "down": self._down,
            "follow": self._follow,
            "environment": self._environment,
            "names": self._names,
            "breakpoint": self._breakpoint,
            "attach": self._attach,
        }
        do = str(request["do"])
        if do not in answers:
            fix = did_you_mean(do, list(answers)) or "is devstack older here than in the other terminal?"
            raise DevstackError(f'"{do[:40]}" is nothing that can be asked', fix=fix)
        return await answers[do](request, to)

    # ---- what is

    async def _hello(self, request: dict[str, object], to: Connection) -> int:
        to.send({"pid": os.getpid(), "since": self._since, **self._about})
        return 0

    async def _names(self, request: dict[str, object], to: Connection) -> int:
        processes = list(self._stack().processes.values())
        services = list(dict.fromkeys(p.service.name for p in processes))
        to.send({"services": services, "processes": [p.name for p in processes if not p.surplus]})
        return 0

    async def _ps(self, request: dict[str, object], to: Connection) -> int:
        to.send({"rows": await self._rows()})
        return 0

    async def _why(self, request: dict[str, object], to: Connection) -> int:
        there, rows = self._there(), {row["name"]: row for row in await self._rows()}
        for process in self._chosen(request):
            to.send({"row": rows[process.name], **history(there, process)})
        return 0

    async def _watch(self, request: dict[str, object], to: Connection) -> int:
        """The rows whenever something changes, and every two seconds."""
        with _Changes(self._there()) as changes:
            while True:
                if to.reads:
                    to.send({"rows": await self._rows()})
                await asyncio.sleep(0.2)
                await changes.wait(2.0)

    async def _rows(self) -> list[dict[str, object]]:
        rows = await self._picture.rows(self._there())
        self._stops.mark(rows)
        return rows

    # ---- breakpoints

    async def _breakpoint(self, request: dict[str, object], to: Connection) -> int:
        return await self._stops.stopped(request, to, self._there())

    async def _attach(self, request: dict[str, object], to: Connection) -> int:
        names = [p.name for p in self._chosen(request)]
        terminals = {name: terminal for name in names if (terminal := self._there().terminal(name))}
        if terminals and not self._stops.waits(names):
            return await sit_at(*next(iter(terminals.items())), to)
        return await self._stops.attach(names, to)

    # ---- what shall be

    async def _start(self, request: dict[str, object], to: Connection) -> int:
        asked = self._chosen(request)
        return await self._change(asked, to, e.StartAsked(tuple(p.name for p in asked)), limit=_limit(request))

    async def _stop(self, request: dict[str, object], to: Connection) -> int:
        asked = self._chosen(request)
        return await self._change(asked, to, e.StopAsked(tuple(p.name for p in asked)), _stopped, limit=_limit(request))

    async def _restart(self, request: dict[str, object], to: Connection) -> int:
        """What was stopped on purpose comes back too: it is named."""
        asked = self._chosen(request)
        again = tuple(p.name for p in asked if p.wanted)
        new = tuple(p.name for p in asked if not p.wanted)
        return await self._change(
            asked, to, e.RestartAsked(again, "restart asked"), None, e.StartAsked(new), _limit(request)
        )

    async def _scale(self, request: dict[str, object], to: Connection) -> int:
        there, counts = self._there(), request.get("counts")
        if not isinstance(counts, dict) or not counts:
            raise DevstackError("nothing is to be scaled", fix="devstack scale worker=3")
        for name, count in counts.items():
            service = there.stack.services.get(name)
            if service is None:
                known = list(there.stack.services)
                fix = did_you_mean(name, known) or f"there are: {listing(known)}"
                raise DevstackError(f'there is no process "{name[:80]}"', fix=fix)
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_INSTANCES:
                raise DevstackError(f"{name} can be there 0 to {MOST_INSTANCES} times")
            if count > 1 and service.role == "beat":
                why = "each beat more would send every periodic task once more"
                raise DevstackError(f"{name} cannot run {count} times", why=why)
            if count > 1 and (service.oneshot or service.auxiliary):
                why = "it runs once, to its end" if service.oneshot else "devstack runs one for all"
                raise DevstackError(f"{name} cannot run {count} times", why=why)
        for name, count in counts.items():
            there.scale(name, count)
        come = [p for name in counts for p in there.stack.of_service(name) if not p.surplus]
        go = [p for name in counts for p in there.stack.of_service(name) if p.surplus]
        gone = await self._change(go, to, None, _stopped, limit=_limit(request)) if go else 0
        return await self._change(come, to, None, limit=_limit(request)) or gone

    async def _wait(self, request: dict[str, object], to: Connection) -> int:
        """Of those that nobody has named, the ones that were stopped on purpose do not count."""
        while self._supervised() is None:
            await asyncio.sleep(0.05)  # it still looks for Redis
        named = request.get("names")
        asked = self._chosen(request)
        return await self._change(
            asked if named else [p for p in asked if p.wanted or p.phase is not Phase.DOWN],
            to,
            None,
            limit=_limit(request),
        )

    async def _down(self, request: dict[str, object], to: Connection) -> int:
        """Answers as long as there is something to say. The end of the connection is the end of the stack."""
        to.stays = True
        there = self._supervised()
        self._leave(bool(request.get("force")))
        if there is None:
            to.send({"stopping": []})
        else:
            to.send({"stopping": [p.name for p in there.stack.processes.values() if p.lives]})
            with _Changes(there) as changes:
                said = self._moved(there.stack.processes.values(), {}, to, silently=True)
                while any(p.lives for p in there.stack.processes.values()):
                    began = time.time()
                    await changes.wait(2.0)
                    _tell_losses(there, there.stack.processes.values(), began, to)
                    held = [p for p in there.stack.processes.values() if p.lives]
                    before, said = said, self._moved(there.stack.processes.values(), said, to)
                    if said == before and held:
                        to.send({"held_up_by": [_busy(there, p) for p in held]})
        await asyncio.Event().wait()
        return 0

    async def _change(
        self,
        asked: Sequence[Process],
        to: Connection,
        event: e.Event | None,
        settled: Callable[[Stack, Process], str | None] | None = None,
        further: e.Event | None = None,
        limit: float | None = None,
    ) -> int:
        """Tell the events, and stay until each of `asked` has settled: 0 when all have as they should."""
        there = self._there()
        settled = settled or _came
        began = time.time()
        with _Changes(there) as changes:
            said = self._moved(asked, {}, to, silently=True)
            for each in (event, further):
                if each:
                    there.tell(each)
            until = time.monotonic() + limit if limit else None
            while True:
                said = self._moved(asked, said, to)
                verdicts = {p.name: settled(there.stack, p) for p in asked}
                if all(verdict is not None for verdict in verdicts.values()):
                    break
                left = until - time.monotonic() if until else None
                if left is not None and left <= 0:
                    waits = [
                        f"{name}: {there.stack.processes[name].reason}" for name in verdicts if verdicts[name] is None
                    ]
                    to.send({"late": cover_of({})(f"not settled after {seconds(limit or 0)}: {'; '.join(waits)}")})
                    return FAILED
                await changes.wait(left)
        bad = {name: cover_of({})(why) for name, why in verdicts.items() if why}
        _tell_losses(there, asked, began, to)
        to.send({"settled": {p.name: str(p.phase) for p in asked}, "failed": bad})
        return FAILED if bad else 0

    def _moved(
        self, processes: Iterable[Process], before: dict[str, Phase], to: Connection, silently: bool = False
    ) -> dict[str, Phase]:
        now = {p.name: p.phase for p in processes}
        for p in processes:
            if not silently and before.get(p.name) is not p.phase:
                subject = self._there().subject(p.name)
                why = cover_of(subject.launch.env if subject else {})(p.reason)
                to.send({"name": p.name, "phase": str(p.phase), "why": why})
        return now

    # ---- the rest

    async def _follow(self, request: dict[str, object], to: Connection) -> int:
        """A word whenever the log files have grown."""
        more = asyncio.Event()
        self._followers.add(more)
        self._listen(self._poke)
        try:
            to.send({"more": True})
            while True:
                await more.wait()
                more.clear()
                if to.reads:  # one that has not read that there is more need not be told again
                    to.send({"more": True})
                await asyncio.sleep(POKE)
        finally:
            self._followers.discard(more)
            if not self._followers:
                self._listen(None)

    def _poke(self) -> None:
        for more in self._followers:
            more.set()

    async def _environment(self, request: dict[str, object], to: Connection) -> int:
        env, cwd = beside(self._stack().services.values())
        to.send({"env": env, "cwd": cwd})
        return 0

    def _there(self) -> Supervised:
        there = self._supervised()
        if there is None:
            fix = "devstack wait"
            raise DevstackError("the stack is only just starting", why="it still looks for Redis", fix=fix, code=FAILED)
        return there

    def _stack(self) -> Stack:
        return self._there().stack

    def _chosen(self, request: dict[str, object]) -> list[Process]:
        """The processes that the request names; all of them when it names none."""
        names = request.get("names", [])
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise DevstackError('"names" is a list of names', code=USAGE)
        return chosen([p for p in self._stack().processes.values() if not p.surplus], names)


def beside(services: Iterable[Service]) -> tuple[dict[str, str], str]:
    """What a command beside the stack runs in: as its web server, or else its first process."""
    first = sorted(services, key=lambda each: (each.auxiliary, each.role != "web"))[0]
    launch = first.launch(1)
    env = {name: value for name, value in launch.env.items() if name not in OF_PROCESS}
    if env.get("PYTHONBREAKPOINT") == BREAKPOINT:
        del env["PYTHONBREAKPOINT"]  # it has a terminal
    return env, launch.cwd


class _Changes:
    """Tells when something has happened in the stack."""

    def __init__(self, there: Supervised) -> None:
        self._there = there
        self._event = asyncio.Event()

    def __enter__(self) -> _Changes:
        self._there.changed.append(self._event.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._there.changed.remove(self._event.set)

    async def wait(self, within: float | None) -> None:
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


def _limit(request: dict[str, object]) -> float | None:
    limit = request.get("limit")
    return float(limit) if isinstance(limit, int | float) and 0 < limit < 1e9 else None


def _came(stack: Stack, p: Process) -> str | None:
    """Whether one that shall be there has settled: "" when it is there, the reason when it does not come by itself."""
    if p.phase is Phase.RELOADING and not stack.leaving:
        return None  # the old code still answers
    if p.phase.opens_gates:
        return ""
    if stack.leaving:
        return STOPPING
    if p.phase is Phase.FAILED or (p.phase is Phase.DOWN and not p.wanted):
        return p.reason or "it is stopped"
    if p.phase is Phase.WAITING:
        for q in closed_gates(stack, p):
            if q.phase in (Phase.FAILED, Phase.DOWN):
                return f"waits for {q.name}: {q.phase}, {q.reason}"
            if q.phase is Phase.WAITING and (why := _came(stack, q)):
                return f"waits for {q.name}: {why}"
    return None


def _stopped(stack: Stack, p: Process) -> str | None:
    if p.wanted and not stack.leaving:
        return "somebody else started it again"
    return "" if p.phase.over and not p.lives else None


def _tell_losses(there: Supervised, processes: Iterable[Process], since: float, to: Connection) -> None:
    """What was killed in the middle of something."""
    for p in processes:
        for end in there.ends.get(p.name, ()):
            if end.at >= since and end.cut_off:
                to.send({"lost": f"{p.name}: {end.cut_off}"})


def _busy(there: Supervised, p: Process) -> str:
    """`worker.1 (2 tasks)`."""
    for subject in there.alive(p.name):
        match subject.beacon.get("active", {}).get("tasks"):
            case [[str(name), *_], *others]:
                return f"{p.name} (finishing {name}{f' and {len(others)} more' if others else ''})"
    return p.name
