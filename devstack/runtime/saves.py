"""Judges saves: what changed, whom that concerns, whether it compiles; and tells it.

Rule 1: the same contents are no change.
Rule 2: a process is told of everything that changed since it was last told, and only once all of it compiles.
Rule 3: what is as it was when it was last told of is told of no more.
Rule 4: a file that a process writes at each start is told of no more once that is proven (core/echoes).
Rule 5: code is only judged for processes that use it for sure, and whose Python has our version. Others find out by themselves, and the old
one stays meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from devstack.core import events as e
from devstack.core.echoes import CALM, LONG_CALM, Echoes, Verdict
from devstack.core.health import Subject
from devstack.core.model import Phase, Process, Stack
from devstack.core.names import listing, seconds
from devstack.core.record import replace
from devstack.runtime import syntax
from devstack.runtime.contents import Change, Contents
from devstack.runtime.users import Use, Users, relative, shown

JUST_STARTED = 2.0
"""Seconds after its start in which what a process without a probe changes is laid to its start."""
JUST_READY = 0.03
"""The same for one that tells when it is ready, since then. Who saves as soon as it answers comes later."""
LONG_START = 30.0
"""The same while it is not ready yet."""
OURS = "{}.{}.".format(*sys.version_info)


@dataclass(slots=True)
class Waiting:
    """What a process has not been told of yet, with the contents that it was told of last (or started with)."""

    starts: int
    files: dict[str, bytes | None] = field(default_factory=dict)


class Saves:
    """`wake` has `judge` called soon, if only with no paths."""

    def __init__(
        self,
        stack: Stack,
        root: Path,
        subject: Callable[[str], Subject | None],
        tell: Callable[[e.ReloadAsked], None],
        say: Callable[[str], None],
        wake: Callable[[], None],
        read: Iterable[Path] = (),
    ) -> None:
        self.contents = Contents()
        self.told_at = float("-inf")
        """When somebody was last told, by the loop's clock."""
        self._stack = stack
        self._root = root
        self._subject = subject
        self._tell = tell
        self._say = say
        self._wake = wake
        self._read = {os.path.join(os.path.realpath(each.parent), each.name) for each in read}
        """The configuration, as it was read at the start."""
        self._users = Users(root, subject)
        self._echoes = Echoes()
        self._waiting: dict[str, Waiting] = {}
        self._faults: dict[str, syntax.Fault] = {}
        self._starts: dict[str, int] = {}
        """How often a process had started when it was last told."""
        self._held: dict[str, Change] = {}
        """Files on trial as an echo."""

    async def judge(self, paths: Iterable[str]) -> None:
        """Look at the files at `paths` and tell what there is to tell. One call at a time."""
        found = await asyncio.to_thread(self.contents.changes, paths)
        if any(os.path.islink(change.path) for change in found):
            self._users.forget_links()
        changes = [*self._without_echoes(found), *self._calm()]
        if unread := [change.path for change in changes if change.path in self._read]:
            self._say(f"{shown(unread, self._root)} changed: that counts from the next devstack up")
        users = {process.name: self._users.of(process) for process in self._stack.processes.values()}
        restored = self._note(changes, users.values())
        ours = {name for name, use in users.items() if use.tells and self._speaks_our_python(name)}
        await self._compile(changes, ours)
        told = self._decide(users, ours, saved={change.path for change in changes})
        if restored and not told and not self._waiting:
            # Somebody who saw the error wants to know that it is over.
            self._say(f"{shown(sorted(restored), self._root)} is as it was: nothing to reload")

    # ---- echoes

    def _without_echoes(self, changes: list[Change]) -> list[Change]:
        now, kept = time.monotonic(), []
        for change in changes:
            path, held = change.path, self._held.pop(change.path, None)
            if held:
                change = replace(change, before=held.before)
            writers = self._just_started(path, now)
            match self._echoes.changed(path, min(writers.values(), default=None), now):
                case Verdict.TELL:
                    kept.append(change)
                case Verdict.HOLD:
                    self._held[path] = change
                    asyncio.get_running_loop().call_later(CALM, self._wake)
                case Verdict.PROVEN:
                    self._held[path] = change
                    asyncio.get_running_loop().call_later(LONG_CALM, self._wake)
                    times, took = self._echoes.history(path, now)
                    self._say(
                        f"{relative(path, self._root)} is written whenever {listing(writers)} starts ({times} times in "
                        f"{seconds(took)}): it reloads nothing until something else saves it; better have it written outside the "
                        "watched directories"
                    )
                case Verdict.LEAVE if held:
                    self._held[path] = change
        return kept

    def _calm(self) -> list[Change]:
        due = [path for path in self._held if self._echoes.calm(path, time.monotonic())]
        return [self._held.pop(path) for path in due]

    def _just_started(self, path: str, now: float) -> dict[str, float]:
        """The processes that were told of `path`, and have only just started again, with the seconds since."""
        names, told = self._echoes.last_told(path)
        fresh = {}
        for name in names:
            subject, phase = self._subject(name), self._stack.processes[name].phase
            if subject is None:
                continue
            since = now - subject.started
            if subject.started < told:
                # It came and went again, and the old code goes on.
                since = now - told
                fresh_enough = self._stack.processes[name].starts > self._starts[name] and since < JUST_STARTED
            elif ready := _ready(subject):
                fresh_enough = now - ready < JUST_READY
            else:
                fresh_enough = since < (LONG_START if phase in (Phase.STARTING, Phase.RELOADING) else JUST_STARTED)
            if fresh_enough:
                fresh[name] = since
        return fresh

    # ---- what waits, and what may go

    def _note(self, changes: list[Change], users: Iterable[Use]) -> set[str]:
        """Note for each process what concerns it; the files that are as they were, so that they need no reload any more."""
        restored = set()
        for use in users:
            name = use.process.name
            for change in changes:
                if not use.concerns(change.path):
                    continue
                waiting = self._waiting.setdefault(name, Waiting(use.process.starts))
                before = waiting.files.setdefault(change.path, change.before)
                if before == change.after and _still_runs(use.process, waiting):
                    del waiting.files[change.path]
                    restored.add(change.path)
            if name in self._waiting and not self._waiting[name].files:
                del self._waiting[name]
        return restored

    async def _compile(self, changes: list[Change], ours: set[str]) -> None:
        for change in changes:
            self._faults.pop(change.path, None)
        wanted = {path for name in ours if name in self._waiting for path in self._waiting[name].files}
        sources = {
            change.path: change.source for change in changes if change.source is not None and change.path in wanted
        }
        if sources:
            self._faults |= await asyncio.to_thread(syntax.check, sources)

    def _decide(self, users: dict[str, Use], ours: set[str], saved: set[str]) -> bool:
        told: dict[str, list[str]] = {}
        blocked: dict[str, list[str]] = {}
        names = []
        for name in list(self._waiting):
            files = self._waiting[name].files
            faulty = [path for path in files if path in self._faults] if name in ours else []
            if users[name].process.phase is Phase.FAILED:
                # It has no old code to lose, and is tried again after any change, but not if that surely fails.
                faulty = [path for path in faulty if users[name].imported(path)]
            for path in faulty:
                blocked.setdefault(path, []).append(name)
            if not faulty:
                names.append(name)
                for path in (*sorted(files.keys() & saved), *sorted(files.keys() - saved)):
                    told.setdefault(path, []).append(name)
                del self._waiting[name]
        self._report(blocked, saved)
        if names:
            self._starts |= {name: users[name].process.starts for name in names}
            self.told_at = asyncio.get_running_loop().time()
            for path, concerned in told.items():
                self._echoes.told(path, tuple(concerned), time.monotonic())
            self._tell(e.ReloadAsked(tuple(names), shown(told, self._root)))
        return bool(names)

    def _speaks_our_python(self, name: str) -> bool:
        subject = self._subject(name)
        if subject is None or self._stack.processes[name].phase is Phase.DOWN:
            return False
        return str(subject.beacon.get("hello", {}).get("python", "")).startswith(OURS)

    # ---- words

    def _report(self, blocked: dict[str, list[str]], saved: set[str]) -> None:
        """The first new fault with its frame; the others, and the old ones that still are in the way, in one line."""
        new = [path for path in sorted(blocked) if path in saved]
        if new:
            names = blocked[new[0]]
            kept = any(_runs(self._stack.processes[name]) for name in names)
            self._say(syntax.frame(relative(new[0], self._root), self._faults[new[0]], names, kept))
        more = [
            syntax.place(relative(path, self._root), self._faults[path])
            for path in (new[1:] if new else sorted(blocked))
        ]
        if more:
            does = "does" if len(more) == 1 else "do"
            names = sorted({name for path in blocked for name in blocked[path]})
            rest = f"{does} not compile either" if new else f"still {does} not compile: {listing(names)} not reloaded"
            self._say(f"{listing(more)} {rest}")


def _still_runs(process: Process, waiting: Waiting) -> bool:
    """Whether it has what it was told of last, for sure: it has proved itself since, and nothing has started."""
    return process.phase is Phase.READY and process.run == process.starts == waiting.starts


def _runs(process: Process) -> bool:
    return process.phase in (Phase.READY, Phase.RELOADING)


def _ready(subject: Subject) -> float:
    """When it told that it is ready; 0 if it does not tell."""
    kinds = ("worker_ready", "beat_ready", "listening")
    said = [subject.beacon[kind].get("seen") for kind in kinds if kind in subject.beacon]
    return max((seen for seen in said if isinstance(seen, float)), default=0.0)
