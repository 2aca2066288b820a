"""Commands for hashes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from devstack.redisd import cursors, numbers
from devstack.redisd.arguments import NOT_A_FLOAT, integer
from devstack.redisd.client import Client
from devstack.redisd.protocol import OK, SYNTAX, Failure, Pairs, Reply
from devstack.redisd.table import command


def _hash(client: Client, key: bytes) -> dict[bytes, bytes]:
    """To read from."""
    found: dict[bytes, bytes] | None = client.db.of(dict, key)
    return {} if found is None else found


def _set(client: Client, key: bytes, words: Sequence[bytes], name: bytes) -> int:
    if len(words) % 2:
        raise Failure(b"ERR wrong number of arguments for '%b' command" % name)
    found: dict[bytes, bytes] = client.db.own(dict, key)
    before = len(found)
    found.update(zip(words[::2], words[1::2], strict=True))
    client.db.changed(key)
    return len(found) - before


@command("HSET", grows=True)
def hset(client: Client, key: bytes, field: bytes, value: bytes, *more: bytes) -> Reply:
    return _set(client, key, (field, value, *more), b"hset")


@command("HMSET", grows=True)
def hmset(client: Client, key: bytes, field: bytes, value: bytes, *more: bytes) -> Reply:
    _set(client, key, (field, value, *more), b"hmset")
    return OK


@command("HSETNX", grows=True)
def hsetnx(client: Client, key: bytes, field: bytes, value: bytes) -> Reply:
    return 0 if field in _hash(client, key) else _set(client, key, (field, value), b"hsetnx")


@command("HGET")
def hget(client: Client, key: bytes, field: bytes) -> Reply:
    return _hash(client, key).get(field)


@command("HMGET")
def hmget(client: Client, key: bytes, field: bytes, *fields: bytes) -> Reply:
    found = _hash(client, key)
    return [found.get(each) for each in (field, *fields)]


@command("HGETALL")
def hgetall(client: Client, key: bytes) -> Reply:
    return {**_hash(client, key)}


@command("HDEL")
def hdel(client: Client, key: bytes, field: bytes, *fields: bytes) -> Reply:
    found = _hash(client, key)
    count = sum(found.pop(each, None) is not None for each in (field, *fields))
    if count:
        client.db.changed(key)
    return count


@command("HLEN")
def hlen(client: Client, key: bytes) -> Reply:
    return len(_hash(client, key))


@command("HEXISTS")
def hexists(client: Client, key: bytes, field: bytes) -> Reply:
    return int(field in _hash(client, key))


@command("HSTRLEN")
def hstrlen(client: Client, key: bytes, field: bytes) -> Reply:
    return len(_hash(client, key).get(field, b""))


@command("HKEYS")
def hkeys(client: Client, key: bytes) -> Reply:
    return [*_hash(client, key)]


@command("HVALS")
def hvals(client: Client, key: bytes) -> Reply:
    return [*_hash(client, key).values()]


@command("HINCRBY", grows=True)
def hincrby(client: Client, key: bytes, field: bytes, amount: bytes) -> Reply:
    more = integer(amount)
    before = integer(_hash(client, key).get(field, b"0"), Failure(b"ERR hash value is not an integer"))
    if not numbers.SMALLEST <= before + more <= numbers.LARGEST:
        raise Failure(b"ERR increment or decrement would overflow")
    _set(client, key, (field, b"%d" % (before + more)), b"hincrby")
    return before + more


@command("HINCRBYFLOAT", grows=True)
def hincrbyfloat(client: Client, key: bytes, field: bytes, amount: bytes) -> Reply:
    more = numbers.long_double(amount)
    if numbers.is_infinite(amount):
        raise Failure(b"ERR value is NaN or Infinity")
    if more is None:
        raise NOT_A_FLOAT
    before = numbers.long_double(_hash(client, key).get(field, b"0"))
    if before is None:
        raise Failure(b"ERR hash value is not a float")
    text = numbers.long_double_text(numbers.added(before, more))
    _set(client, key, (field, text), b"hincrbyfloat")
    return text


@command("HRANDFIELD")
def hrandfield(client: Client, key: bytes, count: bytes | None = None, *words: bytes) -> Reply:
    number = 1 if count is None else integer(count)
    with_values = [each.upper() for each in words] == [b"WITHVALUES"]
    if words and not with_values:
        raise SYNTAX
    found = _hash(client, key)
    if count is None:
        return random.choice(list(found)) if found else None
    names = chosen(list(found), number)
    return Pairs((name, found[name]) for name in names) if with_values else [*names]


def chosen(names: list[bytes], count: int) -> list[bytes]:
    """So many different ones; for a negative count as many as it says, some perhaps more than once."""
    if not -(2**31) <= count <= 2**62:
        raise Failure(b"ERR value is out of range")
    if not names:
        return []
    return random.choices(names, k=-count) if count < 0 else random.sample(names, min(count, len(names)))


@command("HSCAN")
def hscan(client: Client, key: bytes, cursor: bytes, *words: bytes) -> Reply:
    options = cursors.options(words, values=True)
    found = _hash(client, key)
    number, names = client.server.cursors.walk(cursor, lambda: found, options.count)
    matching = [name for name in names if name in found and options.matches(name)]
    parts = [part for name in matching for part in ((name, found[name]) if options.values else (name,))]
    return [b"%d" % number, [*parts]]
