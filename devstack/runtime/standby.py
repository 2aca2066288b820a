"""Spares: for each process one more, which has run the real command up to its first project module, and waits there (`inside/gate`).

Rule 1: a spare is only ever used for the very launch it was made for: same words, environment and directory. It says itself, each time,
whether its interpreter and packages are those that it was made from; no answer is a no.
Rule 2: they are prepared one at a time, when everything else is ready, and are not kept while memory is short.
Rule 3: without a spare a process starts cold; that is slower, and never wrong.
Rule 4: where the system forks safely a spare is forked and stays; elsewhere it is let go, and becomes the process.
Rule 5: one that is being made as the last good one was is waited for: it is ahead of whatever would be started cold now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from devstack.core.health import Subject
from devstack.core.model import Launch, Process
from devstack.host import Host
from devstack.host.guard import Guard
from devstack.runtime.child import Child

PREPARED_WITHIN = 60.0
CHECKED_WITHIN = 1.0
"""Seconds within which a spare has looked whether its files are still the same: some milliseconds, unless the machine is very busy."""
SHORT_OF_MEMORY = 512 * 1024 * 1024
"""Bytes that must be available for spares."""
LOOK_AT_MEMORY = 10.0
"""Seconds; nobody tells when memory gets short."""
KILLED = (9, 15)
"""Signals from outside, when memory is short for one. What ends a spare otherwise would end the next one too."""
OUTLIVED = 0.2
"""Seconds between two looks at a fork for whose end nobody waits."""
MOST_TRIES = 8
AWAITED_FOR = 2.0
"""Times as long as the last good one took: for so long a spare that is being made is waited for."""
SETTLE = 0.3
"""Seconds between a process being ready and its spare being made: it has more important things to do."""


class Spare:
    """One process at the gate. `use` is "fork" or "once"; `outlive(child)` is called with a fork for whose end it cannot wait any more."""

    child: Child

    def __init__(
        self, process: str, launch: Launch, roots: tuple[str, ...], outlive: Callable[[Child], object]
    ) -> None:
        self.subject = Subject(process, 0, None, launch, time.monotonic())
        self.launch = launch
        self.roots = roots
        self.use = "fork"
        self.ready = False
        self.expected = 0.0
        """Seconds that the last good one took, if this one is made like it. Zero: nobody knows whether it will be good."""
        self.over = False
        self._outlive = outlive
        self._news = asyncio.Event()
        self._forks: dict[int, Child] = {}
        self._early: dict[int, int] = {}

    def adopt(self, child: Child, pid: int) -> None:
        """`child` is a fork of this spare, which waits for its end."""
        self._forks[pid] = child
        if pid in self._early:
            self._fork_ended(pid, self._early.pop(pid))
        elif self.over:
            self._outlive(self._forks.pop(pid))

    def leave(self) -> None:
        """Once its forks have ended: it must wait for that. Without any it may just as well be stuck somewhere."""
        self.is_ready(False)
        if self._forks:
            self.child.order("quit")
        else:
            self.child.kill()

    async def answer(self, message: str, order: str = "", within: float = CHECKED_WITHIN) -> dict[str, object]:
        """What it says, upon `order` if there is one; nothing once it cannot be used. TimeoutError when it says neither."""
        if order:
            self.subject.beacon.pop(message, None)
            self.child.order(order)
        async with asyncio.timeout(within):
            while message not in self.subject.beacon and not self.unfit:
                self._news.clear()
                await self._news.wait()
        return {} if self.unfit else self.subject.beacon[message]

    def is_ready(self, ready: bool) -> None:
        """Or is not, and will not be."""
        self.ready = ready
        self.expected = 0.0
        self._news.set()

    async def awaited(self) -> bool:
        """Whether it is ready, now or soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AWAITED_FOR * self.expected - (time.monotonic() - self.subject.started)):
                while self.expected and not self.ready and not self.unfit:
                    self._news.clear()
                    await self._news.wait()
        return self.ready

    @property
    def unfit(self) -> bool:
        return self.over or self.subject.beacon.get("unsafe", {}).get("use") == "never"

    def told(self) -> None:
        """For the child."""
        message = self.subject.beacon.pop("ended", {})
        pid, code = message.get("pid"), message.get("code")
        if isinstance(pid, int) and isinstance(code, int):
            self._fork_ended(pid, code)
        self._news.set()

    def exited(self) -> None:
        """For the child."""
        self.over = True
        self.ready = False
        while self._forks:
            self._outlive(self._forks.popitem()[1])
        self._news.set()

    def _fork_ended(self, pid: int, code: int) -> None:
        """It may be told before we know that there is one."""
        if child := self._forks.pop(pid, None):
            child.fork_ended(code)
        else:
            self._early[pid] = code


class Standby:
    """The spares of one `up`. `say` tells, once for each process, why its reloads start cold."""

    def __init__(
        self,
        host: Host,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        say: Callable[[str], None],
        guard: Guard | None,
    ) -> None:
        self._host = host
        self._spawn = spawn
        self._say = say
        self._guard = guard
        self._spares: dict[str, Spare] = {}
        self._children: set[Child] = set()
        """All that live, those of spares on their way out, too."""
        self._preparing: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._modules: dict[str, dict[str, None]] = {}
        """What the runs of each process have imported besides its own code; one out of a spare tells only what that had not."""
        self._skipped: defaultdict[str, set[str]] = defaultdict(set)
        """Those of them that cannot be imported before the project's code."""
        self._good: dict[str, tuple[set[str], float]] = {}
        """What was imported into the last good spare of each process, and the seconds that this took."""
        self._patched: set[str] = set()
        """Processes that replace parts of libraries: what is imported before that is theirs to say."""
        self._hopeless: dict[str, Launch] = {}
        """Launches that no spare could be made for."""
        self._said: set[str] = set()
        self._minding_memory = False

    def prepare(self, process: Process, subject: Subject) -> None:
        """Have a spare made for the next run of what has just become ready."""
        launch, name, roots = subject.launch, process.name, process.service.watch
        self._modules.setdefault(name, {}).update(subject.uses.modules)
        if subject.uses.patched:
            self._patched.add(name)
        wanted = launch.channel and process.service.standby and not process.service.oneshot
        if not wanted or name in self._preparing or self._hopeless.get(name) == launch:
            return
        if (spare := self._spares.get(name)) and (spare.launch, spare.roots) == (launch, roots) and not spare.over:
            return
        if launch.shell or launch.prelude:
            self._give_up(name, launch, "what stands before it in its command would run once more")
            return
        self._preparing.add(name)
        self._spawn(self._prepare(name, launch, roots, SETTLE))

    async def take(self, process: Process, launch: Launch) -> Spare | None:
        """The spare of this process if it can start `launch`. One that is used up by it is forgotten."""
        name = process.name
        spare = self._spares.get(name)
        if spare is None or not await spare.awaited():
            return None
        same = (spare.launch, spare.roots) == (launch, process.service.watch)
        if not same or (await self._changed(spare)) is not False:
            if self._spares.get(name) is spare:
                self.drop(name)
            return None
        if self._spares.get(name) is not spare:
            return None  # meanwhile it was thrown away
        if spare.use == "once":
            del self._spares[name]
            self._children.discard(spare.child)
            # The next save may come before this run is ready.
            self._preparing.add(name)
            self._spawn(self._prepare(name, launch, process.service.watch, settle=0.0))
        return spare

    def drop(self, name: str) -> None:
        """Throw the spare away."""
        if spare := self._spares.pop(name, None):
            spare.leave()

    def children(self) -> list[Child]:
        """What is to be killed, waited for and closed in the end."""
        return list(self._children)

    async def _changed(self, spare: Spare) -> bool:
        with contextlib.suppress(TimeoutError):
            return (await spare.answer("checked", "check")).get("changed") != ""
        return True

    def _give_up(self, name: str, launch: Launch, why: str) -> None:
        self._hopeless[name] = launch
        text = f"{name} starts cold at a reload: {why}"
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    async def _mind_memory(self) -> None:
        try:
            while self._spares:
                await asyncio.sleep(LOOK_AT_MEMORY)
                if await asyncio.to_thread(_memory) < SHORT_OF_MEMORY:
                    for name in list(self._spares):
                        self.drop(name)
        finally:
            self._minding_memory = False

    async def _prepare(self, name: str, launch: Launch, roots: tuple[str, ...], settle: float) -> None:
        try:
            await asyncio.sleep(settle)
            async with self._one_at_a_time:
                if await asyncio.to_thread(_memory) >= SHORT_OF_MEMORY:
                    await self._make(name, launch, roots)
            if not self._minding_memory:
                self._minding_memory = True
                self._spawn(self._mind_memory())
        finally:
            self._preparing.discard(name)

    async def _make(self, name: str, launch: Launch, roots: tuple[str, ...]) -> None:
        """A spare that had to skip a module is not clean: another one is made without it, and in the end one without any."""
        self.drop(name)
        for left in reversed(range(MOST_TRIES)):
            wanted = [module for module in self._modules[name] if module not in self._skipped[name]]
            if name in self._patched or not left:
                wanted = []
            why, skipped = await self._try(name, launch, roots, wanted)
            if not why and not skipped:
                return
            self.drop(name)
            if why:
                self._give_up(name, launch, why)
                return
            self._skipped[name].update(skipped)

    async def _try(
        self, name: str, launch: Launch, roots: tuple[str, ...], modules: Iterable[str]
    ) -> tuple[str, list[str]]:
        """Why it cannot be used, and the modules that it had to skip. It may have been killed without anything of the kind."""
        ended_by = 0
        spare = Spare(name, launch, roots, lambda child: self._spawn(_outlived(child)))

        def exited(code: int) -> None:
            nonlocal ended_by
            ended_by = -code
            self._children.discard(spare.child)
            if self._spares.get(name) is spare:
                del self._spares[name]
            spare.exited()

        wanted = set(modules)
        good, took = self._good.get(name, (set(), 0.0))
        if wanted <= good:
            spare.expected = took
        spare.child = Child(self._host, spare.subject, None, exited, spare.told, self._spawn, self._guard)
        self._children.add(spare.child)
        self._spares[name] = spare
        try:
            await spare.child.start({"DEVSTACK_STANDBY": "1", "DEVSTACK_ROOTS": os.pathsep.join(roots)})
        except OSError as error:
            self._children.discard(spare.child)
            return str(error), []
        try:
            async with asyncio.timeout(PREPARED_WITHIN):
                await spare.answer("gate", within=PREPARED_WITHIN)
                warmed = await spare.answer("warmed", " ".join(["warm", *modules]), within=PREPARED_WITHIN)
        except TimeoutError:
            return f"its spare was not ready within {PREPARED_WITHIN:.0f} s", []
        beacon = spare.subject.beacon
        if ended_by in KILLED:
            return "", []
        if spare.unfit:
            why = beacon.get("unsafe", {}).get("why")
            return str(why or "its spare ended before it came to the project's code"), []
        # One pipe cannot be the input of two.
        spare.use = "once" if "unsafe" in beacon or launch.open_stdin or launch.stdin is not None else "fork"
        told = warmed.get("skipped")
        skipped = [each for each in told if isinstance(each, str)] if isinstance(told, list) else []
        if not skipped:
            self._good[name] = (wanted, time.monotonic() - spare.subject.started)
        spare.is_ready(not skipped)
        return "", skipped


async def _outlived(child: Child) -> None:
    """Its spare was killed: nobody will tell how it ends."""
    while await asyncio.to_thread(_runs, child.subject.pid):
        await asyncio.sleep(OUTLIVED)
    child.fork_ended(1)


def _runs(pid: int | None) -> bool:
    """Whether that process still does anything. In a container whose init reaps nobody a zombie stays."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
