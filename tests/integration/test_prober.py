"""The prober, asking a real question: does a file exist?"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devstack.core import events as e
from devstack.core.health import Subject
from devstack.core.model import Launch, ProbeSpec
from devstack.runtime import prober

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses test(1)")


class Heard:
    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self.changed = asyncio.Event()

    def tell(self, event: e.Event) -> None:
        self.events.append(event)
        self.changed.set()

    async def until(self, kind: type, times: int = 1) -> None:
        async with asyncio.timeout(10):
            while sum(isinstance(event, kind) for event in self.events) < times:
                self.changed.clear()
                await self.changed.wait()


def watching(path: Path, script: Callable[[Heard], Awaitable[None]], every: float | None = 0.05) -> list[e.Event]:
    async def play() -> list[e.Event]:
        heard = Heard()
        subject = Subject("web.1", 3, None, Launch(("x",), dict(os.environ), "."), time.monotonic())
        spec = ProbeSpec("exec", {"command": ["test", "-e", str(path)]}, every)
        task = asyncio.create_task(prober.watch(subject, spec, asyncio.Event(), heard.tell))
        try:
            await script(heard)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return heard.events

    return asyncio.run(play())


def test_it_asks_until_ready_and_names_the_run(tmp_path: Path) -> None:
    file = tmp_path / "up"

    async def script(heard: Heard) -> None:
        await heard.until(e.Remarked)
        file.touch()
        await heard.until(e.BecameReady)

    events = watching(file, script, every=None)
    assert isinstance(events[-1], e.BecameReady)
    assert all(getattr(event, "run", None) == 3 for event in events)
    assert len(events) == 2, "only changes are told"


def test_one_miss_is_not_unready_three_are_and_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "up"
    file.touch()

    async def script(heard: Heard) -> None:
        await heard.until(e.BecameReady)
        file.unlink()
        await heard.until(e.BecameUnready)
        file.touch()
        await heard.until(e.BecameReady, 2)

    events = watching(file, script)
    assert [type(event) for event in events if not isinstance(event, e.Remarked)] == [
        e.BecameReady,
        e.BecameUnready,
        e.BecameReady,
    ]


def test_without_a_probe_running_is_ready() -> None:
    heard: list[e.Event] = []
    subject = Subject("web.1", 1, 1, Launch(("x",), {}, "."), 0.0)
    asyncio.run(prober.watch(subject, ProbeSpec("none"), asyncio.Event(), heard.append))
    assert heard == [e.BecameReady("web.1", 1, "running")]
