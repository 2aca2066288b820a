"""The same bytes once more, in a file for each process: `worker.1.log`, and the older `worker.1.log.1` … `.N`.

Rule 1: each line begins with the moment it came, `2026-11-21 05:39:06.123 `; apart from that the bytes are the process's.
Rule 2: a file that reaches `size` bytes is renamed and begun anew; no line is split between two files. `count` of them are kept.
Rule 3: what cannot be written (the disk is full) is said once, and costs nothing but the file.

Written right away, in the loop: for the system that is a copy in memory, for us one call per chunk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path


class LogFile:
    """OSError when it cannot be opened or written."""

    def __init__(self, path: Path, size: int, count: int) -> None:
        self._path = path
        self._size = size
        self._count = count
        self._within_line = False
        self._open()

    def write(self, data: bytes) -> None:
        """Append `data`, which need not end with a whole line."""
        if not data:
            return
        stamp = _stamp()
        if not self._within_line and self._written >= self._size:
            self._rotate()
        # The last newline gets a stamp too many: not to write that costs less than to spare the newline.
        whole = data.endswith(b"\n")
        marked = memoryview(data.replace(b"\n", b"\n" + stamp))
        for part in (b"" if self._within_line else stamp, marked[: -len(stamp)] if whole else marked):
            self._append(part)
        self._within_line = not whole

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, data: bytes | memoryview) -> None:
        while data:
            written = os.write(self._fd, data)
            self._written += written
            data = data[written:]

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._written = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        os.close(self._fd)
        older = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._count))]
        for newer, old in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, old)
        if len(older) == 1:
            self._path.unlink()
        self._open()


class Logs:
    """The files of one `up` below `directory`. `say` tells what cannot be written."""

    def __init__(self, directory: Path, size: int, count: int, say: Callable[[str], None]) -> None:
        self.directory = directory
        self._size = size
        self._count = count
        self._say = say
        self._files: dict[str, LogFile | None] = {}

    def write(self, name: str, data: bytes) -> None:
        try:
            if name not in self._files:
                self._files[name] = LogFile(self.directory / f"{name}.log", self._size, self._count)
            if file := self._files[name]:
                file.write(data)
        except OSError as error:
            self._files[name] = None  # it is not tried again: each chunk would fail
            self._say(f"{name} is not logged any more: {self.directory}: {error.strerror}")

    def close(self) -> None:
        for file in self._files.values():
            if file:
                file.close()
        self._files.clear()


def _stamp() -> bytes:
    """Local time with milliseconds; what is asked for a file is asked for by a person."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d} ".encode()
