"""Commands for lists, which are Celery's queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from devstack.redisd.arguments import integer, magnitude, numbered_keys, positive, within
from devstack.redisd.blocking import seconds
from devstack.redisd.client import Client
from devstack.redisd.keyspace import Database
from devstack.redisd.protocol import NO_KEY, NULL_LIST, OK, SYNTAX, Failure, Reply
from devstack.redisd.table import command

_SIDES = (b"LEFT", b"RIGHT")


def _push(client: Client, key: bytes, values: Sequence[bytes], side: bytes, *, only_if_there: bool = False) -> Reply:
    if only_if_there and client.db.of(deque, key) is None:
        return 0
    found = client.db.own(deque, key)
    if side == b"LEFT":
        found.extendleft(values)
    else:
        found.extend(values)
    length = len(found)
    client.db.changed(key)
    return length


@command("LPUSH", grows=True)
def lpush(client: Client, key: bytes, value: bytes, *values: bytes) -> Reply:
    return _push(client, key, (value, *values), b"LEFT")


@command("RPUSH", grows=True)
def rpush(client: Client, key: bytes, value: bytes, *values: bytes) -> Reply:
    return _push(client, key, (value, *values), b"RIGHT")


@command("LPUSHX", grows=True)
def lpushx(client: Client, key: bytes, value: bytes, *values: bytes) -> Reply:
    return _push(client, key, (value, *values), b"LEFT", only_if_there=True)


@command("RPUSHX", grows=True)
def rpushx(client: Client, key: bytes, value: bytes, *values: bytes) -> Reply:
    return _push(client, key, (value, *values), b"RIGHT", only_if_there=True)


def _pop(database: Database, key: bytes, side: bytes, count: int = 1) -> list[bytes]:
    found = database.of(deque, key)
    if found is None:
        return []
    taken = [found.popleft() if side == b"LEFT" else found.pop() for _ in range(min(count, len(found)))]
    if taken:
        database.changed(key)
    return taken


def _pop_some(client: Client, key: bytes, side: bytes, count: bytes | None) -> Reply:
    number = 1 if count is None else positive(count)
    if client.db.of(deque, key) is None:
        return None if count is None else NULL_LIST
    taken = _pop(client.db, key, side, number)
    return taken[0] if count is None else [*taken]


@command("LPOP")
def lpop(client: Client, key: bytes, count: bytes | None = None) -> Reply:
    return _pop_some(client, key, b"LEFT", count)


@command("RPOP")
def rpop(client: Client, key: bytes, count: bytes | None = None) -> Reply:
    return _pop_some(client, key, b"RIGHT", count)


@command("LLEN")
def llen(client: Client, key: bytes) -> Reply:
    return len(client.db.of(deque, key) or ())


@command("LRANGE")
def lrange(client: Client, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = integer(start), integer(stop)
    found = client.db.of(deque, key) or deque[bytes]()
    places = within(first, last, len(found))
    return list(islice(found, places.start, places.stop))


@command("LINDEX")
def lindex(client: Client, key: bytes, index: bytes) -> Reply:
    found = client.db.of(deque, key)
    if found is None:
        return None
    place = integer(index)
    return found[place] if -len(found) <= place < len(found) else None


@command("LSET", grows=True)
def lset(client: Client, key: bytes, index: bytes, value: bytes) -> Reply:
    found = client.db.of(deque, key)
    if found is None:
        raise NO_KEY
    place = integer(index)
    if not -len(found) <= place < len(found):
        raise Failure(b"ERR index out of range")
    found[place] = value
    client.db.changed(key)
    return OK


@command("LINSERT", grows=True)
def linsert(client: Client, key: bytes, where: bytes, pivot: bytes, value: bytes) -> Reply:
    if where.upper() not in (b"BEFORE", b"AFTER"):
        raise SYNTAX
    found = client.db.of(deque, key)
    if found is None:
        return 0
    try:
        place = found.index(pivot)
    except ValueError:
        return -1
    found.insert(place + (where.upper() == b"AFTER"), value)
    client.db.changed(key)
    return len(found)


@command("LREM")
def lrem(client: Client, key: bytes, count: bytes, value: bytes) -> Reply:
    most = magnitude(count)
    found = client.db.of(deque, key)
    if found is None:
        return 0
    if most < 0:
        found.reverse()
    kept = deque[bytes]()
    removed = 0
    for each in found:
        if each == value and (not most or removed < abs(most)):
            removed += 1
        else:
            kept.append(each)
    if most < 0:
        found.reverse()
        kept.reverse()
    if removed:
        found.clear()
        found.extend(kept)
        client.db.changed(key)
    return removed


@command("LTRIM")
def ltrim(client: Client, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = integer(start), integer(stop)
    found = client.db.of(deque, key)
    if found is not None:
        places = within(first, last, len(found))
        kept = list(islice(found, places.start, places.stop))
        found.clear()
        found.extend(kept)
        client.db.changed(key)
    return OK


@command("LPOS")
def lpos(client: Client, key: bytes, value: bytes, *words: bytes) -> Reply:
    rank, count, longest = 1, -1, 0
    if len(words) % 2:
        raise SYNTAX
    for name, text in zip(words[::2], words[1::2], strict=True):
        word = name.upper()
        if word == b"RANK":
            rank = magnitude(text)
            if rank == 0:
                raise Failure(
                    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... "
                    b"or use negative to start from the end of the list"
                )
        elif word == b"COUNT":
            count = _not_negative(text, b"COUNT")
        elif word == b"MAXLEN":
            longest = _not_negative(text, b"MAXLEN")
        else:
            raise SYNTAX
    found = list(client.db.of(deque, key) or ())
    places = range(len(found)) if rank > 0 else range(len(found) - 1, -1, -1)
    matching = [place for place in places[: longest or len(found)] if found[place] == value][abs(rank) - 1 :]
    if count < 0:
        return matching[0] if matching else None
    return [*(matching[:count] if count else matching)]


def _not_negative(text: bytes, name: bytes) -> int:
    failure = Failure(b"ERR %b can't be negative" % name)
    value = integer(text, failure)
    if value < 0:
        raise failure
    return value


def _side(word: bytes) -> bytes:
    if word.upper() not in _SIDES:
        raise SYNTAX
    return word.upper()


def _carry(database: Database, source: bytes, target: bytes, take: bytes, give: bytes) -> Reply:
    """From one list's end to another's; None when there is nothing to take."""
    if database.of(deque, source) is None:
        return None
    database.of(deque, target)  # WRONGTYPE before anything is taken
    value = _pop(database, source, take)[0]
    found = database.own(deque, target)
    if give == b"LEFT":
        found.appendleft(value)
    else:
        found.append(value)
    database.changed(target)
    return value


@command("RPOPLPUSH", grows=True)
def rpoplpush(client: Client, source: bytes, target: bytes) -> Reply:
    return _carry(client.db, source, target, b"RIGHT", b"LEFT")


@command("LMOVE", grows=True)
def lmove(client: Client, source: bytes, target: bytes, take: bytes, give: bytes) -> Reply:
    return _carry(client.db, source, target, _side(take), _side(give))


@command("LMPOP")
def lmpop(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    keys, take = _several(client, count, (key, *words))
    for each in keys:
        if reply := take(each):
            return reply
    return NULL_LIST


def _several(client: Client, count: bytes, words: Sequence[bytes]) -> tuple[Sequence[bytes], Callable[[bytes], Reply]]:
    """`numkeys key … LEFT|RIGHT [COUNT n]`: the keys, and how to take from one of them."""
    keys, rest = numbered_keys(count, words)
    if not rest:
        raise SYNTAX
    side, number = _side(rest[0]), 1
    if len(rest) == 3 and rest[1].upper() == b"COUNT":
        number = integer(rest[2], COUNT_TOO_SMALL)
        if number < 1:
            raise COUNT_TOO_SMALL
    elif len(rest) != 1:
        raise SYNTAX
    database = client.db

    def take(key: bytes) -> Reply:
        taken = _pop(database, key, side, number)
        return [key, [*taken]] if taken else None

    return keys, take


COUNT_TOO_SMALL = Failure(b"ERR count should be greater than 0")


def _wait_to_pop(client: Client, words: Sequence[bytes], side: bytes) -> Reply:
    *keys, timeout = words
    wait = seconds(timeout)
    database = client.db

    def take(key: bytes) -> Reply:
        taken = _pop(database, key, side)
        return [key, taken[0]] if taken else None

    return client.server.waiting.take(client, keys, deque, take, wait)


@command("BLPOP")
def blpop(client: Client, key: bytes, word: bytes, *words: bytes) -> Reply:
    return _wait_to_pop(client, (key, word, *words), b"LEFT")


@command("BRPOP")
def brpop(client: Client, key: bytes, word: bytes, *words: bytes) -> Reply:
    return _wait_to_pop(client, (key, word, *words), b"RIGHT")


@command("BLMPOP")
def blmpop(client: Client, timeout: bytes, count: bytes, key: bytes, *words: bytes) -> Reply:
    wait = seconds(timeout)
    keys, take = _several(client, count, (key, *words))
    return client.server.waiting.take(client, keys, deque, take, wait)


def _wait_to_carry(client: Client, source: bytes, target: bytes, timeout: bytes, take: bytes, give: bytes) -> Reply:
    database = client.db
    return client.server.waiting.take(
        client,
        [source],
        deque,
        lambda key: _carry(database, key, target, take, give),
        seconds(timeout),
        empty=None,
    )


@command("BRPOPLPUSH", grows=True)
def brpoplpush(client: Client, source: bytes, target: bytes, timeout: bytes) -> Reply:
    return _wait_to_carry(client, source, target, timeout, b"RIGHT", b"LEFT")


@command("BLMOVE", grows=True)
def blmove(client: Client, source: bytes, target: bytes, take: bytes, give: bytes, timeout: bytes) -> Reply:
    return _wait_to_carry(client, source, target, timeout, _side(take), _side(give))
