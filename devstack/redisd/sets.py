"""Commands for sets."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from devstack.redisd import cursors
from devstack.redisd.arguments import integer, numbered_keys, positive
from devstack.redisd.client import Client
from devstack.redisd.hashes import chosen
from devstack.redisd.keyspace import weight
from devstack.redisd.protocol import SYNTAX, Failure, Reply
from devstack.redisd.table import command

Members = set[bytes]
Join = Callable[[list[Members]], Members]


def _members(client: Client, key: bytes) -> Members:
    """To read from."""
    found: Members | None = client.db.of(set, key)
    return set() if found is None else found


@command("SADD", grows=True)
def sadd(client: Client, key: bytes, member: bytes, *members: bytes) -> Reply:
    found: Members = client.db.own(set, key)
    before = len(found)
    found.update((member, *members))
    if len(found) > before:
        client.db.changed(key)
    return len(found) - before


@command("SREM")
def srem(client: Client, key: bytes, member: bytes, *members: bytes) -> Reply:
    found = _members(client, key)
    before = len(found)
    found.difference_update((member, *members))
    removed = before - len(found)
    if removed:
        client.db.changed(key)
    return removed


@command("SMEMBERS")
def smembers(client: Client, key: bytes) -> Reply:
    return set(_members(client, key))


@command("SISMEMBER")
def sismember(client: Client, key: bytes, member: bytes) -> Reply:
    return int(member in _members(client, key))


@command("SMISMEMBER")
def smismember(client: Client, key: bytes, member: bytes, *members: bytes) -> Reply:
    found = _members(client, key)
    return [int(each in found) for each in (member, *members)]


@command("SCARD")
def scard(client: Client, key: bytes) -> Reply:
    return len(_members(client, key))


@command("SPOP")
def spop(client: Client, key: bytes, count: bytes | None = None, *words: bytes) -> Reply:
    if words:
        raise SYNTAX
    number = 1 if count is None else positive(count)
    found = _members(client, key)
    taken = random.sample(list(found), min(number, len(found)))
    found.difference_update(taken)
    if taken:
        client.db.changed(key)
    if count is not None:
        return set(taken)
    return taken[0] if taken else None


@command("SRANDMEMBER")
def srandmember(client: Client, key: bytes, count: bytes | None = None, *words: bytes) -> Reply:
    if words:
        raise SYNTAX
    number = 1 if count is None else integer(count)
    found = list(_members(client, key))
    if count is not None:
        return [*chosen(found, number)]
    return random.choice(found) if found else None


@command("SMOVE", grows=True)
def smove(client: Client, source: bytes, target: bytes, member: bytes) -> Reply:
    found = _members(client, source)
    if found:
        _members(client, target)  # WRONGTYPE before anything is taken
    if member not in found:
        return 0
    if source != target:
        found.remove(member)
        client.db.changed(source)
        other: Members = client.db.own(set, target)
        other.add(member)
        client.db.changed(target)
    return 1


def _union(sets: list[Members]) -> Members:
    return set().union(*sets)


def _common(sets: list[Members]) -> Members:
    first, *others = sorted(sets, key=len)
    return first.intersection(*others)


def _difference(sets: list[Members]) -> Members:
    first, *others = sets
    return first.difference(*others)


def _all(client: Client, keys: Sequence[bytes]) -> list[Members]:
    return [_members(client, each) for each in keys]


def _store(client: Client, target: bytes, members: Members) -> Reply:
    if members:
        client.server.keyspace.grow(weight(members))
        client.db.put(target, members)
    else:
        client.db.remove(target)
    return len(members)


@command("SUNION")
def sunion(client: Client, key: bytes, *keys: bytes) -> Reply:
    return _union(_all(client, (key, *keys)))


@command("SINTER")
def sinter(client: Client, key: bytes, *keys: bytes) -> Reply:
    return _common(_all(client, (key, *keys)))


@command("SDIFF")
def sdiff(client: Client, key: bytes, *keys: bytes) -> Reply:
    return _difference(_all(client, (key, *keys)))


@command("SUNIONSTORE", grows=True)
def sunionstore(client: Client, target: bytes, key: bytes, *keys: bytes) -> Reply:
    return _store(client, target, _union(_all(client, (key, *keys))))


@command("SINTERSTORE", grows=True)
def sinterstore(client: Client, target: bytes, key: bytes, *keys: bytes) -> Reply:
    return _store(client, target, _common(_all(client, (key, *keys))))


@command("SDIFFSTORE", grows=True)
def sdiffstore(client: Client, target: bytes, key: bytes, *keys: bytes) -> Reply:
    return _store(client, target, _difference(_all(client, (key, *keys))))


@command("SINTERCARD")
def sintercard(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    keys, limit = limited_keys(count, (key, *words))
    size = len(_common(_all(client, keys)))
    return min(size, limit) if limit else size


def limited_keys(count: bytes, words: Sequence[bytes]) -> tuple[Sequence[bytes], int]:
    """`numkeys key … [LIMIT n]`."""
    keys, rest = numbered_keys(
        count,
        words,
        wrong=Failure(b"ERR numkeys should be greater than 0"),
        too_many=Failure(b"ERR Number of keys can't be greater than number of args"),
    )
    if not rest:
        return keys, 0
    if len(rest) != 2 or rest[0].upper() != b"LIMIT":
        raise SYNTAX
    failure = Failure(b"ERR LIMIT can't be negative")
    limit = integer(rest[1], failure)
    if limit < 0:
        raise failure
    return keys, limit


@command("SSCAN")
def sscan(client: Client, key: bytes, cursor: bytes, *words: bytes) -> Reply:
    options = cursors.options(words)
    found = _members(client, key)
    number, names = client.server.cursors.walk(cursor, lambda: found, options.count)
    return [b"%d" % number, [name for name in names if name in found and options.matches(name)]]
