"""Ranges of sorted sets: by place, by score, by member."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from devstack.redisd.arguments import integer, within
from devstack.redisd.client import Client
from devstack.redisd.keyspace import weight
from devstack.redisd.numbers import double
from devstack.redisd.protocol import SYNTAX, Failure, Pairs, Reply
from devstack.redisd.ranking import Limit, Ranking
from devstack.redisd.sorted_sets import ranking, remove
from devstack.redisd.table import command


@dataclass(slots=True)
class Options:
    by: bytes = b""
    backwards: bool = False
    scores: bool = False
    offset: int = 0
    count: int = -1


def _options(words: Sequence[bytes], allowed: set[bytes], found: Options) -> Options:
    rest, limited = list(words), False
    while rest:
        word = rest.pop(0).upper()
        if word not in allowed:
            raise SYNTAX
        if word == b"WITHSCORES":
            found.scores = True
        elif word == b"REV":
            found.backwards = True
        elif word in (b"BYSCORE", b"BYLEX"):
            found.by = word
        elif len(rest) >= 2:
            found.offset, found.count = integer(rest.pop(0)), integer(rest.pop(0))
            limited = True
        else:
            raise SYNTAX
    if limited and not found.by:
        raise Failure(b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if found.scores and found.by == b"BYLEX":
        raise Failure(b"ERR syntax error, WITHSCORES not supported in combination with BYLEX")
    return found


def score_limits(low: bytes, high: bytes) -> tuple[Limit, Limit]:
    return _score_limit(low), _score_limit(high)


def _score_limit(text: bytes) -> Limit:
    value = double(text.removeprefix(b"("))
    if value is None or math.isnan(value):
        raise Failure(b"ERR min or max is not a float")
    return Limit(value, text.startswith(b"("))


def member_limits(low: bytes, high: bytes) -> tuple[Limit, Limit] | None:
    """None when nothing is between them: `+` below, or `-` above."""
    for text in (low, high):
        if text not in (b"+", b"-") and text[:1] not in (b"(", b"["):
            raise Failure(b"ERR min or max not valid string range item")
    if low == b"+" or high == b"-":
        return None
    first, last = (Limit(None) if text in (b"+", b"-") else Limit(text[1:], text[:1] == b"(") for text in (low, high))
    return first, last


def _places(found: Ranking, start: bytes, stop: bytes, options: Options) -> range:
    """Places in the order in which they are wanted."""
    if not options.by:
        places = within(integer(start), integer(stop), len(found))
        if not options.backwards:
            return places
        last = len(found) - 1
        return range(last - places.start, last - places.stop, -1)
    low, high = (stop, start) if options.backwards else (start, stop)
    limits = score_limits(low, high) if options.by == b"BYSCORE" else member_limits(low, high)
    if limits is None:
        return range(0)
    places = found.between(*limits)
    if options.backwards:
        places = places[::-1]
    if options.offset < 0:
        return range(0)
    return places[options.offset :] if options.count < 0 else places[options.offset : options.offset + options.count]


def _range(client: Client, key: bytes, start: bytes, stop: bytes, options: Options) -> list[tuple[bytes, float]]:
    _places(Ranking(), start, stop, options)  # what is wrong with the arguments comes before what is wrong with the key
    found = ranking(client, key)
    return found.at(_places(found, start, stop, options))


def _said(pairs: list[tuple[bytes, float]], options: Options) -> Reply:
    return Pairs(pairs) if options.scores else [member for member, _ in pairs]


@command("ZRANGE")
def zrange(client: Client, key: bytes, start: bytes, stop: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"WITHSCORES", b"REV", b"BYSCORE", b"BYLEX", b"LIMIT"}, Options())
    return _said(_range(client, key, start, stop, options), options)


@command("ZREVRANGE")
def zrevrange(client: Client, key: bytes, start: bytes, stop: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"WITHSCORES"}, Options(backwards=True))
    return _said(_range(client, key, start, stop, options), options)


@command("ZRANGEBYSCORE")
def zrangebyscore(client: Client, key: bytes, low: bytes, high: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"WITHSCORES", b"LIMIT"}, Options(b"BYSCORE"))
    return _said(_range(client, key, low, high, options), options)


@command("ZREVRANGEBYSCORE")
def zrevrangebyscore(client: Client, key: bytes, high: bytes, low: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"WITHSCORES", b"LIMIT"}, Options(b"BYSCORE", backwards=True))
    return _said(_range(client, key, high, low, options), options)


@command("ZRANGEBYLEX")
def zrangebylex(client: Client, key: bytes, low: bytes, high: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"LIMIT"}, Options(b"BYLEX"))
    return _said(_range(client, key, low, high, options), options)


@command("ZREVRANGEBYLEX")
def zrevrangebylex(client: Client, key: bytes, high: bytes, low: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"LIMIT"}, Options(b"BYLEX", backwards=True))
    return _said(_range(client, key, high, low, options), options)


@command("ZRANGESTORE", grows=True)
def zrangestore(client: Client, target: bytes, key: bytes, start: bytes, stop: bytes, *words: bytes) -> Reply:
    options = _options(words, {b"REV", b"BYSCORE", b"BYLEX", b"LIMIT"}, Options())
    return store(client, target, dict(_range(client, key, start, stop, options)))


def store(client: Client, target: bytes, scores: dict[bytes, float]) -> int:
    """Put a new sorted set in the place of what was there."""
    if not scores:
        client.db.remove(target)
        return 0
    made = Ranking()
    made.scores = scores
    made.order = sorted((score, member) for member, score in scores.items())
    client.server.keyspace.grow(weight(made))
    client.db.put(target, made)
    return len(made)


@command("ZCOUNT")
def zcount(client: Client, key: bytes, low: bytes, high: bytes) -> Reply:
    limits = score_limits(low, high)
    return len(ranking(client, key).between(*limits))


@command("ZLEXCOUNT")
def zlexcount(client: Client, key: bytes, low: bytes, high: bytes) -> Reply:
    limits = member_limits(low, high)
    found = ranking(client, key)
    return len(found.between(*limits)) if limits else 0


@command("ZREMRANGEBYSCORE")
def zremrangebyscore(client: Client, key: bytes, low: bytes, high: bytes) -> Reply:
    limits = score_limits(low, high)
    found = ranking(client, key)
    return remove(client, key, found, found.between(*limits))


@command("ZREMRANGEBYLEX")
def zremrangebylex(client: Client, key: bytes, low: bytes, high: bytes) -> Reply:
    limits = member_limits(low, high)
    found = ranking(client, key)
    return remove(client, key, found, found.between(*limits) if limits else range(0))
