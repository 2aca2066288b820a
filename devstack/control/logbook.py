"""Reads the log files that the stack writes: entries of several processes in the order of their moments.

Rule 1: an entry is a line with what belongs to it: the rest of a traceback, lines that are indented. No other process cuts it.
Rule 2: a line that is still being written waits for its end, and so does a traceback, though not for ever.
Rule 3: a file that was rotated meanwhile is read to its end under its new name first.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from devstack.core.record import Record
from devstack.host import files

STAMP = 24
"""Length of `2026-11-21 05:39:06.123 `."""
CHUNK = 1024 * 1024
MOST_LINES = 2000
"""Of one entry."""
TRACEBACK = b"Traceback (most recent call last):"
_LEVEL = re.compile(rb"\b(DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b")
LEVELS = {
    b"DEBUG": 10,
    b"INFO": 20,
    b"NOTICE": 20,
    b"WARN": 30,
    b"WARNING": 30,
    b"ERROR": 40,
    b"CRITICAL": 50,
    b"FATAL": 50,
}


class Entry(Record):
    """`stamp` is the local time as the file has it; `lines` are without it and without newline."""

    name: str
    stamp: bytes
    lines: tuple[bytes, ...]

    def __lt__(self, other: Entry) -> bool:
        return self.stamp < other.stamp

    @property
    def time(self) -> float:
        """Seconds since 1970."""
        text = self.stamp.decode("ascii", "replace")
        try:
            return time.mktime(time.strptime(text[:19], "%Y-%m-%d %H:%M:%S")) + float(f"0{text[19:23]}")
        except ValueError:
            return 0.0

    @property
    def level(self) -> int:
        """As in `logging`; 0 for a line that names none."""
        if any(TRACEBACK in line for line in self.lines):
            return 40
        found = _LEVEL.search(self.lines[0])
        return LEVELS[found[1]] if found else 0


class Cutter:
    """Makes entries of the lines of one process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stamp = b""
        self._lines: list[bytes] = []
        self._in_traceback = self._after_traceback = False

    def feed(self, lines: Iterable[bytes]) -> Iterator[Entry]:
        for line in lines:
            stamp, text = line[:STAMP], line[STAMP:]
            if not self._belongs(text):
                yield from self.take()
                self._stamp = stamp
            self._lines.append(text)

    def take(self) -> Iterator[Entry]:
        """The entry that has not ended yet, as it is."""
        if self._lines:
            yield Entry(self._name, self._stamp, tuple(self._lines))
            self._lines = []

    @property
    def open(self) -> bool:
        """Whether the end of a traceback is still to come."""
        return self._in_traceback

    def _belongs(self, text: bytes) -> bool:
        """Whether the line goes on with the entry; notes what it means for the next one."""
        starts = TRACEBACK in text
        indented = text[:1] in (b" ", b"\t") and bool(text.strip())
        chained = self._after_traceback and (
            not text.strip() or starts or text.startswith((b"During handling of", b"The above exception was"))
        )
        belongs = bool(self._lines) and len(self._lines) < MOST_LINES
        belongs = belongs and (self._in_traceback or indented or chained or (starts and text.startswith(TRACEBACK)))
        if starts:
            self._in_traceback, self._after_traceback = True, False
        elif self._in_traceback:
            # The first line that is neither indented nor empty names the exception.
            if text.strip() and not indented:
                self._in_traceback, self._after_traceback = False, True
        elif not chained:
            self._after_traceback = self._after_traceback and indented
        return belongs


class Log:
    """The files of one process; remembers how far it has read."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._path = directory / f"{name}.log"
        self._cutter = Cutter(name)
        self._place: tuple[int, int] = (0, 0)
        """The inode of the newest file and how much of it is read."""
        self.open_since = 0.0
        self.overtaken = False
        """Whether the last `news` may lack lines: files were thrown away sooner than they were read."""
        self._held: BinaryIO | None = None
        """The newest file, so that its end can be read when it is not there any more."""

    def __del__(self) -> None:
        if self._held:
            self._held.close()

    def history(self, since: float = 0.0) -> Iterator[Entry]:
        """All that is there, the oldest first; files that end before `since` are left out."""
        with contextlib.ExitStack() as stack:
            for inode, file in reversed(self._open(stack, -1)):
                about = os.fstat(file.fileno())
                self._place = (inode, about.st_size)
                if about.st_mtime >= since:
                    yield from self._read(file, 0)
        yield from self._cutter.take()

    def tail(self, count: int) -> list[Entry]:
        """The last entries, at least `count` lines if there are so many; reads no more files than it needs."""
        kept: list[Entry] = []
        for path in [self._path, *self._rotated()]:
            part = Log(self._path.parent, self.name)
            try:
                with open(path, "rb") as file:
                    found = part._end(file, count)
            except FileNotFoundError:
                continue
            if path == self._path:
                self._place, self._held, part._held = part._place, part._held, None
            kept = [*found, *kept]
            if _lines(kept) >= count:
                break
        return kept

    def news(self) -> Iterator[Entry]:
        """What has come since the last look. The last entry is held back while it may go on."""
        known, at = self._place
        with contextlib.ExitStack() as stack:
            for inode, file in reversed(self._open(stack, known)):
                size = os.fstat(file.fileno()).st_size
                yield from self._read(file, at if inode == known and size >= at else 0)
        if not self._cutter.open:
            self.open_since = 0.0
            yield from self._cutter.take()
        elif not self.open_since:
            self.open_since = time.monotonic()
        elif time.monotonic() - self.open_since > 1.0:
            yield from self._cutter.take()

    def _open(self, stack: contextlib.ExitStack, known: int) -> list[tuple[int, BinaryIO]]:
        """The files with their inodes, the newest first, up to the one that is known.

        One that is rotated meanwhile is met a second time at its next name, and none is missed.
        """
        found: dict[int, BinaryIO] = {}
        for number in range(1000):
            path = self._path.with_name(f"{self._path.name}.{number}") if number else self._path
            try:
                file = stack.enter_context(path.open("rb"))
            except FileNotFoundError:
                if number:  # the newest one may be missing for a moment
                    break
                continue
            inode = os.fstat(file.fileno()).st_ino
            found.setdefault(inode, file)
            if inode == known:
                break
        self.overtaken = bool(found) and known > 0 and known not in found
        if known not in found and self._held and os.fstat(self._held.fileno()).st_ino == known:
            found[known], self._held = stack.enter_context(self._held), None
        return list(found.items())

    def _end(self, file: BinaryIO, count: int) -> list[Entry]:
        """Its last entries; of a long file only as much as is likely to be enough."""
        start = os.fstat(file.fileno()).st_size - max(CHUNK, count * 500)
        if start > 0:
            file.seek(start)
            start += len(file.readline())
            found = [*self._read(file, start), *self._cutter.take()]
            if _lines(found) >= count:
                return found
            self._cutter = Cutter(self.name)
        return [*self._read(file, 0), *self._cutter.take()]

    def _read(self, file: BinaryIO, at: int) -> Iterator[Entry]:
        rest = b""
        inode = os.fstat(file.fileno()).st_ino
        file.seek(at)
        while chunk := file.read(CHUNK):
            whole, newline, left = (rest + chunk).rpartition(b"\n")
            if newline:
                at += len(whole) + 1
                self._place = (inode, at)
                yield from self._cutter.feed(whole.split(b"\n"))
            rest = left
        self._place = (inode, at)
        if self._held:
            self._held.close()
        self._held = files.held(file)

    def _rotated(self) -> list[Path]:
        """The newest first."""
        found = []
        for number in range(1, 1000):
            path = self._path.with_name(f"{self._path.name}.{number}")
            if not path.exists():
                break
            found.append(path)
        return found


def names(directory: Path) -> list[str]:
    """The processes that have a log."""
    try:
        return sorted(entry.name.removesuffix(".log") for entry in os.scandir(directory) if entry.name.endswith(".log"))
    except FileNotFoundError:
        return []


def _lines(entries: Iterable[Entry]) -> int:
    return sum(len(each.lines) for each in entries)


def merged(logs: Iterable[Iterable[Entry]]) -> Iterator[Entry]:
    return heapq.merge(*logs)
