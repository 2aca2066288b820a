"""What the tasks of a `reload_project` wrote down: one list in Redis, so one order of events, whatever clocks and logs say.

with Ledger(project.ledger) as ledger:
    ledger.wait_for_code(3)
    assert not ledger.doubled()

An entry is "start TASK VERSION SECONDS PID" or "end …"; SECONDS is the monotonic clock, which all processes of a machine share. A test
adds its own with `mark("reloaded")`, and what came after a mark happened after it.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """`what` is "start", "end", or a mark, which has nothing else."""

    what: str
    task: str = ""
    version: int = -1
    at: float = 0.0
    pid: int = 0


class Ledger:
    """A reader of the list. `entries` are those that were read so far: `read()` adds what is new.

    What `explain` tells is shown when something was waited for in vain.
    """

    def __init__(self, url: str, explain: Callable[[], str] = str) -> None:
        import redis

        self._explain = explain
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        self.entries: list[Entry] = []

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._redis.close()

    def read(self) -> list[Entry]:
        for line in self._redis.lrange("ledger", len(self.entries), -1):
            what, *rest = str(line).split()
            if rest:
                task, version, at, pid = rest
                self.entries.append(Entry(what, task, int(version), float(at), int(pid)))
            else:
                self.entries.append(Entry(what))
        return self.entries

    def mark(self, word: str) -> None:
        self._redis.rpush("ledger", word)

    def after(self, word: str) -> list[Entry]:
        entries = self.read()
        return entries[entries.index(Entry(word)) + 1 :]

    def starts(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.what == "start"]

    def ended(self) -> set[str]:
        return {entry.task for entry in self.entries if entry.what == "end"}

    def doubled(self) -> list[str]:
        """Tasks that were started more than once."""
        return [task for task, times in Counter(entry.task for entry in self.starts()).items() if times > 1]

    def wait_for_code(self, version: int, within: float = 60.0) -> Entry:
        """The first task that this version, or a later one, has begun."""

        def found() -> Entry | None:
            return next((entry for entry in self.starts() if entry.version >= version), None)

        entry = self.wait(found, f"task begun by version {version}", within)
        assert entry
        return entry

    def wait_for_starts(self, tasks: Iterable[str], number: int, within: float = 60.0) -> None:
        mine = set(tasks)
        self.wait(
            lambda: len({entry.task for entry in self.starts()} & mine) >= number, f"{number} tasks begun", within
        )

    def wait_for_ends(self, tasks: Iterable[str], within: float = 60.0) -> None:
        """Until each of them has ended; says which have not."""
        mine = set(tasks)
        with contextlib.suppress(AssertionError):
            self.wait(lambda: mine <= self.ended(), "end", within)
        missing = sorted(mine - self.ended())
        assert not missing, (
            f"{len(missing)} of {len(mine)} tasks have not ended within {within:.0f} s: {missing[:20]}\n{self._explain()}"
        )

    def drained(self, tasks: Iterable[str], within: float, quiet: float) -> set[str]:
        """Wait until each has ended, or nothing has happened for `quiet` seconds; those that are missing."""
        mine, end = set(tasks), time.monotonic() + within
        known, since = 0, time.monotonic()
        while not mine <= self.ended() and time.monotonic() < end and time.monotonic() - since < quiet:
            time.sleep(0.1)
            if len(self.read()) > known:
                known, since = len(self.entries), time.monotonic()
        return mine - self.ended()

    def wait(self, true: Callable[[], T], what: str, within: float) -> T:
        end = time.monotonic() + within
        while not (found := (self.read(), true())[1]):
            if time.monotonic() > end:
                last = "\n".join(map(str, self.entries[-5:]))
                raise AssertionError(f"no {what} within {within:.0f} s; the ledger ends:\n{last}\n{self._explain()}")
            time.sleep(0.02)
        return found
