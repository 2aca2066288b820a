"""Commands for sorted sets. What combines several of them is in `unions`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from devstack.redisd import cursors
from devstack.redisd.arguments import double, integer, numbered_keys, positive, within
from devstack.redisd.blocking import seconds
from devstack.redisd.client import Client
from devstack.redisd.hashes import chosen
from devstack.redisd.keyspace import Database
from devstack.redisd.lists import COUNT_TOO_SMALL
from devstack.redisd.numbers import double_text
from devstack.redisd.protocol import NULL_LIST, SYNTAX, Failure, Pairs, Reply
from devstack.redisd.ranking import Ranking
from devstack.redisd.table import command

_EMPTY = Ranking()
_NAN = Failure(b"ERR resulting score is not a number (NaN)")


def ranking(client: Client, key: bytes) -> Ranking:
    """To read from."""
    found = client.db.of(Ranking, key)
    return _EMPTY if found is None else found


@command("ZADD", grows=True)
def zadd(client: Client, key: bytes, word: bytes, other: bytes, *words: bytes) -> Reply:
    rest, flags = [word, other, *words], set[bytes]()
    while rest and rest[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"):
        flags.add(rest.pop(0).upper())
    if not rest or len(rest) % 2:
        raise SYNTAX
    if {b"NX", b"XX"} <= flags:
        raise Failure(b"ERR XX and NX options at the same time are not compatible")
    if len(flags & {b"NX", b"GT", b"LT"}) > 1:
        raise Failure(b"ERR GT, LT, and/or NX options at the same time are not compatible")
    if b"INCR" in flags and len(rest) > 2:
        raise Failure(b"ERR INCR option supports a single increment-element pair")
    pairs = [(double(score), member) for score, member in zip(rest[::2], rest[1::2], strict=True)]
    found = client.db.of(Ranking, key)
    if found is None:
        if b"XX" in flags:
            return None if b"INCR" in flags else 0
        found = Ranking()
    added = changed = 0
    result: float | None = None
    for score, member in pairs:
        before = found.scores.get(member)
        if (before is None and b"XX" in flags) or (before is not None and b"NX" in flags):
            continue
        if before is not None:
            if b"INCR" in flags:
                score += before
                if math.isnan(score):
                    raise _NAN
            if (b"GT" in flags and score <= before) or (b"LT" in flags and score >= before):
                continue
        result = score
        if before is None or before != score:
            found.set(member, score)
            added += before is None
            changed += 1
    if changed:
        client.db.values[key] = found
        client.db.changed(key)
    if b"INCR" in flags:
        return result
    return changed if b"CH" in flags else added


@command("ZINCRBY", grows=True)
def zincrby(client: Client, key: bytes, amount: bytes, member: bytes) -> Reply:
    return zadd(client, key, b"INCR", amount, member)


@command("ZREM")
def zrem(client: Client, key: bytes, member: bytes, *members: bytes) -> Reply:
    found = ranking(client, key)
    count = sum(found.remove(each) for each in (member, *members))
    if count:
        client.db.changed(key)
    return count


@command("ZCARD")
def zcard(client: Client, key: bytes) -> Reply:
    return len(ranking(client, key))


@command("ZSCORE")
def zscore(client: Client, key: bytes, member: bytes) -> Reply:
    return ranking(client, key).scores.get(member)


@command("ZMSCORE")
def zmscore(client: Client, key: bytes, member: bytes, *members: bytes) -> Reply:
    found = ranking(client, key)
    return [found.scores.get(each) for each in (member, *members)]


def _rank(client: Client, key: bytes, member: bytes, words: Sequence[bytes], *, backwards: bool) -> Reply:
    with_score = [each.upper() for each in words] == [b"WITHSCORE"]
    if words and not with_score:
        raise SYNTAX
    found = ranking(client, key)
    place = found.rank(member)
    if place is None:
        return NULL_LIST if with_score else None
    if backwards:
        place = len(found) - 1 - place
    return [place, found.scores[member]] if with_score else place


@command("ZRANK")
def zrank(client: Client, key: bytes, member: bytes, with_score: bytes | None = None) -> Reply:
    return _rank(client, key, member, () if with_score is None else (with_score,), backwards=False)


@command("ZREVRANK")
def zrevrank(client: Client, key: bytes, member: bytes, with_score: bytes | None = None) -> Reply:
    return _rank(client, key, member, () if with_score is None else (with_score,), backwards=True)


def _pop(database: Database, key: bytes, count: int, *, highest: bool) -> list[tuple[bytes, float]]:
    found = database.of(Ranking, key)
    if found is None or not count:
        return []
    size = min(count, len(found))
    taken = found.cut(range(len(found) - size, len(found)) if highest else range(size))
    database.changed(key)
    return taken[::-1] if highest else taken


def _pop_some(client: Client, key: bytes, count: bytes | None, *, highest: bool) -> Reply:
    number = 1 if count is None else positive(count)
    taken = _pop(client.db, key, number, highest=highest)
    if count is None:
        return [*taken[0]] if taken else []
    return Pairs(taken)


@command("ZPOPMIN")
def zpopmin(client: Client, key: bytes, count: bytes | None = None) -> Reply:
    return _pop_some(client, key, count, highest=False)


@command("ZPOPMAX")
def zpopmax(client: Client, key: bytes, count: bytes | None = None) -> Reply:
    return _pop_some(client, key, count, highest=True)


def _wait_to_pop(client: Client, words: Sequence[bytes], *, highest: bool) -> Reply:
    *keys, timeout = words
    wait = seconds(timeout)
    database = client.db

    def take(key: bytes) -> Reply:
        taken = _pop(database, key, 1, highest=highest)
        return [key, *taken[0]] if taken else None

    return client.server.waiting.take(client, keys, Ranking, take, wait)


@command("BZPOPMIN")
def bzpopmin(client: Client, key: bytes, word: bytes, *words: bytes) -> Reply:
    return _wait_to_pop(client, (key, word, *words), highest=False)


@command("BZPOPMAX")
def bzpopmax(client: Client, key: bytes, word: bytes, *words: bytes) -> Reply:
    return _wait_to_pop(client, (key, word, *words), highest=True)


def _several(client: Client, count: bytes, words: Sequence[bytes]) -> tuple[Sequence[bytes], Callable[[bytes], Reply]]:
    """`numkeys key … MIN|MAX [COUNT n]`: the keys, and how to take from one of them."""
    keys, rest = numbered_keys(count, words)
    if not rest or rest[0].upper() not in (b"MIN", b"MAX"):
        raise SYNTAX
    number = 1
    if len(rest) == 3 and rest[1].upper() == b"COUNT":
        number = integer(rest[2], COUNT_TOO_SMALL)
        if number < 1:
            raise COUNT_TOO_SMALL
    elif len(rest) != 1:
        raise SYNTAX
    database = client.db

    def take(key: bytes) -> Reply:
        taken = _pop(database, key, number, highest=rest[0].upper() == b"MAX")
        return [key, [[*pair] for pair in taken]] if taken else None

    return keys, take


@command("ZMPOP")
def zmpop(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    keys, take = _several(client, count, (key, *words))
    for each in keys:
        if reply := take(each):
            return reply
    return NULL_LIST


@command("BZMPOP")
def bzmpop(client: Client, timeout: bytes, count: bytes, key: bytes, *words: bytes) -> Reply:
    wait = seconds(timeout)
    keys, take = _several(client, count, (key, *words))
    return client.server.waiting.take(client, keys, Ranking, take, wait)


@command("ZREMRANGEBYRANK")
def zremrangebyrank(client: Client, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = integer(start), integer(stop)
    found = ranking(client, key)
    return remove(client, key, found, within(first, last, len(found)))


def remove(client: Client, key: bytes, found: Ranking, places: range) -> int:
    if places:
        found.cut(places)
        client.db.changed(key)
    return len(places)


@command("ZRANDMEMBER")
def zrandmember(client: Client, key: bytes, count: bytes | None = None, *words: bytes) -> Reply:
    number = 1 if count is None else integer(count)
    with_scores = [each.upper() for each in words] == [b"WITHSCORES"]
    if words and not with_scores:
        raise SYNTAX
    found = ranking(client, key)
    names = chosen(list(found.scores), number)
    if count is None:
        return names[0] if names else None
    return Pairs((name, found.scores[name]) for name in names) if with_scores else [*names]


@command("ZSCAN")
def zscan(client: Client, key: bytes, cursor: bytes, *words: bytes) -> Reply:
    options = cursors.options(words)
    found = ranking(client, key)
    number, names = client.server.cursors.walk(cursor, lambda: list(found.scores), options.count)
    matching = [name for name in names if name in found.scores and options.matches(name)]
    return [b"%d" % number, [part for name in matching for part in (name, double_text(found.scores[name]))]]
