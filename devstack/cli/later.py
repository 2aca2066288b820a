"""Provides once the project's settings can be read; until then what needs Redis waits.

Rule 1: nothing is started at an address that nobody has confirmed.
Rule 2: whatever is wrong becomes the reason why they wait; it ends nothing, and the next save counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from devstack.cli.provide import arrange, celery_lines, find, only_beat, redis_lines
from devstack.config import env, places
from devstack.config.load import Project
from devstack.core.events import RestartAsked
from devstack.errors import DevstackError
from devstack.host import Host
from devstack.runtime import inputs
from devstack.runtime.provision import free_name
from devstack.runtime.servers import StandIn

if TYPE_CHECKING:
    from devstack.runtime.broker import Found
    from devstack.runtime.provision import Provision
    from devstack.runtime.supervisor import Supervisor


class Later:
    """`found` is what could not be read yet, `why` the sentence about it. `stand_in` is to be added to the project."""

    def __init__(self, project: Project, found: Found, why: str, say: Callable[[str], None]) -> None:
        self.stand_in = StandIn(free_name([service.name for service in project.services]), why)
        self._project = project
        self._seen = self._with_env_files(found.seen)
        self._say = say
        say(f"{why}; what needs Redis starts once it can")

    async def look_again(self, supervisor: Supervisor, here: Host) -> None:
        """After each save, until it works. Lives as long as the supervisor, for it holds beat's lock then."""
        while True:
            await inputs.changed(self._seen)
            self._seen = inputs.now(self._seen)
            try:
                if (made := await self._provide()) is None:
                    continue
                with only_beat(self._project, here, made.broker):
                    supervisor.broker = made.broker
                    self.stand_in.become(made.service)
                    if made.service:
                        why = "the project's settings can be read now"
                        supervisor.tell(RestartAsked((f"{self.stand_in.service.name}.1",), why))
                    await asyncio.Event().wait()
            except DevstackError as error:
                where = f"{error.where}: " if error.where else ""
                self._still(where + error.what + "".join(f"; {each}" for each in (error.why, error.fix) if each))

    async def _provide(self) -> Provision | None:
        project = self._project
        _read_env_files(project)
        lines = celery_lines(project)
        found = await find(project, lines, self._say)
        # What we knew before comes last: it may have changed while the project was read.
        self._seen = self._with_env_files({**found.seen, **self._seen})
        if found.unread:
            self._still(found.unread.why)
            return None
        redis = tuple(each for each in redis_lines(project) if each is not self.stand_in.service)
        return await arrange(project, found, lines, self._say, redis=redis, running=True)

    def _still(self, why: str) -> None:
        if why != self.stand_in.why:
            self.stand_in.why = why
            self._say(why)

    def _with_env_files(self, seen: inputs.State) -> inputs.State:
        files, _ = places.env_files(self._project.options, self._project.settings, self._project.directory)
        paths = {str(path) for path, _ in files} | {str(self._project.directory)}
        return {**inputs.now(paths), **seen}


def _read_env_files(project: Project) -> None:
    """Somebody may have put there what the settings miss. The next launches have it."""
    files, source = places.env_files(project.options, project.settings, project.directory)
    known = project.environment
    fresh = env.read(files, known.environ, known.overrides, source)
    known.files.values, known.files.sources = fresh.values, fresh.sources
