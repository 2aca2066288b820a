"""The thread that writes to the terminal, so that nothing that its reader does (stalls, goes away) holds up the loop."""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from devstack.runtime.parts import Part, length, put, taken

HIGH_WATER, LOW_WATER = 2 * 1024 * 1024, 1536 * 1024
"""Bytes that may wait for the terminal; so much is left when the pipes go on, so that it need not wait for them."""
LEAST, MOST, PACE = 4 * 1024, 256 * 1024, 0.1
"""Bytes of one write, and the seconds that it may take: so exactly we know how far a slow reader is."""


class Writer:
    """The thread that owns the file descriptor. `on_broken` is called (in the loop) when nobody reads any more."""

    def __init__(
        self,
        fd: int,
        loop: asyncio.AbstractEventLoop,
        on_full: Callable[[], None],
        on_drained: Callable[[], None],
        on_broken: Callable[[OSError], None],
    ) -> None:
        self._fd = fd
        self._loop = loop
        self._on_full, self._on_drained, self._on_broken = on_full, on_drained, on_broken
        self._pending = deque[Part]()
        self._size = 0
        self._portion = MOST
        self._full = self._closing = self._broken = False
        self.written = 0
        """Bytes that the reader has taken."""
        self.ended = asyncio.Event()
        """Set (in the loop) when the thread has nothing more to do."""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    def write(self, parts: Sequence[Part]) -> None:
        with self._changed:
            if self._broken:
                return
            self._pending += parts
            self._size += length(parts)
            self._changed.notify()
            now_full = self._size > HIGH_WATER and not self._full
            self._full |= now_full
        if now_full:
            self._on_full()

    def close(self) -> None:
        """Let the thread end once everything is written; `ended` tells when."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    @property
    def full(self) -> bool:
        return self._full

    @property
    def unwritten(self) -> int:
        return self._size

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._in_loop(self.ended.set)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._pending and not self._closing:
                    self._changed.wait()
                if not self._pending:
                    return
                batch, self._pending = self._pending, deque()
            try:
                self._write_all(batch)
            except OSError as error:  # EPIPE, EIO from a terminal that was closed, ENOSPC
                with self._changed:
                    self._broken, self._pending, self._size, self._full = True, deque(), 0, False
                self._in_loop(self._on_drained)
                self._in_loop(self._on_broken, error)
                return

    def _write_all(self, parts: deque[Part]) -> None:
        while rest := taken(parts, self._portion):
            whole, began = length(rest), time.monotonic()
            while size := length(rest):
                try:
                    rest = put(self._fd, rest)
                except BlockingIOError:
                    # Somebody who shares the terminal switched it to non-blocking.
                    select.select([], [self._fd], [], 1.0)
                    continue
                written = size - length(rest)
                with self._changed:
                    self._size -= written
                    self.written += written
                    drained = self._full and self._size < LOW_WATER
                    self._full &= not drained
                if drained:
                    self._in_loop(self._on_drained)
            took = max(time.monotonic() - began, 0.000_001)
            self._portion = min(max(int(whole * PACE / took), LEAST), MOST)

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving anyway
            self._loop.call_soon_threadsafe(call, *arguments)
