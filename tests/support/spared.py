"""A process with its spares as the supervisor keeps them: the real Standby, Launcher and Child, without a machine that decides.

async with spared.scene(tmp_path, "import shop") as scene:
    first = await scene.start()             # cold
    await scene.ready(first)                # its spare is there
    second = await scene.start()            # out of the spare
    assert await second.ended == 0
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from devstack import host
from devstack.core.health import Subject
from devstack.core.model import Launch, Process, Service, Stack
from devstack.runtime.launcher import Launcher
from devstack.runtime.run import Run
from devstack.runtime.standby import Spare, Standby
from tests.support.celery_project import BOOT

DEADLINE = 20.0


class Said:
    """In the place of the merged output: what each run wrote."""

    def __init__(self) -> None:
        self.data = b""
        self.news = asyncio.Event()

    def feed(self, data: bytes) -> None:
        self.data += data
        self.news.set()

    def end(self) -> None:
        self.news.set()

    def source(self, name: str, shown: bool) -> Said:
        return self


class Started:
    """A run: `ended` is a future of its exit code."""

    def __init__(self, run: Run, said: Said) -> None:
        self.run = run
        self.said = said
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        assert self.run.subject.pid is not None
        return self.run.subject.pid

    @property
    def parent(self) -> int:
        return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[1])

    async def prints(self, text: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while text.encode() not in self.said.data:
                assert not self.ended.done(), self.said.data.decode()
                self.said.news.clear()
                await self.said.news.wait()

    async def end(self) -> int:
        self.run.child.kill()
        return await asyncio.wait_for(asyncio.shield(self.ended), DEADLINE)


class Scene:
    def __init__(self, project: Path, **launch: Any) -> None:
        self.project = project
        self.said: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.started: list[Started] = []
        self.launch = Launch(
            (sys.executable, str(BOOT), "script", "manage.py"),
            {**os.environ, "PYTHONUNBUFFERED": "1"},
            str(project),
            channel=True,
        )
        self.change(**launch)
        self.service = Service("it", launch=lambda n: self.launch, watch=(str(project),), standby=True)
        self.stack = Stack.of([self.service])
        self.process: Process = self.stack.processes["it.1"]
        self.host = host.here()
        self.standby = Standby(self.host, self.spawn, self.said.append, None)

    def change(self, **launch: Any) -> None:
        """From the next start on."""
        from devstack.core.record import replace

        self.launch = replace(self.launch, **launch)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def start(self) -> Started:
        subject = Subject("it.1", len(self.started) + 1, None, self.launch, 0.0)
        started: list[Started] = []
        run = Run(
            self.process, subject, lambda event: None, self.spawn, lambda run, code: started[0].ended.set_result(code)
        )
        started.append(Started(run, Said()))
        self.started += started
        launcher = Launcher(self.host, started[0].said, self.standby, self.spawn, None)  # type: ignore[arg-type]
        launcher.prepare(run)
        subject.pid = await launcher.bring_up(run, [])
        return started[0]

    async def ready(self, started: Started) -> Spare:
        """Prepare the spare for the next run; it, once it can be taken."""
        await self.prepared(started)
        assert self.spare is not None, self.said
        assert self.spare.ready
        return self.spare

    async def prepared(self, started: Started) -> None:
        """The same, whatever comes of it."""
        self.standby.prepare(self.process, started.run.subject)
        await self.until(lambda: not self.standby._preparing)

    @property
    def spare(self) -> Spare | None:
        return self.standby._spares.get("it.1")

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not true():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def scene(project: Path, program: str, **launch: Any) -> AsyncIterator[Scene]:
    """`manage.py` is `program`. Whatever lives in the end is killed."""
    project.mkdir(exist_ok=True)
    (project / "manage.py").write_text(program)
    made = Scene(project, **launch)
    try:
        yield made
    finally:
        children = [*made.standby.children(), *(each.run.child for each in made.started if not each.ended.done())]
        for child in children:
            child.kill()
        for child in children:
            await child.wait(5)
        for task in list(made.tasks):
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        for child in children:
            child.close()
