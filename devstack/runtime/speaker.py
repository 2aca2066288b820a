"""Who says in the stream what becomes of the stack: a line for each change, a frame for what needs a person, and who keeps us waiting.

Rule 1: the words are those of `voice`; here is only when they are said, and what about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from devstack.core import events as e
from devstack.core.causes import Cause
from devstack.core.model import Phase, Stack
from devstack.core.names import seconds
from devstack.runtime import voice
from devstack.runtime.frames import Frames
from devstack.runtime.output import Output
from devstack.runtime.run import Run

FIRST_PROGRESS = 8.0
"""Seconds until we say what we wait for; repeated ever less often."""
STOP_PROGRESS = 3.0
ANSWERED_WITHIN = 0.2
"""Seconds that a leaving worker gets to say what it is doing."""
TRACEBACK = b"Traceback (most recent call last):"


class Speaker:
    """`runs` are those of the supervisor, by process and number; `later(after, call, *arguments)` has the loop call something. `urls` are
    where a person finds the services, shown when all are ready.
    """

    def __init__(
        self,
        stack: Stack,
        runs: Mapping[tuple[str, int], Run],
        output: Output,
        later: Callable[..., None],
        urls: Mapping[str, str],
    ) -> None:
        self._stack = stack
        self._runs = runs
        self._output = output
        self._later = later
        self._urls = urls
        self._frames = Frames()
        self._started = time.monotonic()
        self._left_at = 0.0
        self._greeted = False

    def begin(self) -> None:
        self._later(FIRST_PROGRESS, self._progress, FIRST_PROGRESS)

    def forget(self) -> None:
        """New code was saved: what goes wrong now is worth a frame again."""
        self._frames.forget()

    def announce(self, action: e.Announce) -> None:
        process = self._stack.processes[action.name]
        run = self._runs.get((action.name, action.run))
        took = time.monotonic() - run.subject.started if run else 0.0
        if run and action.kind != "remark":
            # What it has said is in the frame, if it was but the traceback.
            run.source.release(show=action.kind not in ("failed", "kept") or TRACEBACK not in run.subject.tail())
        if action.kind in ("failed", "overdue", "kept"):
            tail = run.last_words() if run else ""
            cause = run.cause if run else Cause("")
            blocked = [
                other.name
                for name in self._stack.needed_by(process.service.name)
                for other in self._stack.of_service(name)
                if other.phase is Phase.WAITING
            ]
            self._output.say(self._frames.of(process, action, cause, tail, blocked))
        elif action.kind == "reloaded":
            old = self._runs.get((action.name, process.retiring[-1])) if process.retiring else None
            active = old.subject.beacon.get("quiesced", {}).get("active") if old else 0
            self._output.say(voice.reloaded(process.name, took, action.why, active if isinstance(active, int) else 0))
        elif action.kind == "retired":
            if run and run.retired_at and run.retiring_for() > voice.LONG_FINISH:
                self._output.say(voice.retired(process.name, run.retiring_for(), run.subject.beacon.get("drained", {})))
        elif action.kind != "stopped" or (run and run.subject.launch.argv):
            self._output.say(voice.line(process, action, took))

    def greet(self) -> None:
        """Once, when everything that was asked for is there."""
        if not self._greeted and all(p.phase.opens_gates or p.surplus for p in self._stack.processes.values()):
            self._greeted = True
            links = "".join(f"  {name} {url}" for name, url in self._urls.items())
            self._output.say(f"all ready in {seconds(time.monotonic() - self._started)}{links}")

    def leaving(self) -> None:
        """Somebody wants the stack to end, and waits."""
        if not self._left_at:
            self._left_at = time.monotonic()
            self._later(STOP_PROGRESS, self._stop_progress)

    def farewell(self, code: int) -> None:
        """Nobody wanted it to end."""
        if code and not self._left_at:
            self._output.say(voice.farewell(self._stack, code))

    def cut_off(self, name: str, number: int) -> None:
        """The tasks that a run which is killed was last heard to have: they are begun, and will not be finished."""
        run = self._runs.get((name, number))
        active = run.subject.beacon.get("active", {}) if run and run.alive else {}
        seen = active.get("seen")
        if run and isinstance(seen, float) and (text := voice.cut_off(active.get("tasks"), time.monotonic() - seen)):
            self._output.say(f"{name}: {text}; grace says how long a stop waits")
            run.cut_off = text

    def _progress(self, pause: float) -> None:
        if not self._greeted and not self._stack.leaving:
            ages = {name: time.monotonic() - run.subject.started for (name, _), run in self._runs.items()}
            if text := voice.progress(self._stack, ages):
                self._output.say(text)
            self._later(pause * 1.5, self._progress, pause * 1.5)

    def _stop_progress(self) -> None:
        for run in self._runs.values():
            run.ask_what_it_does()
        self._later(ANSWERED_WITHIN, self._say_who_stays)
        self._later(STOP_PROGRESS, self._stop_progress)

    def _say_who_stays(self) -> None:
        doing = {
            name: run.subject.beacon.get("active", {}).get("tasks")
            for (name, _), run in self._runs.items()
            if run.alive
        }
        if text := voice.stopping(self._stack, time.monotonic() - self._left_at, doing):
            self._output.say(text)
