"""The loop: events go through `decide` one at a time, and its actions are performed here.

Rule 1: nothing awaits between reading the stack and changing it: `tell` handles an event completely before the next.
Rule 2: bytes never pass through here; they go from the child to the output by themselves.
Rule 3: every task has this object as its parent and is ended with it; a bug in one of them ends the stack, with its traceback, rather than
leave half of it supervised.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from devstack.core import events as e
from devstack.core.causes import Cause, cause_of
from devstack.core.health import Broker, Subject
from devstack.core.machine import decide
from devstack.core.model import Phase, ProbeSpec, Process, Stack
from devstack.core.names import seconds
from devstack.core.table import SETTLED_AFTER
from devstack.errors import DevstackError
from devstack.host import Host
from devstack.host.guard import Guard
from devstack.probes.log import Search
from devstack.runtime import preflight, prober, voice
from devstack.runtime.child import Child
from devstack.runtime.output import Output

FIRST_PROGRESS = 8.0
"""Seconds until we say what we wait for; repeated ever less often."""
STOP_PROGRESS = 3.0
JITTER = 0.1


class Supervisor:
    """Runs one stack to its end. `urls` are where a person finds the services, shown when all are ready."""

    def __init__(
        self,
        stack: Stack,
        host: Host,
        output: Output,
        *,
        guard: Guard | None = None,
        broker: Broker | None = None,
        urls: Mapping[str, str] | None = None,
    ) -> None:
        self.stack = stack
        self._host = host
        self._output = output
        self._guard = guard
        self.failure = asyncio.Event()
        """Set once a process has failed."""
        self._broker = broker
        self._urls = urls or {}
        self._inbox: deque[e.Event] = deque()
        self._deciding = False
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._started = time.monotonic()
        self._left_at = 0.0
        self._greeted = False
        self._paused = False
        self._finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, *companions: Coroutine[Any, Any, None]) -> int:
        """Start everything and stay until everything is over; the exit code. `companions` live exactly as long (the file watcher)."""
        try:
            for companion in companions:
                self._task(companion)
            self.tell(e.StartAsked(tuple(self.stack.processes)))
            self._later(FIRST_PROGRESS, self._progress, FIRST_PROGRESS)
            return await self._finished
        finally:
            for timer in self._timers:
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            for run in self._runs.values():
                run.child.kill()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, event: e.Event) -> None:
        """Take an event in; safe to call from within the performing of another."""
        self._inbox.append(event)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._inbox:
                for action in decide(self.stack, self._inbox.popleft()):
                    self._perform(action)
        except Exception as error:
            self._broke(error)
        finally:
            self._deciding = False

    def leave(self, force: bool = False) -> None:
        """Stop everything in order; with `force` at once."""
        if not self._left_at:
            self._left_at = time.monotonic()
            self._later(STOP_PROGRESS, self._stop_progress)
        self.tell(e.ShutdownAsked(forced=force))

    def pause(self) -> None:
        """The terminal does not keep up: the pipes wait."""
        self._paused = True
        for run in self._runs.values():
            run.child.pause()

    def resume(self) -> None:
        self._paused = False
        for run in self._runs.values():
            run.child.resume()

    # ---- actions

    def _perform(self, action: e.Action) -> None:
        match action:
            case e.Spawn(name, run):
                self._spawn(self.stack.processes[name], run)
            case e.AskToLeave(name, run):
                self._end(name, run, polite=True)
            case e.Kill(name, run):
                self._end(name, run, polite=False)
            case e.SetTimer(name, run, purpose, after):
                after *= 1 + JITTER * random.random() if purpose == "backoff" else 1
                self._later(after, self.tell, e.Elapsed(name, run, purpose))
            case e.Announce():
                self._announce(action)
            case e.Finish(code):
                if code and not self._left_at:
                    self._output.say(voice.farewell(self.stack, code))
                if not self._finished.done():
                    self._finished.set_result(code)

    def _spawn(self, process: Process, number: int) -> None:
        self._runs.pop(process.name, None)
        try:
            launch = process.service.launch(process.instance)
        except DevstackError as error:
            # What it was understood from has changed: a directory is gone, say.
            why = f"{error.what}: {error.why}" if error.why else error.what
            self.tell(e.SpawnFailed(process.name, number, 127, why))
            return
        subject = Subject(process.name, number, None, launch, time.monotonic(), self._broker)
        run = Run(subject)
        run.child = Child(
            self._host,
            subject,
            # Nobody asked for what keeps the others company; what it says is shown when it fails.
            None if process.service.auxiliary else self._output.source(process.name),
            exited=lambda code: self._exited(process, run, code),
            told=run.news.set,
            spawn=self._task,
            guard=self._guard,
            search=_search(_question(process, run)),
        )
        self._runs[process.name] = run
        if launch.argv:
            self._task(self._start(process, run))
        else:
            self.tell(e.Spawned(process.name, number, None))
            self._probe(process, run)

    async def _start(self, process: Process, run: Run) -> None:
        name, number = process.name, run.subject.run
        if taken := await preflight.port_taken(_question(process, run), process.service.name):
            run.cause = taken
            self.tell(e.SpawnFailed(name, number, 1, taken.why))
            return
        if run.ending:
            self.tell(e.Exited(name, number, 0))
            return
        try:
            pid = await run.child.start()
        except OSError as error:
            code, run.cause = _explain_spawn(error, run.subject)
            self.tell(e.SpawnFailed(name, number, code, run.cause.why, run.cause.hopeless))
            return
        if self._paused:
            run.child.pause()
        self.tell(e.Spawned(name, number, pid))
        if run.ending:
            # Asked to stop between the decision to spawn and the spawn itself.
            self._end(name, number, polite=run.ending == "polite")
        elif not process.service.oneshot:
            self._probe(process, run)

    def _probe(self, process: Process, run: Run) -> None:
        run.prober = self._task(prober.watch(run.subject, _question(process, run), run.news, self.tell))

    def _end(self, name: str, number: int, polite: bool) -> None:
        run = self._runs.get(name)
        if run is None or run.subject.run != number:
            self.tell(e.Exited(name, number, 0))  # it never came to be
            return
        run.ending = "polite" if polite else "hard"
        if run.prober:
            run.prober.cancel()
        service = self.stack.processes[name].service
        if not run.subject.launch.argv:
            # An outside server: it is not ours to stop.
            self.tell(e.Exited(name, number, 0))
        elif polite:
            run.child.leave(service.stop_signal, service.signal_group)
        else:
            run.child.kill()

    def _exited(self, process: Process, run: Run, code: int) -> None:
        if run.prober:
            run.prober.cancel()
        launch = run.subject.launch
        tail = run.subject.tail().decode(errors="replace")
        run.cause = cause_of(code, tail, modules=_modules(launch.cwd), directory=launch.cwd)
        # One that had settled met something that may pass; one that never did will meet it again.
        hopeless = run.cause.hopeless and time.monotonic() - run.subject.started < SETTLED_AFTER
        self.tell(e.Exited(process.name, run.subject.run, code, run.cause.why, hopeless))

    # ---- words

    def _announce(self, action: e.Announce) -> None:
        process = self.stack.processes[action.name]
        run = self._runs.get(action.name)
        took = time.monotonic() - run.subject.started if run else 0.0
        if action.kind == "failed":
            self.failure.set()
        if action.kind in ("failed", "overdue"):
            tail = run.subject.tail() if run else b""
            fix = run.cause.fix if run and action.kind == "failed" else ""
            blocked = [
                other.name
                for name in self.stack.needed_by(process.service.name)
                for other in self.stack.of_service(name)
                if other.phase is Phase.WAITING
            ]
            self._output.say(voice.error(process, action, tail, fix, blocked))
        elif action.kind != "stopped" or (run and run.subject.launch.argv):
            self._output.say(voice.line(process, action, took))
        if action.kind in ("ready", "done"):
            self._greet()

    def _greet(self) -> None:
        """Once, when everything that was asked for is there."""
        if not self._greeted and all(p.phase.opens_gates for p in self.stack.processes.values()):
            self._greeted = True
            links = "".join(f"  {name} {url}" for name, url in self._urls.items())
            self._output.say(f"all ready in {seconds(time.monotonic() - self._started)}{links}")

    def _progress(self, pause: float) -> None:
        if not self._greeted and not self.stack.leaving:
            if text := voice.progress(self.stack, time.monotonic() - self._started):
                self._output.say(text)
            self._later(pause * 1.5, self._progress, pause * 1.5)

    def _stop_progress(self) -> None:
        if text := voice.stopping(self.stack, time.monotonic() - self._left_at):
            self._output.say(text)
        self._later(STOP_PROGRESS, self._stop_progress)

    # ---- timers and tasks

    def _later(self, after: float, call: Callable[..., None], *arguments: object) -> None:
        def fire() -> None:
            self._timers.discard(handle)
            try:
                call(*arguments)
            except Exception as error:
                self._broke(error)

        handle = asyncio.get_running_loop().call_later(after, fire)
        self._timers.add(handle)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._broke(error)

    def _broke(self, error: BaseException) -> None:
        if not self._finished.done():
            self._finished.set_exception(error)


class Run:
    """What belongs to one run: the child, its prober, how it is being ended, and why it ended."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.child: Child
        self.news = asyncio.Event()
        self.prober: asyncio.Task[None] | None = None
        self.ending = ""
        self.cause = Cause("")


def _search(question: ProbeSpec) -> Search | None:
    return Search(str(question.options.get("pattern", ""))) if question.how == "log" else None


def _question(process: Process, run: Run) -> ProbeSpec:
    return run.subject.launch.probe or process.service.probe


# Errors of a spawn that may pass: no process, memory or file descriptor was free.
NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def _explain_spawn(error: OSError, subject: Subject) -> tuple[int, Cause]:
    """The exit code that a shell would give, and the cause with its fix."""
    launch = subject.launch
    name = error.filename if isinstance(error.filename, str) else launch.argv[0]
    if not os.path.isdir(launch.cwd):
        return 127, Cause(f"its directory {launch.cwd} does not exist", True, "correct the `cd` in the Procfile")
    if isinstance(error, FileNotFoundError):
        return 127, Cause(
            f"{name}: command not found", True, f"is {name} installed, and is its venv beside the Procfile?"
        )
    if isinstance(error, PermissionError):
        return 126, Cause(f"{name}: not an executable file", True, f"chmod +x {name}")
    return 126, Cause(f"{name} could not be started: {error.strerror or error}", error.errno not in NO_ROOM)


def _modules(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [
            entry.name.removesuffix(".py")
            for entry in os.scandir(directory)
            if entry.is_dir() or entry.name.endswith(".py")
        ]
    return []
