"""The loop: events go through `decide` one at a time, and its actions are performed here.

Rule 1: nothing awaits between reading the stack and changing it: `tell` handles an event completely before the next.
Rule 2: bytes never pass through here; they go from the child to the output by themselves.
Rule 3: every task has this object as its parent and is ended with it; a bug in one of them ends the stack, with its traceback, rather than
leave half of it supervised.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import string
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from devstack.core import events as e
from devstack.core.causes import cause_of
from devstack.core.health import Broker, Subject
from devstack.core.machine import decide
from devstack.core.model import Phase, ProbeSpec, Process, Stack
from devstack.core.names import seconds
from devstack.core.table import SETTLED_AFTER
from devstack.errors import DevstackError
from devstack.host import Host
from devstack.host.guard import Guard
from devstack.runtime import preflight, prober, voice
from devstack.runtime.child import Child
from devstack.runtime.output import Output, Source
from devstack.runtime.run import Run, explain_spawn, modules, question, search
from devstack.runtime.standby import Standby

FIRST_PROGRESS = 8.0
"""Seconds until we say what we wait for; repeated ever less often."""
STOP_PROGRESS = 3.0
ANSWERS = {"quiesced", "drained", "leaving"}
"""Messages that say that an order to leave was heard."""
ANSWERED_WITHIN = 0.2
"""Seconds that a leaving worker gets to say what it is doing."""
HEARD_WITHIN = 2.0
"""Seconds within which an order is heard, unless the program is busy."""
GIVEN_BACK_WITHIN = 5.0
KILLED_WITHIN = 2.0
"""Seconds that we wait, when all is over, for the end of what was killed."""
JITTER = 0.1


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
        self._urls = urls or {}
        self._take_over = take_over
        self._inbox: deque[e.Event] = deque()
        self._deciding = False
        self._runs: dict[tuple[str, int], Run] = {}
        self._standby = Standby(host, self._task, output.say, guard)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._started = time.monotonic()
        self._left_at = 0.0
        self._greeted = self._forced = False
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
            self._closed = True
            for task in self._tasks:
                task.cancel()
            children = [run.child for run in self._runs.values()]
            for child in children:
                child.kill()
            try:
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.gather(*(child.wait(KILLED_WITHIN) for child in children))
            finally:  # also when somebody does not wait for that
                self._standby.close()
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
        except Exception as error:
            self._broke(error)
        finally:
            self._deciding = False

    def saved(self, event: e.ReloadAsked) -> None:
        """Code was saved: what cannot live beside its successor is restarted."""
        able = [name for name in event.names if self._beside(self.stack.processes[name])]
        others = tuple(name for name in event.names if name not in able)
        if others:
            self.tell(e.RestartAsked(others, f"{event.saved} changed"))
        if able:
            self.tell(e.ReloadAsked(tuple(able), event.saved))

    def subject(self, name: str) -> Subject | None:
        """What is known of the newest run of a process."""
        run = self._runs.get((name, self.stack.processes[name].run))
        return run.subject if run else None

    def _beside(self, process: Process) -> bool:
        """Whether new code can come up beside the old: a worker says so itself, a server has lent us its socket."""
        if process.phase is not Phase.READY or process.service.reload == "own":
            return True  # the machine knows
        run = self._runs.get((process.name, process.run))
        if run is None:
            return False
        return bool(run.child.listeners) or run.subject.beacon.get("worker_ready", {}).get("beside") is True

    def leave(self, force: bool = False) -> None:
        """Stop everything in order; with `force` at once."""
        if not self._left_at:
            self._left_at = time.monotonic()
            self._later(STOP_PROGRESS, self._stop_progress)
        self._forced |= force
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
            case e.Pause(name, run):
                self._hold(self._runs[name, run])
            case e.Resume(name, run):
                self._go_on(self.stack.processes[name], self._runs[name, run])
            case e.Retire(name, run):
                self._retire(name, run)
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
        run = Run(subject)
        run.exited = lambda code: self._exited(process, run, code)
        run.child = Child(
            self._host,
            subject,
            self._source(process),
            exited=run.exited,
            told=lambda: self._told(process, run),
            spawn=self._task,
            guard=self._guard,
            search=search(question(process, run)),
        )
        self._runs[process.name, number] = run
        if launch.argv:
            self._task(self._start(process, run))
        else:
            self.tell(e.Spawned(process.name, number, None))
            self._probe(process, run)

    def _source(self, process: Process) -> Source:
        """Nobody asked for what keeps the others company; what it says is shown when it fails."""
        return self._output.source(process.name, shown=not process.service.auxiliary)

    async def _start(self, process: Process, run: Run) -> None:
        name, number = process.name, run.subject.run
        if process.previous is None and (
            taken := await preflight.port_taken(question(process, run), process.service.name, self._take_over)
        ):
            run.alive, run.cause = False, taken
            self.tell(e.SpawnFailed(name, number, 1, taken.why))
            return
        if run.ending:
            run.alive = False
            self.tell(e.Exited(name, number, 0))
            return
        try:
            pid = await self._bring_up(process, run)
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
        elif not process.service.oneshot:
            self._probe(process, run)

    async def _bring_up(self, process: Process, run: Run) -> int:
        """Out of the spare if there is one, else cold; beside the run that is held back under a name of its own, and with its sockets."""
        held = self._runs.get((process.name, process.previous.run)) if process.previous else None
        listeners = held.child.listeners if held else []
        run.node = self._free_node(process)
        spare = self._standby.take(process.name, run.subject.launch)
        words = " ".join(
            [*([f"node={run.node}"] if run.node else []), *([f"listen={len(listeners)}"] if listeners else [])]
        )
        if spare and spare.use == "fork":
            with contextlib.suppress(OSError):
                pid = await run.child.start_as_fork(spare.child, words, listeners)
                spare.adopt(run.child, pid)
                return pid
            self._standby.drop(process.name)
        elif spare:
            spare.child.become(run.subject, self._source(process), run.exited, lambda: self._told(process, run))
            run.child = spare.child
            run.child.order(f"go {words}".rstrip(), listeners)
            assert run.subject.pid is not None
            return run.subject.pid
        extra = {"DEVSTACK_ROOTS": os.pathsep.join(process.service.watch)}
        if run.node:
            extra["DEVSTACK_NODE"] = run.node
        if listeners:
            extra["DEVSTACK_LISTEN"] = ",".join(f"fd:{each}" for each in listeners)
        return await run.child.start(extra if run.subject.launch.channel else None, listeners)

    def _free_node(self, process: Process) -> str:
        """What sets a worker's node name apart from those of older runs that still live; empty for the only one."""
        others = [run for (name, _), run in self._runs.items() if name == process.name and run.alive]
        taken = {run.node for run in others}
        letters = ("", *string.ascii_lowercase[1:])
        return next((each for each in letters if each not in taken), str(process.run))

    def _probe(self, process: Process, run: Run) -> None:
        asked = question(process, run)
        if process.phase is Phase.RELOADING and process.service.role == "web":
            run.prober = self._task(self._takes_over(process, run, asked))
        else:
            run.prober = self._task(prober.watch(run.subject, asked, run.news, self.tell))

    async def _takes_over(self, process: Process, run: Run, asked: ProbeSpec) -> None:
        """A server beside an older one answers at the same port: it is ready when it says that it listens there."""
        while "listening" not in run.subject.beacon:
            run.news.clear()
            await run.news.wait()
        self.tell(e.BecameReady(process.name, run.subject.run, "listens at the same socket"))
        await prober.watch(run.subject, asked, run.news, self.tell)

    def _hold(self, run: Run) -> None:
        run.child.order("quiesce")
        if run.prober:
            run.prober.cancel()

    def _go_on(self, process: Process, run: Run) -> None:
        run.child.order("resume")
        if run.prober is None or run.prober.done() or run.prober.cancelling():
            run.prober = self._task(prober.watch(run.subject, question(process, run), run.news, self.tell))

    def _retire(self, name: str, number: int) -> None:
        """New code is there: the old one finishes what it has, and goes."""
        self._runs[name, number].retired_at = time.monotonic()
        self._end(name, number, polite=True)

    def _told(self, process: Process, run: Run) -> None:
        """Its channel has news."""
        run.news.set()
        if run.ending == "polite" and run.subject.beacon.get("cannot", {}).get("order") == "leave":
            run.child.leave(process.service.stop_signal, process.service.signal_group)

    def _see_off(self, process: Process, run: Run) -> None:
        """Ask it to leave: what can be ordered to finishes its tasks or requests first. One that is too busy to listen gets its signal."""
        service = process.service
        if "worker_ready" not in run.subject.beacon and not run.child.listeners:
            run.child.leave(service.stop_signal, service.signal_group)
            return

        # One that is quiet already says so no more; one that was resumed since is not.
        if run.subject.beacon.pop("resumed", None):
            run.subject.beacon.pop("quiesced", None)

        def remind() -> None:
            if run.alive and not run.subject.beacon.keys() & ANSWERS:
                run.child.leave(service.stop_signal, service.signal_group)

        run.child.order("leave")
        self._later(HEARD_WITHIN, remind)

    async def _give_back(self, run: Run) -> None:
        """Its grace is over: what it can give back to the broker goes there, and then it is killed."""
        with contextlib.suppress(TimeoutError):
            run.child.order("requeue")
            async with asyncio.timeout(HEARD_WITHIN):
                while "requeued" not in run.subject.beacon:
                    run.news.clear()
                    await run.news.wait()
            if run.subject.beacon["requeued"].get("exits"):
                await run.child.wait(GIVEN_BACK_WITHIN)
        run.child.kill()

    def _end(self, name: str, number: int, polite: bool) -> None:
        run = self._runs.get((name, number))
        if run is None:
            self.tell(e.Exited(name, number, 0))  # it never came to be
            return
        run.ending = "polite" if polite else "hard"
        if run.prober:
            run.prober.cancel()
        if not run.subject.launch.argv:
            # An outside server: it is not ours to stop.
            self.tell(e.Exited(name, number, 0))
        elif polite:
            self._see_off(self.stack.processes[name], run)
        elif self._forced or "worker_ready" not in run.subject.beacon:
            run.child.kill()
        else:
            self._task(self._give_back(run))

    def _exited(self, process: Process, run: Run, code: int) -> None:
        run.alive = False
        if run.prober:
            run.prober.cancel()
        launch = run.subject.launch
        tail = run.subject.tail().decode(errors="replace")
        run.cause = cause_of(code, tail, modules=modules(launch.cwd), directory=launch.cwd)
        # One that had settled met something that may pass; one that never did will meet it again.
        hopeless = run.cause.hopeless and time.monotonic() - run.subject.started < SETTLED_AFTER
        self.tell(e.Exited(process.name, run.subject.run, code, run.cause.why, hopeless))

    # ---- words

    def _announce(self, action: e.Announce) -> None:
        process = self.stack.processes[action.name]
        run = self._runs.get((action.name, action.run))
        took = time.monotonic() - run.subject.started if run else 0.0
        if action.kind == "failed":
            self.failure.set()
        if action.kind in ("failed", "overdue", "kept"):
            tail = run.subject.tail() if run else b""
            fix = run.cause.fix if run and action.kind != "overdue" else ""
            blocked = [
                other.name
                for name in self.stack.needed_by(process.service.name)
                for other in self.stack.of_service(name)
                if other.phase is Phase.WAITING
            ]
            self._output.say(voice.error(process, action, tail, fix, blocked))
        elif action.kind == "reloaded":
            old = self._runs.get((action.name, process.retiring[-1])) if process.retiring else None
            active = old.subject.beacon.get("quiesced", {}).get("active") if old else 0
            self._output.say(voice.reloaded(process.name, took, action.why, active if isinstance(active, int) else 0))
        elif action.kind == "retired":
            if run and run.retiring_for() > voice.LONG_FINISH:
                self._output.say(voice.retired(process.name, run.retiring_for(), run.subject.beacon.get("drained", {})))
        elif action.kind != "stopped" or (run and run.subject.launch.argv):
            self._output.say(voice.line(process, action, took))
        if action.kind in ("ready", "reloaded") and run:
            self._standby.prepare(process, run.subject)
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
            ages = {name: time.monotonic() - run.subject.started for (name, _), run in self._runs.items()}
            if text := voice.progress(self.stack, ages):
                self._output.say(text)
            self._later(pause * 1.5, self._progress, pause * 1.5)

    def _stop_progress(self) -> None:
        for run in self._runs.values():
            if run.alive and "worker_ready" in run.subject.beacon:
                run.child.order("status")
        self._later(ANSWERED_WITHIN, self._say_who_stays)
        self._later(STOP_PROGRESS, self._stop_progress)

    def _say_who_stays(self) -> None:
        doing = {
            name: run.subject.beacon.get("active", {}).get("tasks")
            for (name, _), run in self._runs.items()
            if run.alive
        }
        if text := voice.stopping(self.stack, time.monotonic() - self._left_at, doing):
            self._output.say(text)

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
