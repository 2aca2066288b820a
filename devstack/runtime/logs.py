"""The same bytes once more, in a file for each process, on the side (`logfile.py`).

Rule 1: a thread writes, so that neither a slow disk nor one that hangs holds up the loop. When it does not keep up, the pipes are paused,
as for a slow terminal; at the end it is waited for, but not for ever.
Rule 2: the terminal comes first. The loop only notes what came, and when, without a lock; it goes to its file in the next pause, or when
somebody follows it, or it is too far behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from devstack.runtime.logfile import Clock, ProcessLog

HIGH_WATER, ENOUGH = 8 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes that may wait for the disk; that do not wait for others, and are left when the pipes go on."""
PAUSES = (0.02, 0.04)
"""Seconds without a line that are a pause: first so many, then so many, and at the end it is written without one. Together less than
`devstack logs` takes to start: it has to show what a person has seen before.
"""
PATIENCE = 2.0
"""Seconds that the disk gets at the end."""
AT_A_TIME = 16
"""Chunks that are marked before the thread gives way: it could keep the loop from running for 5 ms."""


class Logs:
    """The files of one `up` below `directory`. `say` tells (in the loop) what cannot be written.

    Until it is opened, it writes at once.
    """

    def __init__(self, directory: Path, size: int, count: int, say: Callable[[str], None]) -> None:
        self.directory = directory
        self._limits = (size, count)
        self._say = say
        self._logs: dict[str, ProcessLog] = {}
        self._troubles: list[str] = []
        """What has to be said yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_full: Callable[[], None] = lambda: None
        self._on_drained: Callable[[], None] = lambda: None
        self._clock = Clock()
        self._pending = deque[tuple[str, float, bytes]]()
        self._received = self._done = 0
        """Bytes; the one is counted in the loop, the other in the thread."""
        self._closing = False
        self.full = False
        self._written: Callable[[], None] | None = None
        self._come, self._hurry = threading.Event(), threading.Event()
        """That there is something to do, and that it cannot wait for a pause."""
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def open(self, on_full: Callable[[], None], on_drained: Callable[[], None]) -> None:
        """From now on the thread writes; from inside the running loop."""
        self._loop = asyncio.get_running_loop()
        self._on_full, self._on_drained = on_full, on_drained
        self._thread.start()

    def listen(self, call: Callable[[], None] | None) -> None:
        """`call` is called in the loop whenever something has been written."""
        self._written = call

    def write(self, name: str, data: bytes) -> None:
        if not data:
            return
        if self._loop is None:
            log = self._log(name)
            log.add(data, time.time())
            log.write()
            return
        self._pending.append((name, time.time(), data))
        self._received += len(data)
        unwritten = self._unwritten
        if unwritten > ENOUGH:
            self._hurry.set()
        if unwritten > HIGH_WATER and not self.full:
            self.full = True
            self._on_full()
        # Last: if the thread had written all before `full` was set, it looks once more.
        if not self._come.is_set():
            self._come.set()

    def close(self) -> None:
        """Wait until everything is written, unless the disk hangs."""
        if self._loop:
            self._closing = True
            self._hurry.set()
            self._come.set()
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                self._say(f"{self._unwritten} bytes are missing in {self.directory}: the disk does not take them")
                return
            self._loop = None
        self._tell()
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    @property
    def _unwritten(self) -> int:
        return self._received - self._done

    def _run(self) -> None:
        while not self._closing:
            self._come.wait()
            self._wait_for_pause()
            self._come.clear()
            self._write_all()
            self._hurry.clear()
            if self._unwritten > ENOUGH:
                self._hurry.set()
        self._write_all()

    def _wait_for_pause(self) -> None:
        for pause in PAUSES:
            before = self._received
            if self._hurry.wait(pause) or self._written or self._received == before:
                return

    def _write_all(self) -> None:
        """What is there now."""
        sizes = Counter[ProcessLog]()
        for n in range(len(self._pending)):
            if n % AT_A_TIME == 0:
                time.sleep(0)  # the loop may be waiting for the interpreter's lock
            name, moment, data = self._pending.popleft()
            log = self._log(name)
            log.add(data, moment)
            sizes[log] += len(data)
        for log, size in sizes.items():
            log.write()
            self._done += size
            self._drain()
        self._drain()
        if self._written and sizes:
            self._in_loop(self._written)

    def _drain(self) -> None:
        if self.full and self._unwritten < ENOUGH:
            self.full = False
            self._in_loop(self._on_drained)

    def _log(self, name: str) -> ProcessLog:
        if not (log := self._logs.get(name)):
            path = self.directory / f"{name}.log"
            log = self._logs[name] = ProcessLog(path, *self._limits, self._clock, self._report)
        return log

    def _report(self, text: str) -> None:
        self._troubles.append(text)
        self._in_loop(self._tell)

    def _tell(self) -> None:
        while self._troubles:
            self._say(self._troubles.pop(0))

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        if self._loop is None:
            call(*arguments)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving anyway
            self._loop.call_soon_threadsafe(call, *arguments)
