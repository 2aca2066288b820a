"""The data: numbered databases of keys with values, their ends of life, and who wants to know of a change.

Rule 1: a value is bytes (a string), a deque (a list), a dict (a hash), a set, or a Ranking (a sorted set); an empty collection is none.
Rule 2: a key whose time is over is not there; it is dropped when somebody looks, or by `sweep`.
Rule 3: whoever changes a value says `changed(key)`, on which WATCH, blocked clients and the snapshot depend.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from devstack.redisd.protocol import WRONG_TYPE
from devstack.redisd.ranking import Ranking

Value: TypeAlias = "bytes | deque[bytes] | dict[bytes, bytes] | set[bytes] | Ranking"
Kind = TypeVar("Kind", bytes, "deque[bytes]", "dict[bytes, bytes]", "set[bytes]", Ranking)
TYPE_NAMES: Final[dict[type, bytes]] = {
    bytes: b"string",
    deque: b"list",
    dict: b"hash",
    set: b"set",
    Ranking: b"zset",
}
_ENTRY: Final = 100
"""Bytes that an element takes besides its own, about."""


_LATELY: Final = 10.0


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Database:
    def __init__(self, number: int, tell: Callable[[Database, bytes], None]) -> None:
        self.number = number
        self.values: dict[bytes, Value] = {}
        self.expires: dict[bytes, int] = {}
        self._tell = tell
        self._ends: list[tuple[int, bytes]] = []

    def find(self, key: bytes) -> Value | None:
        value = self.values.get(key)
        if value is None:
            return None
        if key in self.expires and self.expires[key] <= now():
            self.delete(key)
            return None
        return value

    def of(self, kind: type[Kind], key: bytes) -> Kind | None:
        """The value when it is there. WRONGTYPE when it is of another kind."""
        value = self.find(key)
        if value is None or isinstance(value, kind):
            return value
        raise WRONG_TYPE

    def own(self, kind: type[Kind], key: bytes) -> Kind:
        """The value, made when it is not there. What is then left empty goes again with `changed`."""
        value = self.of(kind, key)
        if value is None:
            value = kind()
            self.values[key] = value
        return value

    def put(self, key: bytes, value: Value, *, keep: bool = False) -> None:
        """A new value; its end of life goes with the old one, unless it is to be kept."""
        self.values[key] = value
        if not keep:
            self.expires.pop(key, None)
        self.changed(key)

    def changed(self, key: bytes) -> None:
        value = self.values.get(key)
        if not value and not isinstance(value, bytes):
            self.values.pop(key, None)
            self.expires.pop(key, None)
        self._tell(self, key)

    def delete(self, key: bytes) -> bool:
        if self.values.pop(key, None) is None:
            return False
        self.expires.pop(key, None)
        self._tell(self, key)
        return True

    def remove(self, key: bytes) -> bool:
        """Delete it if it is there and not over."""
        return self.find(key) is not None and self.delete(key)

    def end_at(self, key: bytes, when: int | None) -> None:
        """The end of a key's life in milliseconds since 1970; None: it has none."""
        if when is None:
            self.expires.pop(key, None)
        else:
            self.expires[key] = when
            heapq.heappush(self._ends, (when, key))
            if len(self._ends) > 2 * len(self.expires) + 1000:
                self._ends = [(each, name) for name, each in self.expires.items()]
                heapq.heapify(self._ends)
        self._tell(self, key)

    def sweep(self) -> None:
        """Drop what is over and nobody looked at."""
        moment = now()
        while self._ends and self._ends[0][0] <= moment:
            when, key = heapq.heappop(self._ends)
            if self.expires.get(key) == when:
                self.delete(key)

    def living(self) -> list[bytes]:
        """The keys that are there."""
        moment = now()
        expires = self.expires
        return [key for key in self.values if key not in expires or expires[key] > moment]

    def clear(self) -> None:
        gone = list(self.values)
        self.values, self.expires, self._ends = {}, {}, []
        for key in gone:
            self._tell(self, key)

    def swap(self, other: Database) -> None:
        mine = (self.values, self.expires, self._ends)
        self.values, self.expires, self._ends = other.values, other.expires, other._ends
        other.values, other.expires, other._ends = mine
        for key in {*self.values, *other.values}:
            self._tell(self, key)
            self._tell(other, key)


def weight(value: Value) -> int:
    """Bytes that a value takes, about."""
    if isinstance(value, bytes):
        return sys.getsizeof(value)
    if isinstance(value, dict):
        return sum(map(len, value)) + sum(map(len, value.values())) + 2 * _ENTRY * len(value)
    if isinstance(value, Ranking):
        return sum(map(len, value.scores)) + 2 * _ENTRY * len(value)
    return sum(map(len, value)) + _ENTRY * len(value)


class Keyspace:
    """All databases. `listener` hears of every change."""

    def __init__(self, count: int) -> None:
        self.listeners: list[Callable[[Database, bytes], None]] = []
        self.databases = [Database(number, self._changed) for number in range(count)]
        self.changes = 0
        self._used = 0
        self._measured = 0
        self._measured_at = -1
        self._measured_when = 0.0

    def _changed(self, database: Database, key: bytes) -> None:
        self.changes += 1
        for tell in self.listeners:
            tell(database, key)

    def sweep(self) -> None:
        for database in self.databases:
            database.sweep()

    def grow(self, size: int) -> None:
        """So many bytes are about to be added."""
        self._used += size

    def used(self, limit: int) -> int:
        """Bytes that the data takes, at most. Only when that passes `limit` is it measured anew."""
        if self._used >= limit and self._measured_at != self.changes:
            self._measure()
        return self._used

    def measured(self) -> int:
        """Bytes that the data took lately: to ask every second must cost nothing."""
        if time.monotonic() > self._measured_when + _LATELY and self._measured_at != self.changes:
            self._measure()
        return self._measured

    def _measure(self) -> None:
        self._measured_at, self._measured_when = self.changes, time.monotonic()
        self._measured = self._used = sum(
            len(key) + _ENTRY + weight(value) for each in self.databases for key, value in each.values.items()
        )
