"""Union, intersection and difference of sorted sets; a set counts as one whose scores are all 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devstack.redisd.arguments import integer, numbered_keys
from devstack.redisd.client import Client
from devstack.redisd.numbers import double
from devstack.redisd.protocol import SYNTAX, WRONG_TYPE, Failure, Pairs, Reply
from devstack.redisd.ranges import store
from devstack.redisd.ranking import Ranking
from devstack.redisd.sets import limited_keys
from devstack.redisd.table import command

Scores = dict[bytes, float]


def _sum(one: float, other: float) -> float:
    total = one + other
    return 0.0 if math.isnan(total) else total


_AGGREGATES: dict[bytes, Callable[[float, float], float]] = {b"SUM": _sum, b"MIN": min, b"MAX": max}


@dataclass(slots=True)
class Request:
    inputs: list[Scores]
    aggregate: Callable[[float, float], float] = field(default=_sum)
    scores: bool = False


def _scores(client: Client, key: bytes) -> Scores:
    value = client.db.find(key)
    if value is None:
        return {}
    if isinstance(value, Ranking):
        return value.scores
    if isinstance(value, set):
        return dict.fromkeys(value, 1.0)
    raise WRONG_TYPE


def _request(
    client: Client, name: bytes, count: bytes, words: Sequence[bytes], *, weighted: bool = True, stored: bool = False
) -> Request:
    no_keys = Failure(b"ERR at least 1 input key is needed for '%b' command" % name)
    integer(count)
    keys, rest = numbered_keys(count, words, wrong=no_keys)
    request = Request([_scores(client, key) for key in keys])
    while rest:
        word = rest.pop(0).upper()
        if word == b"WITHSCORES" and not stored:
            request.scores = True
        elif word == b"WEIGHTS" and weighted and len(rest) >= len(keys):
            weights = [_weight(rest.pop(0)) for _ in keys]
            request.inputs = [
                {member: _times(score, weight) for member, score in scores.items()}
                for scores, weight in zip(request.inputs, weights, strict=True)
            ]
        elif word == b"AGGREGATE" and weighted and rest and rest[0].upper() in _AGGREGATES:
            request.aggregate = _AGGREGATES[rest.pop(0).upper()]
        else:
            raise SYNTAX
    return request


def _weight(text: bytes) -> float:
    value = double(text)
    if value is None:
        raise Failure(b"ERR weight value is not a float")
    return value


def _times(score: float, weight: float) -> float:
    product = score * weight
    return 0.0 if math.isnan(product) else product


def _union(request: Request) -> Scores:
    result: Scores = {}
    for scores in request.inputs:
        for member, score in scores.items():
            result[member] = request.aggregate(result[member], score) if member in result else score
    return result


def _common(request: Request) -> Scores:
    first, *others = request.inputs
    result: Scores = {}
    for member, score in first.items():
        if all(member in scores for scores in others):
            for scores in others:
                score = request.aggregate(score, scores[member])
            result[member] = score
    return result


def _difference(request: Request) -> Scores:
    first, *others = request.inputs
    return {member: score for member, score in first.items() if not any(member in scores for scores in others)}


def _said(scores: Scores, request: Request) -> Reply:
    ordered = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))
    return Pairs(ordered) if request.scores else [member for member, _ in ordered]


@command("ZUNION")
def zunion(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    request = _request(client, b"zunion", count, (key, *words))
    return _said(_union(request), request)


@command("ZINTER")
def zinter(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    request = _request(client, b"zinter", count, (key, *words))
    return _said(_common(request), request)


@command("ZDIFF")
def zdiff(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    request = _request(client, b"zdiff", count, (key, *words), weighted=False)
    return _said(_difference(request), request)


@command("ZUNIONSTORE", grows=True)
def zunionstore(client: Client, target: bytes, count: bytes, key: bytes, *words: bytes) -> Reply:
    return store(client, target, _union(_request(client, b"zunionstore", count, (key, *words), stored=True)))


@command("ZINTERSTORE", grows=True)
def zinterstore(client: Client, target: bytes, count: bytes, key: bytes, *words: bytes) -> Reply:
    return store(client, target, _common(_request(client, b"zinterstore", count, (key, *words), stored=True)))


@command("ZDIFFSTORE", grows=True)
def zdiffstore(client: Client, target: bytes, count: bytes, key: bytes, *words: bytes) -> Reply:
    request = _request(client, b"zdiffstore", count, (key, *words), weighted=False, stored=True)
    return store(client, target, _difference(request))


@command("ZINTERCARD")
def zintercard(client: Client, count: bytes, key: bytes, *words: bytes) -> Reply:
    keys, _ = numbered_keys(count, (key, *words))
    inputs = [_scores(client, each) for each in keys]
    _, limit = limited_keys(count, (key, *words))
    size = len(_common(Request(inputs)))
    return min(size, limit) if limit else size
