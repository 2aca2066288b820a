"""Terminals, where the system has them (Linux and macOS): one that a process is given, and the one that a person sits at.

Rule: a process that has one is the leader of its session, so Ctrl-C typed there reaches what runs in front, and nobody else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Any

assert sys.platform != "win32"


class Terminal:
    """`read` is where we read what the process writes, `streams` what it is spawned with (for `loop.subprocess_exec`).

    Each of `listeners` is called with all that it writes, as it comes, and with nothing at its end.
    """

    def __init__(self) -> None:
        self.read, self._theirs = os.openpty()
        self._write = os.dup(self.read)
        self._return = b""
        self.listeners: list[Callable[[bytes], None]] = []
        columns, rows = shutil.get_terminal_size()
        self.resize(rows, columns)

    @property
    def streams(self) -> dict[str, Any]:
        return {**dict.fromkeys(("stdin", "stdout", "stderr"), self._theirs), "preexec_fn": _take}

    def spawned(self) -> None:
        """The process has its end now, or never will."""
        os.close(self._theirs)

    def heard(self, data: bytes) -> bytes:
        """What it wrote, with ends of lines as in a pipe."""
        for listener in [*self.listeners]:
            listener(data)
        data = self._return + data
        self._return = b"\r" if data.endswith(b"\r") else b""
        return data[: len(data) - len(self._return)].replace(b"\r\n", b"\n")

    def write(self, data: bytes) -> None:
        """As typed there. What a program that does not read has no room for is lost, as on any terminal."""
        with contextlib.suppress(OSError):
            os.write(self._write, data)

    def resize(self, rows: int, columns: int) -> None:
        with contextlib.suppress(OSError, struct.error):
            fcntl.ioctl(self._write, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
            for listener in [*self.listeners]:
                listener(b"")


def _take() -> None:
    """In the new process, which leads a session by now."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def raw(resized: Callable[[int, int], None]) -> Iterator[None]:
    """Every key of our own terminal comes as it is typed. `resized(rows, columns)` is called at once and whenever its size changes."""

    def tell(*_: object) -> None:
        columns, rows = os.get_terminal_size(0)
        resized(rows, columns)

    before, handler = termios.tcgetattr(0), signal.signal(signal.SIGWINCH, tell)
    try:
        tty.setraw(0)
        tell()
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def typed(over: int) -> Iterator[bytes]:
    """What is typed at our own terminal, until something can be read from the descriptor `over`."""
    while True:
        ready, _, _ = select.select([0, over], [], [])
        if over in ready or not (keys := os.read(0, 1024)):
            return
        yield keys
