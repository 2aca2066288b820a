"""Processes that have come to a `breakpoint()` or have a terminal of their own, and the terminals of people who talk to them.

Rule 1: one that stops stays connected until it goes on; what it wrote since the last answer is shown to whoever attaches next.
Rule 2: nobody waits for a terminal: when its process is to stop, it is let go and finishes what it was at.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from devstack.control.picture import Supervised
from devstack.control.server import Connection, TooSlow
from devstack.core.model import Phase
from devstack.errors import FAILED, USAGE, DevstackError
from devstack.host import Terminal

MOST_KEPT = 200
"""Messages, of some kilobytes each, since the last answer."""


@dataclass(eq=False)
class Stop:
    """One session of a debugger. `terminal` is who is attached."""

    process: str
    pid: int
    where: str
    line: Connection
    terminal: Connection | None = None
    here: bool = True
    """It waits for an answer; otherwise it goes on, and may come to another breakpoint of this session."""
    busy: bool = False
    """It has not finished with what was typed last."""
    recent: list[dict[str, object]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, message: dict[str, object]) -> None:
        self.recent = [*self.recent[-MOST_KEPT:], message]
        self.busy = self.busy and not message.get("asks")
        if self.terminal:
            try:
                self.terminal.send(message)
            except TooSlow:
                self.terminal = None

    def answered(self, message: dict[str, object]) -> None:
        text = message.get("in")
        if isinstance(text, str) and not self.over.is_set():
            self.recent, self.busy = [], True
            try:
                self.line.send({"in": text})
            except TooSlow:
                self.over.set()


class Stops:
    """`say` tells in the stream of `up` what happens; files are shown as seen from `directory`."""

    def __init__(self, directory: str, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._all: list[Stop] = []

    async def stopped(self, request: dict[str, object], to: Connection, there: Supervised) -> int:
        """A process that has come to a breakpoint. The end of the connection is its going on."""
        match request:
            case {"process": str(name), "pid": int(pid), "file": str(), "line": int()} if name in there.stack.processes:
                stop = Stop(name, pid, self._where(request), to)
            case _:
                raise DevstackError("no process of this stack", code=USAGE)

        def heard(message: dict[str, object]) -> None:
            match message:
                case {"file": str(), "line": int()}:
                    stop.where, stop.here = self._where(message), True
                    self._announce(stop)
                case {"goes_on": True}:
                    stop.here = False
                    self._say(f"{name} goes on")
                case {"out": str()}:
                    stop.show(message)

        def changed() -> None:
            if there.stack.processes[name].phase is Phase.STOPPING or there.stack.leaving:
                stop.over.set()

        to.hears = heard
        self._all.append(stop)
        there.hold(name)
        there.changed.append(changed)
        to.send({"heard": True})
        self._announce(stop)
        try:
            changed()
            await stop.over.wait()
        finally:
            there.changed.remove(changed)
            self._all.remove(stop)
            stop.over.set()
            if stop.here:
                self._say(f"{name} goes on")
            if not self.waits([name]):
                there.let_go(name)
        return 0

    async def attach(self, names: Sequence[str], to: Connection) -> int:
        """A terminal, for the first of these processes that waits. It stays until that goes on."""
        waiting = [stop for stop in self._all if stop.process in names]
        if not waiting:
            what = f"{names[0]} is at no breakpoint" if len(names) == 1 else "nothing is at a breakpoint"
            fix = "write breakpoint() into its code, or give it a terminal: tty = true in its settings"
            raise DevstackError(what, fix=fix, code=FAILED)
        stop = next((stop for stop in waiting if not stop.terminal), None)
        if stop is None:
            raise DevstackError(f"another terminal is attached to {waiting[0].process}", code=FAILED)
        stop.terminal = to
        to.hears = stop.answered
        try:
            to.send({"attached": stop.process, "where": stop.where, "pid": stop.pid})
            for message in stop.recent:
                to.send(message)
            if stop.here and stop.busy:
                to.send({"out": "(it is still busy with what was typed last; Ctrl-C leaves)\n"})
            await stop.over.wait()
        finally:
            stop.terminal = None
        return 0

    def waits(self, names: Iterable[str]) -> bool:
        return any(stop.process in names for stop in self._all)

    def mark(self, rows: Iterable[dict[str, object]]) -> None:
        """Rows of `ps` say who is at a breakpoint."""
        for row in rows:
            where = [stop.where for stop in self._all if stop.process == row["name"] and stop.here]
            if where:
                row["why"] = f"stopped at {', '.join(where)}: devstack attach {row['name']}"

    def _announce(self, stop: Stop) -> None:
        self._say(f"{stop.process} stopped at {stop.where}, type: devstack attach {stop.process}")

    def _where(self, message: dict[str, object]) -> str:
        file = str(message["file"])
        if file.startswith(self._directory + os.sep):
            file = file[len(self._directory) + 1 :]
        return f"{file}:{message['line']}"


async def sit_at(name: str, terminal: Terminal, to: Connection) -> int:
    """A person's terminal, for a process that has one of its own: what it writes from now on, and every key that is typed. To its end."""
    over = asyncio.Event()

    def wrote(data: bytes) -> None:
        if not data:
            over.set()
            return
        try:
            to.send({"out": data.decode("latin-1")})
        except TooSlow:
            over.set()

    def typed(message: dict[str, object]) -> None:
        match message:
            case {"in": str(keys)}:
                terminal.write(keys.encode("latin-1", "replace"))
            case {"size": [int(rows), int(columns)]}:
                terminal.resize(rows, columns)

    to.hears = typed
    to.send({"attached": name, "terminal": True})
    terminal.listeners.append(wrote)
    try:
        await over.wait()
    finally:
        terminal.listeners.remove(wrote)
    return 0
