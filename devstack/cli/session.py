"""One `devstack up`, from the options to the end of the stack.

Rule 1: what is imported here is imported before the first process is started: a module more is time that a person waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

from devstack import host
from devstack.cli.driven import driven
from devstack.cli.look import STDOUT, check_names
from devstack.cli.provide import Provided, only_beat, provide, tidy
from devstack.config.load import Project, load, usable
from devstack.config.options import Options
from devstack.core.model import Stack
from devstack.core.names import listing
from devstack.errors import UNREAD, DevstackError
from devstack.host import orphans
from devstack.host.guard import Guard
from devstack.kinds import OTHER
from devstack.runtime import voice
from devstack.runtime.logs import Logs
from devstack.runtime.output import Look, Output
from devstack.runtime.supervisor import Supervisor

HUP, STDERR = 1, 2
ASIDE_WITHIN = 0.5
"""Seconds that stderr gets."""
SAY_AFTER = 0.5
"""Seconds until we say what is waited for."""
UNDISTURBED = 0.05
"""Seconds that the processes have to be spawned and heard before anything else is imported."""


class AlreadyRuns(DevstackError):
    """There is an `up` in this project already."""


def run(options: Options, look: Look, guard: Guard, take_over: bool = False) -> NoReturn:
    """Start everything that is asked for, in order, and stay until it is over. DevstackError when that is not possible."""
    here = host.here()
    project = load(options)
    processes = [f"{service.name}.{n + 1}" for service in project.services for n in range(service.instances)]
    check_names(look, [service.name for service in project.services], processes)
    project.make_directories()
    with contextlib.ExitStack() as kept:
        with usable(project.runtime_dir):
            kept.enter_context(_alone(project, here))
            swept = kept.enter_context(_swept(project))
        here.prepare(len(processes))
        settings = project.settings
        logs = Logs(project.log_dir, settings.log_size, settings.log_count, lambda text: output.say(text))
        output = Output([*processes, "redis.1"], look=look, logs=logs)
        session = Session(output)
        runner = asyncio.Runner()
        with here.signals(runner.get_loop(), session.signalled), runner:
            sys.exit(runner.run(_run(project, here, session, logs, guard, swept, take_over)))


@contextlib.contextmanager
def _alone(project: Project, here: host.Host) -> Iterator[None]:
    """One `up` per project. The lock is the system's, so a crash leaves none behind."""
    with here.lock(project.runtime_dir / "up.lock", f"{os.getpid()} {time.time():.0f}") as holder:
        if holder is not None:
            pid, _, since = holder.partition(" ")
            started = time.strftime(" since %H:%M", time.localtime(int(since))) if since.isdigit() else ""
            raise AlreadyRuns(
                f"devstack already runs here{started}",
                why=f"process {pid} runs the stack of {project.directory}",
                fix="devstack up --follow shows what it says, devstack ps how it is; devstack down stops it",
            )
        yield


@contextlib.contextmanager
def _swept(project: Project) -> Iterator[str]:
    """Leaves a note of this run while it lives. One that is there already is of a run that was killed: what it left behind is ended first.

    Gives the sentence about that.
    """
    note, said = project.runtime_dir / "run", ""
    with contextlib.suppress(OSError):
        if found := orphans.find(note.read_text(errors="replace")):
            names = listing([str(each) for each in found])
            late = threading.Timer(SAY_AFTER, _aside, [f"waiting for what an earlier devstack up left behind: {names}"])
            late.start()
            try:
                left = orphans.end(found)
            finally:
                late.cancel()
            said = f"ended what an earlier devstack up left behind: {names}"
            if left:
                said += f"; still there: {listing([str(each) for each in left])}"
    note.write_text(project.options.run)
    try:
        yield said
    finally:
        note.unlink(missing_ok=True)


class Session:
    """One `up` in the loop: signals and the reader of the output can end it at any time, also while it still looks for Redis."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.supervisor: Supervisor | None = None
        self.code: int | None = None
        """The exit code when something outside ended us; 0 leaves it to the processes."""
        self.task: asyncio.Task[int] | None = None
        self._signals = 0

    def signalled(self, number: int) -> None:
        """The first one stops everything in order. A second one of those that a person sends on purpose does not wait any more; HUP comes
        along with others when a terminal closes, and says nothing new.
        """
        if number != HUP:
            self._signals += 1
        force = self._signals > 1
        if force and self.supervisor is None:
            os._exit(128 + number)  # something that looks for Redis hangs
        if self.code is None or force:
            self._end(128 + number, f"{signal.Signals(number).name}: stopping", force)

    def asked_to_leave(self, force: bool) -> None:
        """By `devstack down`."""
        if self.code is None or force:
            self._end(0, "devstack down: stopping", force)

    def unread(self, error: OSError) -> None:
        """Our output cannot be written any more. Ctrl-C in `devstack up | tee log` ends tee first: that forces nothing."""
        if error.errno not in (errno.EPIPE, errno.EIO):
            _aside(f"the output cannot be written: {error.strerror}")
        if self.code is None:
            self._end(UNREAD, "", force=False)

    def pause(self) -> None:
        if self.supervisor:
            self.supervisor.pause()

    def resume(self) -> None:
        if self.supervisor:
            self.supervisor.resume()

    def _end(self, code: int, why: str, force: bool) -> None:
        if self.code is None:
            self.code = code
            if why:
                self.output.say(why)
        if self.supervisor:
            self.supervisor.leave(force)
        elif self.task:
            self.task.cancel()


def _aside(text: str) -> None:
    """On stderr. With `2>&1` that is the very reader that takes nothing, or the disk that is full: it is not waited for."""

    def write() -> None:
        with contextlib.suppress(OSError):
            os.write(STDERR, f"devstack: {text}\n".encode())

    teller = threading.Thread(target=write, daemon=True)
    teller.start()
    teller.join(ASIDE_WITHIN)


async def _run(
    project: Project, here: host.Host, session: Session, logs: Logs, guard: Guard, swept: str, take_over: bool
) -> int:
    output = session.output
    session.task = asyncio.current_task()
    output.open(STDOUT, session.pause, session.resume, session.unread)
    try:
        for note in [*([swept] if swept else []), *project.notes]:
            output.say(note)
        async with driven(project, here, lambda: session.supervisor, session.asked_to_leave, logs.listen, output.say):
            provided = await provide(project, output.say)
            with only_beat(project, here, provided.broker):
                code = await _supervise(project, here, session, guard, provided, take_over)
    except asyncio.CancelledError:
        if session.code is None:
            raise
        code = session.code
    finally:
        logs.close()
        if lost := await output.close(hurried=lambda: session.code is not None):
            _aside(f"{lost} bytes of output were not read")
    return session.code or code


async def _supervise(
    project: Project, here: host.Host, session: Session, guard: Guard, provided: Provided, take_over: bool
) -> int:
    stack = Stack.of(
        project.services,
        exit_on_failure=project.options.exit_on_failure,
        max_failures=project.settings.max_failures,
    )
    known = [service for service in project.services if service.kind != OTHER.name]
    urls = {service.name: url for service in known if (url := service.launch(1).url)}
    session.supervisor = Supervisor(
        stack, here, session.output, guard=guard, broker=provided.broker, urls=urls, take_over=take_over
    )
    supervisor = session.supervisor
    companions = [provided.later.look_again(supervisor, here)] if provided.later else []
    if project.options.watch:
        companions.append(_watch(stack, project, supervisor, session.output))
    try:
        return await supervisor.run(*companions)
    finally:
        await guard.close(supervisor.forced, lambda late: session.output.say(voice.outside(late)))
        if project.redis_image:
            await tidy(project)


async def _watch(stack: Stack, project: Project, supervisor: Supervisor, output: Output) -> None:
    """The watcher, with all that it needs: a tenth of what is imported. Nobody saves that soon."""
    began = time.time_ns()
    await asyncio.sleep(UNDISTURBED)
    await asyncio.to_thread(importlib.import_module, "devstack.runtime.watcher")
    from devstack.runtime import watcher

    root, read = project.directory, project.read
    await watcher.watch(stack, root, supervisor.saved, output.say, supervisor.failure, supervisor.subject, read, began)
