"""The same bytes once more, in a file for each process: `worker.1.log`, and the older `worker.1.log.1` … `.N`.

Rule 1: each line begins with the moment it came, `2026-11-21 05:39:06.123 `; apart from that the bytes are the process's.
Rule 2: a file that reaches `size` bytes is renamed and begun anew; no line is split between two files. `count` of them are kept.
Rule 3: what cannot be written (the disk is full) is said once, and costs nothing but the file.

Rule 4: a thread writes, so that neither a slow disk nor one that hangs holds up the loop. When it does not keep up, the pipes are paused,
as for a slow terminal; at the end it is waited for, but not for ever.
Rule 5: the terminal comes first: what is printed waits a moment for what follows, and goes to its file when that has been shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from devstack.runtime.parts import Part, put

HIGH_WATER, ENOUGH = 8 * 1024 * 1024, 4 * 1024 * 1024
"""Bytes that may wait for the disk; that do not wait for others, and are left when the pipes go on."""
MOMENT = 0.02
"""Seconds."""
PATIENCE = 2.0
"""Seconds that the disk gets at the end."""


FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class LogFile:
    """OSError when it cannot be opened or written."""

    def __init__(self, path: Path, size: int, count: int) -> None:
        self._path = path
        self._size = size
        self._count = count
        self._within_line = False
        self._open()

    def write(self, data: bytes, moment: float | None = None) -> None:
        """Append `data`, which need not end with a whole line, and came at `moment` (now)."""
        if not data:
            return
        stamp = _stamp(time.time() if moment is None else moment)
        if not self._within_line and self._written >= self._size:
            self._rotate()
        # The last newline gets a stamp too many: not to write that costs less than to spare the newline.
        whole = data.endswith(b"\n")
        marked = memoryview(data.replace(b"\n", b"\n" + stamp))
        self._append(b"" if self._within_line else stamp, marked[: -len(stamp)] if whole else marked)
        self._within_line = not whole

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, *parts: Part) -> None:
        rest: Sequence[Part] = parts
        while rest:
            rest = put(self._fd, rest)
        self._written += sum(map(len, parts))

    def _open(self) -> None:
        self._fd = os.open(self._path, FLAGS, 0o600)
        self._written = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        """One that cannot be moved, since on Windows somebody reads it, stays, and with it those that are newer."""
        os.close(self._fd)
        files = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._count))]
        # It has left a place free then, and what is older need not move again.
        last = next((n for n, each in enumerate(files) if not each.exists()), len(files) - 1)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            # Not renamed over: of a file that takes another's place, Linux (ext4) writes all to the disk at once.
            files[last].unlink(missing_ok=True)
            for n in range(last, 0, -1):
                os.replace(files[n - 1], files[n])
        self._open()


class Logs:
    """The files of one `up` below `directory`. `say` tells (in the loop) what cannot be written.

    Until it is opened, it writes at once.
    """

    def __init__(self, directory: Path, size: int, count: int, say: Callable[[str], None]) -> None:
        self.directory = directory
        self._limits = (size, count)
        self._say = say
        self._files: dict[str, LogFile | None] = {}
        self._troubles: list[str] = []
        """What has to be said yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_full: Callable[[], None] = lambda: None
        self._on_drained: Callable[[], None] = lambda: None
        self._pending: list[tuple[str, float, bytes]] = []
        self._unwritten = 0
        self._closing = False
        self.full = False
        self._written: Callable[[], None] | None = None
        self._changed = threading.Condition()
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
            self._append(name, time.time(), data)
            return
        with self._changed:
            self._pending.append((name, time.time(), data))
            self._unwritten += len(data)
            if len(self._pending) == 1 or self._hurried():
                self._changed.notify()
            now_full = self._unwritten > HIGH_WATER and not self.full
            self.full |= now_full
        if now_full:
            self._on_full()

    def close(self) -> None:
        """Wait until everything is written, unless the disk hangs."""
        if self._loop:
            with self._changed:
                self._closing = True
                self._changed.notify()
            self._thread.join(PATIENCE)
            if self._thread.is_alive():
                self._say(f"{self._unwritten} bytes are missing in {self.directory}: the disk does not take them")
                return
            self._loop = None
        self._tell()
        for file in self._files.values():
            if file:
                file.close()
        self._files.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                self._changed.wait_for(self._hurried, MOMENT)
                batch, self._pending = self._pending, []
            for name, moment, data in batch:
                self._append(name, moment, data)
                with self._changed:
                    self._unwritten -= len(data)
                    drained = self.full and self._unwritten < ENOUGH
                    self.full &= not drained
                if drained:
                    self._in_loop(self._on_drained)
            if self._written:
                self._in_loop(self._written)

    def _hurried(self) -> bool:
        return self._closing or self.full or self._unwritten > ENOUGH

    def _append(self, name: str, moment: float, data: bytes) -> None:
        try:
            if name not in self._files:
                self._files[name] = LogFile(self.directory / f"{name}.log", *self._limits)
            if file := self._files[name]:
                file.write(data, moment)
        except OSError as error:
            self._files[name] = None  # it is not tried again: each chunk would fail
            self._troubles.append(f"{name} is not logged any more: {self.directory}: {error.strerror}")
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


def _stamp(moment: float) -> bytes:
    """Local time with milliseconds; what is asked for a file is asked for by a person."""
    milliseconds = int(moment * 1000) % 1000
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(moment))}.{milliseconds:03d} ".encode()
