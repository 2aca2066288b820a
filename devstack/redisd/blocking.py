"""Clients that wait for a key: BLPOP and its like.

Rule 1: who came first is served first, once per element.
Rule 2: a waiting client that goes away leaves the line at once: a message that it took would be lost.
Rule 3: inside MULTI and scripts nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devstack.redisd.client import Client
from devstack.redisd.keyspace import Database, Keyspace
from devstack.redisd.numbers import double
from devstack.redisd.protocol import NOTHING, NULL_LIST, Failure, Reply


@dataclass(eq=False, slots=True)
class Wait:
    """`attempt(key)` takes from that key, which holds a `kind` now, and is the reply; None when it could not after all.

    When the time is over the reply is NULL_LIST, whatever the command.
    """

    client: Client
    database: Database
    keys: Sequence[bytes]
    kind: type
    attempt: Callable[[bytes], Reply]
    timer: asyncio.TimerHandle | None = None


class Waiting:
    """All who wait."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._lines: dict[tuple[int, bytes], dict[Wait, None]] = {}
        self._ready: dict[tuple[int, bytes], None] = {}
        keyspace.listeners.append(self._changed)

    def __len__(self) -> int:
        return len({wait for line in self._lines.values() for wait in line})

    def take(
        self,
        client: Client,
        keys: Sequence[bytes],
        kind: type,
        attempt: Callable[[bytes], Reply],
        timeout: float,
        empty: Reply = NULL_LIST,
    ) -> Reply:
        """From the first key that has something; otherwise the client waits. `empty` is the reply where nobody may."""
        for key in keys:
            client.db.of(kind, key)
            if client.db.find(key) is not None and (reply := attempt(key)) is not None:
                return reply
        if not client.may_wait:
            return empty
        wait = Wait(client, client.db, keys, kind, attempt)
        for key in keys:
            self._lines.setdefault((client.db.number, key), {})[wait] = None
        if timeout:
            wait.timer = asyncio.get_running_loop().call_later(timeout, self.finish, wait, NULL_LIST)
        client.waiting = wait
        return NOTHING

    def _changed(self, database: Database, key: bytes) -> None:
        if self._lines and (database.number, key) in self._lines:
            self._ready[database.number, key] = None

    def serve(self) -> None:
        """Give what has come to those who wait for it. What that moves may be waited for in turn."""
        while self._ready:
            number, key = place = next(iter(self._ready))
            del self._ready[place]
            database = self._keyspace.databases[number]
            for wait in list(self._lines.get(place, ())):
                if not isinstance(database.find(key), wait.kind):
                    continue
                try:
                    reply = wait.attempt(key)
                except Failure as failure:
                    reply = failure.with_traceback(None)
                if reply is not None:
                    self.finish(wait, reply)

    def finish(self, wait: Wait, reply: Reply) -> None:
        self.leave(wait)
        wait.client.reply(reply)
        wait.client.resume()

    def leave(self, wait: Wait) -> None:
        """Out of all its lines."""
        wait.client.waiting = None
        if wait.timer:
            wait.timer.cancel()
        for key in wait.keys:
            place = (wait.database.number, key)
            line = self._lines.get(place, {})
            line.pop(wait, None)
            if not line:
                self._lines.pop(place, None)


def seconds(text: bytes) -> float:
    """A timeout; 0 is for ever."""
    value = double(text)
    if value is None:
        raise Failure(b"ERR timeout is not a float or out of range")
    if value > 2**53 / 1000:
        raise Failure(b"ERR timeout is out of range")
    if value < 0:
        raise Failure(b"ERR timeout is negative")
    return value
