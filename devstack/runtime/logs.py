"""The same bytes once more, in a file for each process: `worker.1.log`, and the older `worker.1.log.1` … `.N`.

Rule 1: each line begins with the moment it came, `2026-11-21 05:39:06.123 `; apart from that the bytes are the process's.
Rule 2: a file that reaches `size` bytes is renamed and begun anew; no line is split between two files. `count` of them are kept.
Rule 3: what cannot be written (the disk is full) is said once, and costs nothing but the file.

Rule 4: a thread writes, so that neither a slow disk nor one that hangs holds up the loop. When it does not keep up, the pipes are paused,
as for a slow terminal; at the end it is waited for, but not for ever.
Rule 5: the terminal comes first. The loop only notes what came, and when, without a lock; it goes to its file in the next pause, or when
somebody follows it, or it is too far behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from devstack.runtime.parts import AT_ONCE, Part, put

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
NEWLINE = ord("\n")


FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Marker:
    """Puts the moment before each line of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._within_line = False

    def mark(self, data: bytes, moment: float) -> list[Part]:
        """`data` is not empty, and need not end with a whole line; it came at `moment` (seconds since 1970)."""
        stamp = self._clock.stamp(moment)
        began = [] if self._within_line else [stamp]
        self._within_line = not data.endswith(b"\n")
        if data.find(b"\n", 0, -1) < 0:
            return [b"".join((*began, data))]
        # The last newline gets a stamp too many: not to write that costs less than to spare the newline.
        marked = memoryview(data.replace(b"\n", b"\n" + stamp))
        return [*began, marked if self._within_line else marked[: -len(stamp)]]


class Clock:
    """Local time with milliseconds; what is asked for a file is asked for by a person."""

    def __init__(self) -> None:
        self._second, self._text = -1, b""

    def stamp(self, moment: float) -> bytes:
        second, milliseconds = divmod(int(moment * 1000), 1000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)).encode()
        return b"%s.%03d " % (self._text, milliseconds)


class LogFile:
    """OSError when it cannot be opened or written."""

    def __init__(self, path: Path, size: int, count: int) -> None:
        self._path = path
        self._size = size
        self._count = count
        self._within_line = False
        self._open()

    def write(self, parts: Iterable[Part]) -> None:
        """Append them, none of which is empty, at once. A file that somebody has removed is begun anew."""
        if os.fstat(self._fd).st_nlink == 0:
            os.close(self._fd)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        together: list[Part] = []
        for part in parts:
            full = self._reached >= self._size and not self._within_line
            if full or len(together) == AT_ONCE:
                self._append(together)
                together = []
            if full:
                self._rotate()
            together.append(part)
            self._reached += len(part)
            self._within_line = part[-1] != NEWLINE
        self._append(together)

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, parts: Sequence[Part]) -> None:
        while parts:
            parts = put(self._fd, parts)

    def _open(self) -> None:
        self._fd = os.open(self._path, FLAGS, 0o600)
        self._reached = os.fstat(self._fd).st_size

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
        self._clock = Clock()
        self._markers: dict[str, Marker] = {}
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
            self._append(name, self._marked(name, data, time.time()))
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
        for file in self._files.values():
            if file:
                file.close()
        self._files.clear()

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
        batch: dict[str, list[Part]] = {}
        sizes = Counter[str]()
        for n in range(len(self._pending)):
            if n % AT_A_TIME == 0:
                time.sleep(0)  # the loop may be waiting for the interpreter's lock
            name, moment, data = self._pending.popleft()
            batch.setdefault(name, []).extend(self._marked(name, data, moment))
            sizes[name] += len(data)
        for name, parts in batch.items():
            self._append(name, parts)
            self._done += sizes[name]
            self._drain()
        self._drain()
        if self._written and batch:
            self._in_loop(self._written)

    def _drain(self) -> None:
        if self.full and self._unwritten < ENOUGH:
            self.full = False
            self._in_loop(self._on_drained)

    def _marked(self, name: str, data: bytes, moment: float) -> list[Part]:
        if not (marker := self._markers.get(name)):
            marker = self._markers[name] = Marker(self._clock)
        return marker.mark(data, moment)

    def _append(self, name: str, parts: list[Part]) -> None:
        path = self.directory / f"{name}.log"
        try:
            if name not in self._files:
                self._files[name] = LogFile(path, *self._limits)
            if file := self._files[name]:
                file.write(parts)
        except OSError as error:
            self._files[name] = None  # it is not tried again: each chunk would fail
            self._troubles.append(f"{name} is not logged any more: {path}: {error.strerror}")
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
