"""The loop: events go through `decide` one at a time, and its actions are performed here.

Rule 1: nothing awaits between reading the stack and changing it: `tell` handles an event completely before the next.
Rule 2: bytes never pass through here; they go from the child to the output by themselves.
Rule 3: every task has this object as its parent and is ended with it; a bug in one of them ends the stack, with its traceback, rather than
leave half of it supervised.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from devstack.core import events as e
from devstack.core.causes import Cause, cause_of
from devstack.core.health import Broker, Ended, Subject
from devstack.core.machine import decide
from devstack.core.model import Phase, Process, Stack
from devstack.core.table import SETTLED_AFTER
from devstack.errors import DevstackError
from devstack.host import Host, Terminal
from devstack.host.guard import Guard
from devstack.runtime import clash, voice
from devstack.runtime.launcher import Launcher, explain_spawn
from devstack.runtime.output import Output
from devstack.runtime.run import Run, modules
from devstack.runtime.speaker import Speaker
from devstack.runtime.standby import Standby

LAST_LOOK = 1.0
"""Seconds before a run is killed that it is asked what it is at."""
KILLED_WITHIN = 2.0
"""Seconds that we wait, when all is over, for the end of what was killed."""
JITTER = 0.1
ENDS = 10


class Supervisor:
    """Runs one stack to its end. `urls` are where a person finds the services, shown when all are ready.

    With `take_over` what a killed devstack left on a port is ended.
    """

    def __init__(
        self,
        stack: Stack,
        host: Host,
        output: Output,
        *,
        guard: Guard | None = None,
        broker: Broker | None = None,
        urls: Mapping[str, str] | None = None,
        take_over: bool = False,
    ) -> None:
        self.stack = stack
        self._host = host
        self._output = output
        self._guard = guard
        self.failure = asyncio.Event()
        """Set once a process has failed."""
        self.broker = broker
        """What the next runs are told."""
        self._take_over = take_over
        self._inbox: deque[e.Event] = deque()
        self._deciding = False
        self._runs: dict[tuple[str, int], Run] = {}
        self._standby = Standby(host, self._task, output.say, guard)
        self._launcher = Launcher(host, output, self._standby, self._task, guard)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._all_known = False
        """Whether the guardian knows also what has left its group."""
        self._debugged: dict[str, str] = {}
        """Processes that no save may take away now, each with the file that was saved meanwhile."""
        self._timers: set[asyncio.TimerHandle] = set()
        self._speaker = Speaker(stack, self._runs, output, self._later, urls or {})
        self.forced = False
        """Whether somebody does not want to wait."""
        self.changed: list[Callable[[], None]] = []
        """Called when events have been handled."""
        self.ends: dict[str, deque[Ended]] = {}
        """How the last runs of each process ended, the newest last."""
        self._paused = False
        self._finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, *companions: Coroutine[Any, Any, None]) -> int:
        """Start everything and stay until everything is over; the exit code. `companions` live exactly as long (the file watcher)."""
        try:
            for companion in companions:
                self._task(companion)
            self.tell(e.StartAsked(tuple(self.stack.processes)))
            self._speaker.begin()
            return await self._finished
        finally:
            for timer in self._timers:
                timer.cancel()
            self._closed = True
            for task in self._tasks:
                task.cancel()
            children = [*(run.child for run in self._runs.values()), *self._standby.children()]
            for child in children:
                child.kill()
            try:
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.gather(*(child.wait(KILLED_WITHIN) for child in children))
            finally:  # also when somebody does not wait for that
                for child in children:
                    child.close()

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
            for call in [*self.changed]:
                call()
        except Exception as error:
            self._broke(error)
        finally:
            self._deciding = False

    def saved(self, event: e.ReloadAsked) -> None:
        """Code was saved: what cannot live beside its successor is restarted."""
        self._speaker.forget()
        for name in set(event.names).intersection(self._debugged):
            if not self._debugged[name]:
                self._output.say(f"{name} is reloaded once it goes on ({event.saved})")
            self._debugged[name] = event.saved
        names = [name for name in event.names if name not in self._debugged]
        able = [name for name in names if self._beside(self.stack.processes[name])]
        others = tuple(name for name in names if name not in able)
        if others:
            self.tell(e.RestartAsked(others, f"{event.saved} changed"))
        if able:
            self.tell(e.ReloadAsked(tuple(able), event.saved))

    def hold(self, name: str) -> None:
        """Somebody talks to its debugger: no save takes it away until `let_go`."""
        self._debugged.setdefault(name, "")

    def let_go(self, name: str) -> None:
        if (saved := self._debugged.pop(name, "")) and not self.stack.leaving:
            self.saved(e.ReloadAsked((name,), saved))

    def scale(self, service: str, count: int) -> None:
        known = len(self.stack.of_service(service))
        for n in range(known + 1, count + 1):
            self._output.add(f"{service}.{n}")
        self.tell(e.ScaleAsked(service, count))

    def alive(self, name: str) -> list[Subject]:
        """What is known of the runs of a process that live."""
        return [run.subject for run in self._runs.values() if run.process.name == name and run.alive]

    def subject(self, name: str) -> Subject | None:
        """What is known of the newest run of a process."""
        run = self._runs.get((name, self.stack.processes[name].run))
        return run.subject if run else None

    def terminal(self, name: str) -> Terminal | None:
        """That of the newest run of a process, if it has one."""
        run = self._runs.get((name, self.stack.processes[name].run))
        return run.child.terminal if run and run.alive else None

    def _beside(self, process: Process) -> bool:
        """Whether new code can come up beside the old: a worker says so itself, a server has lent us its socket."""
        if process.phase is not Phase.READY or process.service.reload == "own":
            return True  # the machine knows
        run = self._runs.get((process.name, process.run))
        if run is None or process.clashed:
            return False
        beacon = run.subject.beacon
        lent = "listening" in beacon and bool(run.child.listeners)
        return lent or beacon.get("worker_ready", {}).get("beside") is True

    def leave(self, force: bool = False) -> None:
        """Stop everything in order; with `force` at once."""
        self._speaker.leaving()
        self.forced |= force
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
                self._speaker.cut_off(name, run)
                self._end(name, run, polite=False)
            case e.Pause(name, run):
                self._runs[name, run].hold()
            case e.Resume(name, run):
                self._runs[name, run].go_on()
            case e.Retire(name, run):
                self._runs[name, run].retired_at = time.monotonic()
                self._end(name, run, polite=True)
            case e.SetTimer(name, run, purpose, after):
                if purpose == "backoff":
                    import random

                    after *= 1 + JITTER * random.random()
                if purpose == "grace":
                    self._later(max(0.0, after - LAST_LOOK), self._ask_what_it_does, name, run)
                self._later(after, self.tell, e.Elapsed(name, run, purpose))
            case e.Announce():
                self._announce(action)
            case e.Finish(code):
                self._speaker.farewell(code)
                if not self._finished.done():
                    self._finished.set_result(code)

    def _spawn(self, process: Process, number: int) -> None:
        lasting = {process.previous.run if process.previous else None, *process.retiring}
        for known in [key for key in self._runs if key[0] == process.name and key[1] not in lasting]:
            del self._runs[known]
        try:
            launch = process.service.launch(process.instance)
        except DevstackError as error:
            # What it was understood from has changed: a directory is gone, say.
            why = f"{error.what}: {error.why}" if error.why else error.what
            self.tell(e.SpawnFailed(process.name, number, 127, why))
            return
        subject = Subject(process.name, number, None, launch, time.monotonic(), self.broker)
        run = Run(process, subject, self.tell, self._task, self._exited)
        self._launcher.prepare(run)
        self._runs[process.name, number] = run
        if launch.argv:
            self._task(self._start(process, run))
        else:
            self.tell(e.Spawned(process.name, number, None))
            run.probe()

    async def _start(self, process: Process, run: Run) -> None:
        name, number = process.name, run.subject.run
        if process.previous is None:
            await clash.free(process.clashed)
        if process.previous is None and (taken := await self._port_taken(run)):
            run.alive, run.cause = False, taken
            self.tell(e.SpawnFailed(name, number, 1, taken.why))
            return
        if run.ending:
            run.alive = False
            self.tell(e.Exited(name, number, 0))
            return
        try:
            pid = await self._launcher.bring_up(run, self._others(run))
        except OSError as error:
            run.alive = False
            code, run.cause = explain_spawn(error, run.subject)
            self.tell(e.SpawnFailed(name, number, code, run.cause.why, run.cause.hopeless))
            return
        if self._paused:
            run.child.pause()
        self.tell(e.Spawned(name, number, pid))
        if run.ending:
            # Asked to stop between the decision to spawn and the spawn itself.
            self._end(name, number, polite=run.ending == "polite")
        elif process.phase is Phase.RELOADING and process.service.role in ("web", "worker"):
            run.probe_beside(self._held(run))
        elif not process.service.oneshot:
            run.probe()

    async def _port_taken(self, run: Run) -> Cause | None:
        """By a stranger, who would answer our probe."""
        if "port" not in run.question.options:
            return None
        from devstack.runtime import preflight

        return await preflight.port_taken(run.question, run.process.service.name, self._take_over)

    def _others(self, run: Run) -> list[Run]:
        """The older runs of the same process that still live."""
        return [
            other for other in self._runs.values() if other.process is run.process and other.alive and other is not run
        ]

    def _held(self, run: Run) -> Subject | None:
        """The older run that comes back when this one fails, if there is one."""
        process = run.process
        if process.phase is not Phase.RELOADING or process.previous is None or process.run != run.subject.run:
            return None
        held = self._runs.get((process.name, process.previous.run))
        return held.subject if held else None

    def _end(self, name: str, number: int, polite: bool) -> None:
        if self.stack.leaving and self._guard and not self._all_known:
            self._all_known = True
            self._guard.take(pid for run in self._runs.values() if run.alive and (pid := run.subject.pid))
        run = self._runs.get((name, number))
        if run is None:
            self.tell(e.Exited(name, number, 0))  # it never came to be
            return
        run.ending = "polite" if polite else "hard"
        run.stop_probing()
        if not run.subject.launch.argv:
            # An outside server: it is not ours to stop.
            self.tell(e.Exited(name, number, 0))
        elif polite:
            run.see_off()
        elif self.forced:
            run.child.kill()
        else:
            run.end()

    def _exited(self, run: Run, code: int) -> None:
        run.alive = False
        run.stop_probing()
        launch = run.subject.launch
        tail = run.last_words()
        run.cause = cause_of(code, tail, modules=modules(launch.cwd), directory=launch.cwd)
        # One that had settled met something that may pass; one that never did will meet it again.
        ends = self.ends.setdefault(run.process.name, deque(maxlen=ENDS))
        ends.append(Ended(time.time(), run.subject.run, code, run.cause.why, run.ending, run.cut_off))
        hopeless = run.cause.hopeless and time.monotonic() - run.subject.started < SETTLED_AFTER
        exited = e.Exited(run.process.name, run.subject.run, code, run.cause.why, hopeless)
        # Others are left for a moment by many, as by multiprocessing, and nobody misses those.
        if run.child.left_others and launch.shell and launch.argv[0].endswith("&"):
            self._output.say(voice.left_others(run.process.name))
        if (old := self._held(run)) and clash.wanted(run.subject, ended=True):
            self._task(self._exited_beside(run, old, exited))
        else:
            self.tell(exited)
            run.source.release()

    async def _exited_beside(self, run: Run, old: Subject, exited: e.Exited) -> None:
        if places := await clash.of(run.subject, old, ended=True):
            run.source.release(show=False)
            self.tell(e.Clashed(exited.name, exited.run, places, clash.sentence(places)))
        self.tell(exited)

    def _announce(self, action: e.Announce) -> None:
        if action.kind == "failed":
            self.failure.set()
        self._speaker.announce(action)
        run = self._runs.get((action.name, action.run))
        if action.kind in ("ready", "reloaded") and run:
            self._standby.prepare(run.process, run.subject)
        if action.kind in ("ready", "done"):
            self._speaker.greet()

    def _ask_what_it_does(self, name: str, number: int) -> None:
        if run := self._runs.get((name, number)):
            run.ask_what_it_does()

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
        if self._closed:
            work.close()
            work = _nothing()
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


async def _nothing() -> None:
    """In place of what nobody waits for any more."""
