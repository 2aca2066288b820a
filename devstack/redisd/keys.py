"""Commands for keys, whatever they hold."""

from __future__ import annotations

import random
import sys

from devstack.redisd import cursors
from devstack.redisd.arguments import integer
from devstack.redisd.client import Client
from devstack.redisd.keyspace import TYPE_NAMES, Database, Value, weight
from devstack.redisd.numbers import integer as is_integer
from devstack.redisd.patterns import matcher
from devstack.redisd.protocol import NO_KEY, OK, SYNTAX, Failure, Reply, Status
from devstack.redisd.ranking import Ranking
from devstack.redisd.table import command

_SAME_OBJECT = Failure(b"ERR source and destination objects are the same")
_NO_DATABASE = Failure(b"ERR DB index is out of range")


@command("DEL", "UNLINK")
def delete(client: Client, key: bytes, *keys: bytes) -> Reply:
    return sum(client.db.remove(each) for each in (key, *keys))


@command("EXISTS", "TOUCH")
def exists(client: Client, key: bytes, *keys: bytes) -> Reply:
    return sum(client.db.find(each) is not None for each in (key, *keys))


@command("TYPE")
def type_(client: Client, key: bytes) -> Reply:
    value = client.db.find(key)
    return Status(b"none" if value is None else TYPE_NAMES[type(value)])


@command("KEYS")
def keys(client: Client, pattern: bytes) -> Reply:
    matches = matcher(pattern)
    return [key for key in client.db.living() if matches(key)]


@command("RANDOMKEY")
def randomkey(client: Client) -> Reply:
    living = client.db.living()
    return random.choice(living) if living else None


@command("DBSIZE")
def dbsize(client: Client) -> Reply:
    return len(client.db.living())


@command("SCAN")
def scan(client: Client, cursor: bytes, *words: bytes) -> Reply:
    options = cursors.options(words, type=True)
    number, names = client.server.cursors.walk(cursor, client.db.living, options.count)
    found = [
        key
        for key in names
        if options.matches(key)
        and (value := client.db.find(key)) is not None
        and (not options.type or TYPE_NAMES[type(value)] == options.type)
    ]
    return [b"%d" % number, [*found]]


@command("RENAME")
def rename(client: Client, key: bytes, name: bytes) -> Reply:
    value = client.db.find(key)
    if value is None:
        raise NO_KEY
    if key != name:
        _move(client.db, key, client.db, name, value)
    return OK


@command("RENAMENX")
def renamenx(client: Client, key: bytes, name: bytes) -> Reply:
    value = client.db.find(key)
    if value is None:
        raise NO_KEY
    if client.db.find(name) is not None:
        return 0
    _move(client.db, key, client.db, name, value)
    return 1


def _move(source: Database, key: bytes, target: Database, name: bytes, value: Value) -> None:
    end = source.expires.get(key)
    source.delete(key)
    target.put(name, value)
    if end is not None:
        target.end_at(name, end)


@command("MOVE")
def move(client: Client, key: bytes, number: bytes) -> Reply:
    target = _database(client, integer(number))
    if target is client.db:
        raise _SAME_OBJECT
    value = client.db.find(key)
    if value is None or target.find(key) is not None:
        return 0
    _move(client.db, key, target, key, value)
    return 1


@command("COPY", grows=True)
def copy(client: Client, key: bytes, name: bytes, *words: bytes) -> Reply:
    target, replace, rest = client.db, False, list(words)
    while rest:
        word = rest.pop(0).upper()
        if word == b"REPLACE":
            replace = True
        elif word == b"DB" and rest:
            target = _database(client, integer(rest.pop(0)))
        else:
            raise SYNTAX
    if target is client.db and key == name:
        raise _SAME_OBJECT
    value = client.db.find(key)
    if value is None or (target.find(name) is not None and not replace):
        return 0
    client.server.keyspace.grow(weight(value))
    target.put(name, value if isinstance(value, bytes) else value.copy())
    if key in client.db.expires:
        target.end_at(name, client.db.expires[key])
    return 1


def _database(client: Client, number: int) -> Database:
    databases = client.server.keyspace.databases
    if not 0 <= number < len(databases):
        raise _NO_DATABASE
    return databases[number]


@command("OBJECT|ENCODING")
def object_encoding(client: Client, key: bytes) -> Reply:
    value = client.db.find(key)
    if value is None:
        return None
    if isinstance(value, bytes):
        return b"int" if is_integer(value) is not None else b"embstr" if len(value) <= 44 else b"raw"
    return {dict: b"hashtable", set: b"hashtable", Ranking: b"skiplist"}.get(type(value), b"quicklist")


@command("OBJECT|REFCOUNT")
def object_refcount(client: Client, key: bytes) -> Reply:
    return None if client.db.find(key) is None else 1


@command("OBJECT|IDLETIME")
def object_idletime(client: Client, key: bytes) -> Reply:
    return None if client.db.find(key) is None else 0


@command("MEMORY|USAGE")
def memory_usage(client: Client, key: bytes, *options: bytes) -> Reply:
    value = client.db.find(key)
    return None if value is None else weight(value) + sys.getsizeof(key)


@command("FLUSHDB")
def flushdb(client: Client, how: bytes = b"SYNC") -> Reply:
    _check_flush(how)
    client.db.clear()
    return OK


@command("FLUSHALL")
def flushall(client: Client, how: bytes = b"SYNC") -> Reply:
    _check_flush(how)
    for database in client.server.keyspace.databases:
        database.clear()
    return OK


def _check_flush(how: bytes) -> None:
    if how.upper() not in (b"SYNC", b"ASYNC"):
        raise SYNTAX


@command("SWAPDB")
def swapdb(client: Client, one: bytes, other: bytes) -> Reply:
    first = _database(client, integer(one, Failure(b"ERR invalid first DB index")))
    second = _database(client, integer(other, Failure(b"ERR invalid second DB index")))
    if first is not second:
        first.swap(second)
    return OK
