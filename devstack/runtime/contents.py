"""What was in the files when they were last told of: a save that changes nothing is none.

Rule 1: contents decide; times and sizes only say where to look.
Rule 2: reading is bounded. A larger file is compared by time and size.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devstack.core.record import Record
from devstack.runtime.watched import PYTHON, Stamp, stamp

LARGEST = 4 * 1024 * 1024
"""Bytes of a file that are read."""


@dataclass(frozen=True, slots=True)
class Content:
    stamp: Stamp
    digest: bytes
    source: bytes | None = None
    """All of it, where it was asked for and is not too large."""


class Change(Record):
    """`before` and `after` are digests; None when there is no file. Never are they equal."""

    path: str
    before: bytes | None
    after: bytes | None
    source: bytes | None = None


class Contents:
    """By path. Its methods read files: call them in a thread, one at a time."""

    def __init__(self) -> None:
        self._known: dict[str, Content] = {}

    def learn(self, paths: Iterable[str]) -> None:
        for path in paths:
            if found := look(path):
                self._known[path] = found

    def forget(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._known.pop(path, None)

    def differing(self, now: Mapping[str, Stamp]) -> set[str]:
        """The paths to look at, given all files that are there now."""
        gone = self._known.keys() - now.keys()
        return gone | {path for path, each in now.items() if path not in self._known or self._known[path].stamp != each}

    def changes(self, paths: Iterable[str]) -> list[Change]:
        """What differs from what is known, by path; it is known from now on."""
        found = []
        for path in sorted(paths):
            before, now = self._known.get(path), look(path, keep=path.endswith(PYTHON))
            if now is None:
                self._known.pop(path, None)
            else:
                self._known[path] = Content(now.stamp, now.digest)
            old, new = before.digest if before else None, now.digest if now else None
            if old != new:
                found.append(Change(path, old, new, now.source if now else None))
        return found

    def unfinished(self, path: str) -> bool:
        """Whether a file is gone, or empty, that had something in it: half of a save. Quick."""
        before = self._known.get(path)
        if before is None or not before.stamp[1]:
            return False
        try:
            return not os.stat(path).st_size
        except OSError:
            return True


def look(path: str, keep: bool = False) -> Content | None:
    """None when there is no regular file. With `keep`, with its source."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    if state.st_size > LARGEST:
        return Content(stamp(state), repr(stamp(state)[:2]).encode())
    try:
        with open(path, "rb") as file:
            source = file.read(LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Content(stamp(state), f"unreadable: {error.errno}".encode())
    return Content(stamp(state), hashlib.blake2b(source, digest_size=16).digest(), source if keep else None)
