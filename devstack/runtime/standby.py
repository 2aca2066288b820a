"""Spares: for each process one more, which has run the real command up to its first project module, and waits there (`inside/gate`).

Rule 1: a spare is only ever used for the very launch it was made for: same words, environment, directory, interpreter and packages.
Rule 2: they are prepared one at a time, when everything else is ready, and not at all while memory is short.
Rule 3: without a spare a process starts cold; that is slower, and never wrong.
Rule 4: where the system forks safely a spare is forked and stays; elsewhere it is let go, and becomes the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from devstack.core.health import Subject
from devstack.core.model import Launch, Process
from devstack.host import Host
from devstack.host.guard import Guard
from devstack.runtime.child import Child

PREPARED_WITHIN = 60.0
SHORT_OF_MEMORY = 512 * 1024 * 1024
"""Bytes that must be available for a spare to be prepared."""
MOST_TRIES = 8
SETTLE = 0.3
"""Seconds between a process being ready and its spare being made: it has more important things to do."""


class Spare:
    """One process at the gate. `use` is "fork" or "once"."""

    def __init__(self, launch: Launch, stamp: object) -> None:
        self.child: Child
        self.launch = launch
        self.stamp = stamp
        self.use = "fork"
        self.ready = False
        self.over = False
        self.forks: dict[int, Child] = {}
        self._early: dict[int, int] = {}

    def adopt(self, child: Child, pid: int) -> None:
        """`child` is a fork of this spare, which waits for its end."""
        self.forks[pid] = child
        if pid in self._early:
            self.ended({"pid": pid, "code": self._early.pop(pid)})

    def ended(self, message: Mapping[str, object]) -> None:
        """It says that a fork has ended, perhaps before we know that there is one."""
        pid, code = message.get("pid"), message.get("code")
        if isinstance(pid, int) and isinstance(code, int):
            if child := self.forks.pop(pid, None):
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
        self._preparing: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._modules: dict[str, dict[str, None]] = {}
        """What the runs of each process have imported besides its own code; one out of a spare tells only what that had not."""
        self._skipped: defaultdict[str, set[str]] = defaultdict(set)
        """Those of them that cannot be imported before the project's code."""
        self._hopeless: dict[str, Launch] = {}
        """Launches that no spare could be made for."""

    def prepare(self, process: Process, subject: Subject) -> None:
        """Have a spare made for the next run of what has just become ready."""
        launch, name = subject.launch, process.name
        self._modules.setdefault(name, {}).update(subject.uses.modules)
        wanted = launch.channel and not launch.shell and process.service.standby and not process.service.oneshot
        if not wanted or name in self._preparing or self._hopeless.get(name) == launch:
            return
        if (spare := self._spares.get(name)) and spare.launch == launch and not spare.over:
            return
        self._preparing.add(name)
        self._spawn(self._prepare(name, subject, process.service.watch))

    def take(self, name: str, launch: Launch) -> Spare | None:
        """The spare of this process if it can start `launch`. One that is used up by it is forgotten."""
        spare = self._spares.get(name)
        if spare is None or not spare.ready:
            return None
        if spare.launch != launch or spare.stamp != _stamp(launch):
            self.drop(name)
            return None
        if spare.use == "once":
            del self._spares[name]
        return spare

    def drop(self, name: str) -> None:
        """Throw the spare away; it stays as long as its forks, for it must wait for their ends."""
        if spare := self._spares.pop(name, None):
            spare.ready = False
            spare.child.order("quit")

    def close(self) -> None:
        for spare in self._spares.values():
            spare.child.kill()
            spare.child.close()

    async def _prepare(self, name: str, subject: Subject, roots: tuple[str, ...]) -> None:
        try:
            await asyncio.sleep(SETTLE)
            async with self._one_at_a_time:
                if await asyncio.to_thread(_memory) >= SHORT_OF_MEMORY:
                    await self._make(name, subject, roots)
        finally:
            self._preparing.discard(name)

    async def _make(self, name: str, subject: Subject, roots: tuple[str, ...]) -> None:
        """A spare that had to skip a module is not clean: another one is made without it, and in the end one without any."""
        launch = subject.launch
        self.drop(name)
        for left in reversed(range(MOST_TRIES)):
            spare = Spare(launch, _stamp(launch))
            wanted = [module for module in self._modules[name] if module not in self._skipped[name]] if left else []
            why, skipped = await self._try(name, spare, roots, wanted)
            if not why and not skipped:
                spare.ready = True
                return
            self.drop(name)
            if why:
                self._hopeless[name] = launch
                self._say(f"{name} starts cold at a reload: {why}")
                return
            self._skipped[name].update(skipped)

    async def _try(
        self, name: str, spare: Spare, roots: tuple[str, ...], modules: Iterable[str]
    ) -> tuple[str, list[str]]:
        """Why it cannot be used, and the modules that it had to skip."""
        news, own = asyncio.Event(), Subject(name, 0, None, spare.launch, time.monotonic())

        def told() -> None:
            if ended := own.beacon.pop("ended", None):
                spare.ended(ended)
            news.set()

        def exited(code: int) -> None:
            spare.over = True
            spare.ready = False
            if self._spares.get(name) is spare:
                del self._spares[name]
            for child in spare.forks.values():
                self._spawn(_outlived(child))
            news.set()

        def unfit() -> bool:
            return spare.over or own.beacon.get("unsafe", {}).get("use") == "never"

        spare.child = Child(self._host, own, None, exited, told, self._spawn, self._guard)
        self._spares[name] = spare
        try:
            await spare.child.start({"DEVSTACK_STANDBY": "1", "DEVSTACK_ROOTS": os.pathsep.join(roots)})
            async with asyncio.timeout(PREPARED_WITHIN):
                await _until(news, lambda: unfit() or "gate" in own.beacon)
                spare.child.order(" ".join(["warm", *modules]))
                await _until(news, lambda: unfit() or "warmed" in own.beacon)
        except (OSError, TimeoutError) as error:
            return str(error) or f"its spare was not ready within {PREPARED_WITHIN:.0f} s", []
        if unfit():
            return str(
                own.beacon.get("unsafe", {}).get("why") or "its spare ended before it came to the project's code"
            ), []
        spare.use = "once" if "unsafe" in own.beacon else "fork"
        skipped = own.beacon["warmed"].get("skipped")
        return "", [each for each in skipped if isinstance(each, str)] if isinstance(skipped, list) else []


async def _until(news: asyncio.Event, done: Callable[[], bool]) -> None:
    while not done():
        news.clear()
        await news.wait()


async def _outlived(child: Child) -> None:
    """Its spare was killed: nobody will tell how it ends."""
    while child.pids():
        await asyncio.sleep(0.2)
    child.fork_ended(1)


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _stamp(launch: Launch) -> object:
    """What changes when the interpreter or an installed package does: an installer makes or removes a directory there."""
    home = launch.env.get("VIRTUAL_ENV")
    places = [Path(launch.argv[0])]
    if home:
        places += [Path(home, "pyvenv.cfg"), *sorted(Path(home).glob("lib/python*/site-packages"))]
    stamp = []
    for place in places:
        with contextlib.suppress(OSError):
            stamp.append((str(place), place.stat().st_mtime_ns))
    return stamp
