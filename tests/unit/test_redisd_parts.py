"""The parts of the embedded server that need no socket: the wire format, patterns, numbers, sorted sets, settings."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devstack.redisd import __main__ as program
from devstack.redisd.numbers import added, double, double_text, integer, long_double, long_double_text
from devstack.redisd.patterns import matcher
from devstack.redisd.protocol import Malformed, Pairs, Requests, Verbatim, encode, request, split
from devstack.redisd.ranking import Limit, Ranking
from devstack.redisd.settings import BadSetting, read
from devstack.redisd.table import COMMANDS


def taken(chunks: list[bytes]) -> list[list[bytes]]:
    requests, found = Requests(trusted=True), []
    for chunk in chunks:
        requests.feed(chunk)
        while (words := requests.take()) is not None:
            found.append(words)
    return found


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=4), max_size=5), st.integers(1, 30))
def test_requests_are_the_same_however_they_are_cut(sent: list[list[bytes]], size: int) -> None:
    data = b"".join(request(*words) for words in sent)
    assert taken([data[at : at + size] for at in range(0, len(data), size)]) == sent


@given(st.binary(max_size=200), st.integers(1, 20))
def test_garbage_is_requests_or_malformed_and_nothing_else(data: bytes, size: int) -> None:
    try:
        found = taken([data[at : at + size] for at in range(0, len(data), size)])
    except Malformed:
        return
    assert all(words for words in found if words)


def test_what_a_person_types_is_words() -> None:
    assert split(rb'set "a \x00\"b" ' + rb"'c\'d' e\n") == [b"set", b'a \0"b', b"c'd", rb"e\n"]
    for bad in (b'"a', b"'a", b'"a"b', b'"a\\'):
        with pytest.raises(Malformed):
            split(bad)


def test_a_reply_has_the_form_of_its_version() -> None:
    pairs = Pairs([(b"a", 1.5)])
    assert encode(pairs, 2) == b"*2\r\n$1\r\na\r\n$3\r\n1.5\r\n"
    assert encode(pairs, 3) == b"*1\r\n*2\r\n$1\r\na\r\n,1.5\r\n"
    assert (encode(None, 2), encode(None, 3)) == (b"$-1\r\n", b"_\r\n")
    assert encode({b"a": [1]}, 3) == b"%1\r\n$1\r\na\r\n*1\r\n:1\r\n"
    assert (encode(Verbatim(b"x"), 2), encode(Verbatim(b"x"), 3)) == (b"$1\r\nx\r\n", b"=5\r\ntxt:x\r\n")


def matches(pattern: bytes, text: bytes) -> bool:
    """The plainest reading of stars and question marks."""
    if not pattern:
        return not text
    if pattern[:1] == b"*":
        return any(matches(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[:1] in (b"?", text[:1]) and matches(pattern[1:], text[1:])


@given(st.text("ab*?.\n", max_size=7), st.text("ab.\n", min_size=1, max_size=7))
def test_a_pattern_matches_what_the_plainest_reading_matches(pattern: str, text: str) -> None:
    assert matcher(pattern.encode())(text.encode()) == matches(pattern.encode(), text.encode())


def test_no_pattern_takes_for_ever() -> None:
    assert not matcher(b"*a" * 40 + b"b")(b"a" * 5000)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_pattern(pattern: bytes) -> None:
    matcher(pattern)(b"some text")


@given(st.floats(allow_nan=False))
def test_a_double_reads_back_as_itself(value: float) -> None:
    assert double(double_text(value)) == value


@pytest.mark.parametrize("text", [b"+1", b"01", b" 1", b"1 ", b"1_0", b"", b"-0", b"9" * 19, b"9" * 5000, "١".encode()])
def test_an_integer_has_one_spelling(text: bytes) -> None:
    assert integer(text) is None


def test_floats_are_counted_as_redis_counts_them() -> None:
    total = Fraction(0)
    for _ in range(3):
        step = long_double(b"0.1")
        assert step is not None
        total = added(total, step)
    assert long_double_text(total) == b"0.3"
    assert long_double(b"1e99999999999") is None
    assert long_double_text(Fraction(-1, 2)) == b"-0.5"


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([0.0, 1.0, 2.5, float("inf")]))))
def test_a_ranking_is_a_sorted_dict(steps: list[tuple[bytes, float]]) -> None:
    ranking, plain = Ranking(), dict[bytes, float]()
    for member, score in steps:
        if plain.get(member) == score:
            assert ranking.remove(member)
            del plain[member]
        else:
            ranking.set(member, score)
            plain[member] = score
    ordered = sorted((score, member) for member, score in plain.items())
    assert ranking.order == ordered
    assert ranking.scores == plain
    places = ranking.between(Limit(1.0), Limit(2.5, exclusive=True))
    assert [ordered[place] for place in places] == [each for each in ordered if 1.0 <= each[0] < 2.5]


def test_what_is_for_redis_alone_is_passed_over_and_the_command_line_wins() -> None:
    conf = b'port 1\nbind 127.0.0.1\nappendonly no\nsave 300 1\nrequirepass "a \\"b"\n# port 3\ndbfilename dump.rdb\n'
    settings = read(["-", "--port", "2"], conf)
    assert (settings.port, settings.save, settings.password, settings.file) == (2, 60, b'a "b', "dump.resp")
    assert read(["--save", ""], b"").save == 0


@example(b"\x00")
@given(st.binary(max_size=60))
def test_any_configuration_is_settings_or_a_sentence(conf: bytes) -> None:
    with contextlib.suppress(BadSetting):
        assert read(["-"], conf).port >= 0


def test_the_table_has_what_celery_and_django_use() -> None:
    assert program
    needed = (
        "BRPOP LPUSH RPUSH LLEN LRANGE LREM LPOP RPOP GET SET SETEX MGET MSET DEL EXISTS EXPIRE PEXPIRE PERSIST TTL PTTL "
        "INCR INCRBY DECRBY "
        "HSET HGET HDEL HLEN HGETALL SADD SREM SMEMBERS SISMEMBER ZADD ZREM ZRANGE ZREVRANGEBYSCORE ZREMRANGEBYSCORE ZPOPMIN "
        "BZPOPMIN ZCOUNT "
        "PUBLISH SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE MULTI EXEC WATCH UNWATCH DISCARD EVAL EVALSHA SCRIPT|LOAD SCRIPT|EXISTS "
        "PING AUTH HELLO SELECT INFO CONFIG|GET CLIENT|SETNAME CLIENT|SETINFO CLIENT|ID CLIENT|LIST CLIENT|INFO CLIENT|UNBLOCK CLIENT|KILL "
        "SCAN SSCAN HSCAN ZSCAN FLUSHDB KEYS TYPE DBSIZE"
    )
    assert {name.encode() for name in needed.split()} <= COMMANDS.keys()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--prt", "1"], "has no --prt"),
        (["--appendonly", "yes"], "has no --appendonly"),
        (["--user", "ann", "on", ">pw", "~a:*", "+@read"], "user ann: ~a:\\* cannot be kept"),
        (["--user"], "nobody is named"),
    ],
)
def test_what_cannot_be_kept_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        read(words, b"")


def test_http_is_no_request() -> None:
    for first in (b"POST / HTTP/1.1\r\n", b"host: 127.0.0.1:6379\r\n"):
        requests = Requests(trusted=True)
        requests.feed(first + b"FLUSHALL\r\n")
        with pytest.raises(Malformed, match="HTTP"):
            requests.take()
