"""The log of one process: `worker.1.log`, and the older `worker.1.log.1` … `.N`.

Rule 1: each line begins with the moment it came, `2026-11-21 05:39:06.123 `; apart from that the bytes are the process's.
Rule 2: a file that reaches `size` bytes is renamed and begun anew; no line is split between two files. `count` of them are kept.
Rule 3: what cannot be written (the disk is full) is said once, and costs nothing but the file. After a while it is tried again, and then
the file says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from devstack.runtime.parts import AT_ONCE, Part, put

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NEWLINE = ord("\n")
REST, LONGEST_REST = 2.0, 300.0
"""Seconds until it is tried again to write; each time twice as long, up to the longest."""


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
        self._within_line = self._torn = False
        self._fd, self._reached = -1, 0
        self._open()

    def write(self, parts: Iterable[Part]) -> None:
        """Append them, none of which is empty, at once. A file that somebody has removed is begun anew."""
        if os.fstat(self._fd).st_nlink == 0:
            self.close()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        together: list[Part] = [b"\n"] if self._torn else []
        self._torn = False
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
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _append(self, parts: Sequence[Part]) -> None:
        while parts:
            parts = put(self._fd, parts)

    def _open(self) -> None:
        self._fd = os.open(self._path, FLAGS, 0o600)
        self._reached = os.fstat(self._fd).st_size
        # The disk was full, or devstack was killed.
        self._torn = self._reached > 0 and _last_byte(self._path) != b"\n"

    def _rotate(self) -> None:
        """One that cannot be moved, since on Windows somebody reads it, stays, and with it those that are newer."""
        self.close()
        files = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._count))]
        # It has left a place free then, and what is older need not move again.
        last = next((n for n, each in enumerate(files) if not each.exists()), len(files) - 1)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            # Not renamed over: of a file that takes another's place, Linux (ext4) writes all to the disk at once.
            files[last].unlink(missing_ok=True)
            for n in range(last, 0, -1):
                os.replace(files[n - 1], files[n])
        self._open()


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


class ProcessLog:
    """`write` is told later, by `say`, what could not be written."""

    def __init__(self, path: Path, size: int, count: int, clock: Clock, say: Callable[[str], None]) -> None:
        self._path = path
        self._limits = (size, count)
        self._clock = clock
        self._say = say
        self._marker = Marker(clock)
        self._parts: list[Part] = []
        self._file: LogFile | None = None
        self._trouble: OSError | None = None
        """Why what came since `_since` (seconds since 1970) is missing."""
        self._since = self._first = 0.0
        self._rest, self._rests_until = REST, 0.0

    def add(self, data: bytes, moment: float) -> None:
        """As for `Marker.mark`; it is in the file after the next `write`."""
        if not self._parts:
            self._first = moment
        if self._trouble and not self._parts:
            if time.monotonic() < self._rests_until:
                return
            # The rest of a line whose beginning is missing counts as one.
            self._marker = Marker(self._clock)
            self._parts = [self._clock.stamp(moment) + f"devstack: {self._missing}\n".encode()]
        self._parts += self._marker.mark(data, moment)

    def write(self) -> None:
        if not self._parts:
            return
        try:
            if self._file is None:
                self._file = LogFile(self._path, *self._limits)
            self._file.write(self._parts)
        except OSError as error:
            self.close()
            if not self._trouble:
                self._since = self._first
                self._say(f"{self._name} is not logged any more: {self._path}: {error.strerror}")
            self._trouble = error
            self._rests_until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
        else:
            if self._trouble:
                self._say(f"{self._name} is logged again; {self._missing}")
            self._trouble = None
        self._parts = []

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    @property
    def _name(self) -> str:
        return self._path.name.removesuffix(".log")

    @property
    def _missing(self) -> str:
        assert self._trouble
        return f"what came since {time.strftime('%H:%M:%S', time.localtime(self._since))} is missing: {self._trouble.strerror}"
