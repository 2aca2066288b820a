"""A watcher on real files, in the hands of a test.

heard = watching(tmp_path, script)     # script(watching) runs once the watch is up; heard are the events it told
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

from devstack.core import events as e
from devstack.core.health import Subject, Uses
from devstack.core.model import Launch, Phase, Service, Stack
from devstack.runtime import watcher

OUR_PYTHON = sys.version.split()[0]


class Watching:
    """A watcher of `root` that has begun to watch; `heard` are the events it told, `said` the sentences."""

    def __init__(self, root: Path, stack: Stack) -> None:
        self.root = root
        self.stack = stack
        self.heard: list[e.ReloadAsked] = []
        self.said: list[str] = []
        self.early: list[str] = []
        """What was saved before the watch was up, as it was told."""
        self.changed = asyncio.Event()
        self.subjects: dict[str, Subject] = {}

    def tell(self, event: e.ReloadAsked) -> None:
        self.heard.append(event)
        self.changed.set()

    def say(self, text: str) -> None:
        self.said.append(text)
        self.changed.set()

    def uses(self, process: str, files: Iterable[str], missing: Iterable[str] = (), python: str = OUR_PYTHON) -> None:
        """`process` runs, and has imported the `files` of the project."""
        paths, stems = ({str(self.root / each) for each in names} for names in (files, missing))
        subject = Subject(process, 1, 1, Launch((), {}, "."), time.monotonic() - 60, uses=Uses(paths, stems))
        subject.beacon["hello"] = {"python": python}
        self.subjects[process] = subject
        self.stack.processes[process].phase = Phase.READY

    async def begins(self) -> None:
        """Save until it has seen one: how soon a watch is up is not ours to know."""
        for attempt in range(200):
            (self.root / "warm.py").write_text(f"x = {attempt}")
            if await self.hears(within=0.2):
                break
        await self.rests()

    async def quiet(self) -> None:
        """Wait until nothing more comes."""
        while await self.hears(within=0.3):
            pass

    async def rests(self) -> None:
        """Wait until nothing more comes, and forget what came."""
        await self.quiet()
        self.heard.clear()
        self.said.clear()

    async def hears(self, within: float = 5.0) -> bool:
        """Whether it tells or says something."""
        try:
            await asyncio.wait_for(self.changed.wait(), within)
        except TimeoutError:
            return False
        self.changed.clear()
        return True

    async def until(self, done: Callable[[], object], within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while not done():
            assert await self.hears(within=deadline - time.monotonic()), (self.heard, self.said)

    def save(self, name: str, text: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)


def watching(
    root: Path,
    script: Callable[[Watching], Awaitable[None]],
    services: Iterable[Service] = (),
    silent: bool = True,
    read: Collection[Path] = (),
    early: Callable[[], object] | None = None,
) -> list[e.ReloadAsked]:
    """What a watcher of `services` told while `script` ran beside it. Without any: a worker that watches all of `root`, and a web server.

    `early` is called before the watch is up. With `silent` it must not say anything that the script has not forgotten.
    """

    async def play() -> list[e.ReloadAsked]:
        stack = Stack.of(services or [Service("worker", watch=(str(root),)), Service("web")])
        watched = Watching(root, stack)
        task = asyncio.create_task(
            watcher.watch(
                stack,
                root,
                lambda event: watched.tell(event),
                watched.say,
                asyncio.Event(),
                watched.subjects.get,
                read,
                time.time_ns(),
            )
        )
        try:
            if early:
                early()
                await watched.until(lambda: watched.heard)
                watched.early = [event.saved for event in watched.heard]
            await watched.begins()
            await script(watched)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not (silent and watched.said)
        return watched.heard

    return asyncio.run(play())
