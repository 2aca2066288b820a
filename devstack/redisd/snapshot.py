"""The data on disk: the commands that make it, in the wire format, so that any Redis can read it (`redis-cli --pipe < dump.resp`).

Rule 1: a file is whole or not there: written beside, flushed, put in its place.
Rule 2: a file that cannot be read is put aside and said so; the server starts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from devstack.redisd.client import Client
from devstack.redisd.keyspace import Database, Value, now
from devstack.redisd.numbers import double_text
from devstack.redisd.protocol import Failure, Malformed, Requests, request
from devstack.redisd.ranking import Ranking
from devstack.redisd.server import Server
from devstack.redisd.table import look_up

_AT_ONCE: Final = 500
"""Elements per command."""
_LAST: Final = request(b"ECHO", b"whole")
_CHUNK: Final = 2**20


def text_of(server: Server) -> bytes:
    """All databases as commands, as they are now."""
    databases = (_database(each) for each in server.keyspace.databases if each.values)
    return b"".join([*(part for parts in databases for part in parts), _LAST])


def _database(database: Database) -> Iterator[bytes]:
    yield request(b"SELECT", b"%d" % database.number)
    for key in database.living():
        for name, words in _commands(database.values[key]):
            yield request(name, key, *words)
        if key in database.expires:
            yield request(b"PEXPIREAT", key, b"%d" % database.expires[key])


def _commands(value: Value) -> Iterator[tuple[bytes, list[bytes]]]:
    if isinstance(value, bytes):
        yield b"SET", [value]
        return
    words: Iterator[bytes]
    if isinstance(value, dict):
        name, words = b"HSET", (part for pair in value.items() for part in pair)
    elif isinstance(value, Ranking):
        name, words = b"ZADD", (part for member, score in value for part in (double_text(score), member))
    else:
        name, words = b"SADD" if isinstance(value, set) else b"RPUSH", iter(value)
    while some := list(islice(words, 2 * _AT_ONCE)):
        yield name, some


def write(path: Path, text: bytes) -> None:
    """OSError when it cannot be."""
    beside = path.with_name(f"{path.name}.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    for _ in range(20):
        try:
            os.replace(beside, path)
            return
        except PermissionError:
            # Windows, while a virus scanner or an indexer has the file open.
            time.sleep(0.05)
    os.replace(beside, path)


def read(server: Server, path: Path) -> int:
    """Carry out the commands of the file, if there is one: how many keys there are then. Malformed when it is damaged."""
    client = Client(server, 0, send=_ignore, close=_ignore, resume=lambda: None)
    requests = Requests(trusted=True)
    words: list[bytes] = []
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                requests.feed(chunk)
                while taken := requests.take():
                    words = taken
                    command, arguments = look_up(words)
                    command.run(client, *arguments)
    except FileNotFoundError:
        return 0
    except Failure as failure:
        raise Malformed(failure.text.decode("utf-8", "replace")) from None
    if request(*words) != _LAST:
        raise Malformed("it ends too early")
    moment = now()
    for database in server.keyspace.databases:
        for key in [key for key, end in database.expires.items() if end <= moment]:
            database.delete(key)
    return sum(len(database.values) for database in server.keyspace.databases)


def _ignore(_: object) -> None:
    pass


def load(server: Server, path: Path, say: Callable[[str], None]) -> None:
    """What an earlier server left."""
    try:
        if keys := read(server, path):
            say(f"{keys} {'key' if keys == 1 else 'keys'} from {path.name}")
    except Malformed as error:
        for database in server.keyspace.databases:
            database.clear()
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        say(f"the data of the last run is damaged ({error}) and was put aside as {aside}; starting empty")
    server.keyspace.changes = 0
