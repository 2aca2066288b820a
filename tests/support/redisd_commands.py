# ruff: noqa: E501
"""Random commands for two servers, and whether their replies are the same.

`Words(random)` makes them: valid ones, ones at the edges, wrong types, wrong numbers, and what is no command. Keys are few, so that the
commands meet. What a server may choose by itself (an order, a random member) is made comparable by `comparable`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.redisd import Map, Said

Command = tuple[bytes, ...]

UNORDERED = {
    b"SMEMBERS", b"SUNION", b"SINTER", b"SDIFF", b"HKEYS", b"HVALS", b"KEYS", b"SPOP",
}  # fmt: skip
PAIRED = {b"HGETALL"}
CHOSEN = {b"SRANDMEMBER", b"HRANDFIELD", b"ZRANDMEMBER", b"RANDOMKEY"}
TIMES = {b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME"}
SCANS = {b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN"}

SHAPES = """
GET k|SET k v|SET k v NX|SET k v XX|SET k v GET|SET k v EX e|SET k v PX E|SET k v KEEPTTL|SET k v NX GET|SET k v NX XX|SET k v EX n|SET k v EXAT T
SET k v EX e PX E|SET k v o|GETSET k v|GETDEL k|GETEX k|GETEX k EX e|GETEX k PERSIST|GETEX k EX e PERSIST|SETNX k v|SETEX k e v|SETEX k n v|PSETEX k E v
MGET k k k|MSET k v k v|MSET k v k|MSETNX k v k v|APPEND k v|STRLEN k|GETRANGE k i i|SUBSTR k i i|SETRANGE k i v
INCR k|DECR k|INCRBY k i|DECRBY k i|INCRBYFLOAT k f|SET k i|SET k f|SETBIT k i 1|SETBIT k i 0|GETBIT k i|BITCOUNT k|BITCOUNT k i i|BITCOUNT k i i BIT
DEL k|DEL k k|UNLINK k|EXISTS k k|TOUCH k k|TYPE k|RENAME k k|RENAMENX k k|COPY k k|COPY k k REPLACE|COPY k k DB 1 REPLACE|MOVE k 1|KEYS p|RANDOMKEY
DBSIZE|EXPIRE k e|EXPIRE k n|EXPIRE k e NX|EXPIRE k e XX|EXPIRE k e GT|EXPIRE k e LT|EXPIRE k e o|PEXPIRE k E|EXPIREAT k T|PEXPIREAT k T|PERSIST k
TTL k|PTTL k|EXPIRETIME k|PEXPIRETIME k|SCAN 0 COUNT 1000|SCAN 0 MATCH p COUNT 1000|SCAN 0 COUNT 1000 TYPE list|SCAN x|SCAN 0 COUNT i|SELECT i
LPUSH k v|LPUSH k v v|RPUSH k v|RPUSH k v v v|LPUSHX k v|RPUSHX k v|LPOP k|RPOP k|LPOP k c|RPOP k c|LLEN k|LRANGE k i i|LRANGE k 0 -1|LINDEX k i
LSET k c v|LINSERT k BEFORE v v|LINSERT k AFTER v v|LINSERT k o v v|LREM k i v|LTRIM k i i|LPOS k v|LPOS k v RANK i|LPOS k v COUNT c|LPOS k v COUNT c MAXLEN c
LPOS k v RANK i COUNT c|RPOPLPUSH k k|LMOVE k k LEFT RIGHT|LMOVE k k RIGHT LEFT|LMOVE k k LEFT o|LMPOP 2 k k LEFT|LMPOP 1 k RIGHT COUNT c|LMPOP i k LEFT
HSET k m v|HSET k m v m v|HSET k m v m|HSETNX k m v|HGET k m|HMGET k m m|HMSET k m v m v|HGETALL k|HDEL k m|HDEL k m m|HLEN k|HEXISTS k m|HKEYS k|HVALS k
HINCRBY k m i|HINCRBYFLOAT k m f|HSET k m i|HSTRLEN k m|HRANDFIELD k|HRANDFIELD k c|HRANDFIELD k c WITHVALUES|HSCAN k 0 COUNT 1000|HSCAN k 0 MATCH p COUNT 1000
SADD k m|SADD k m m m|SREM k m|SREM k m m|SMEMBERS k|SISMEMBER k m|SMISMEMBER k m m|SCARD k|SPOP k 1000|SPOP k -1|SRANDMEMBER k|SRANDMEMBER k c|SRANDMEMBER k -3
SMOVE k k m|SUNION k k|SINTER k k|SDIFF k k|SDIFF k k k|SUNIONSTORE k k k|SINTERSTORE k k k|SDIFFSTORE k k k|SINTERCARD 2 k k|SINTERCARD 2 k k LIMIT c
SINTERCARD i k k|SSCAN k 0 COUNT 1000
SET t1 v|ZADD y 0 m|ZADD y 0 m 0 m|ZADD y 0 m 0 m 0 m|ZADD k s m|ZADD k s m s m|ZADD k NX s m|ZADD k XX s m|ZADD k GT s m|ZADD k LT CH s m|ZADD k CH s m s m|ZADD k INCR s m|ZADD k NX INCR s m|ZADD k XX INCR s m
ZADD k NX XX s m|ZADD k GT LT s m|ZADD k s|ZADD k v m|ZADD k INCR s m s m|ZINCRBY k s m|ZREM k m|ZREM k m m|ZCARD k|ZSCORE k m|ZMSCORE k m m|ZRANK k m
ZRANK k m WITHSCORE|ZREVRANK k m|ZREVRANK k m WITHSCORE|ZRANGE k i i|ZRANGE k 0 -1 WITHSCORES|ZRANGE k i i REV|ZRANGE k b b BYSCORE|ZRANGE k b b BYSCORE REV
ZRANGE k b b BYSCORE LIMIT i i WITHSCORES|ZRANGE y x x BYLEX|ZRANGE y x x BYLEX REV LIMIT c c|ZRANGE k i i LIMIT 1 1|ZRANGE y x x BYLEX WITHSCORES
ZREVRANGE k i i|ZREVRANGE k 0 -1 WITHSCORES|ZRANGEBYSCORE k b b|ZRANGEBYSCORE k b b WITHSCORES LIMIT i i|ZREVRANGEBYSCORE k b b|ZREVRANGEBYSCORE k b b LIMIT c c
ZRANGEBYLEX y x x|ZRANGEBYLEX y x x LIMIT c c|ZREVRANGEBYLEX y x x|ZRANGESTORE k k i i|ZRANGESTORE k k b b BYSCORE|ZCOUNT k b b|ZLEXCOUNT y x x
ZREMRANGEBYRANK k i i|ZREMRANGEBYSCORE k b b|ZREMRANGEBYLEX y x x|ZPOPMIN k|ZPOPMAX k|ZPOPMIN k c|ZPOPMAX k c|ZMPOP 2 k k MIN|ZMPOP 1 k MAX COUNT c
ZRANDMEMBER k|ZRANDMEMBER k c|ZRANDMEMBER k c WITHSCORES|ZSCAN k 0 COUNT 1000|ZUNION 2 k k|ZUNION 2 k k WITHSCORES|ZINTER 2 k k WITHSCORES|ZDIFF 2 k k WITHSCORES
ZUNIONSTORE k 2 k k|ZUNIONSTORE k 2 k k WEIGHTS f f|ZUNIONSTORE k 2 k k WEIGHTS f f AGGREGATE MAX|ZINTERSTORE k 2 k k AGGREGATE MIN|ZDIFFSTORE k 2 k k
ZUNION i k k|ZINTERCARD 2 k k|ZINTERCARD 2 k k LIMIT c|ZUNIONSTORE k 2 k k WEIGHTS f v
BLPOP k 0.001|BRPOP k k 0.001|BLMOVE k k LEFT RIGHT 0.001|BRPOPLPUSH k k 0.001|BZPOPMIN k 0.001|BZPOPMAX k k 0.001|BLMPOP 0.001 2 k k LEFT|BZMPOP 0.001 1 k MIN
BLPOP k t|BZPOPMAX k t|BLMPOP t 1 k LEFT
MULTI|EXEC|DISCARD|WATCH k|WATCH k k|UNWATCH|MULTI|EXEC|PING|PING v|PING v v|ECHO v|ECHO|TIME v|CLIENT GETNAME|CLIENT SETNAME m|CLIENT SETINFO lib-name m
CLIENT o|CLIENT|PUBLISH v v|PUBSUB NUMPAT|PUBSUB NUMSUB v|PUBSUB CHANNELS|NOSUCH m|GET|GET k k|OBJECT o k|SWAPDB 0 1|FLUSHDB|MEMORY o|CONFIG GET maxclientsx|WAIT 0 0
SCRIPT EXISTS m|EVALSHA m 0|EVAL o i|SCRIPT o|LASTSAVE v|COMMAND o|SUBSTR k|CLIENT UNBLOCK 999999|CLIENT UNBLOCK v|CLIENT KILL ID 999999|CLIENT KILL 1.2.3.4:5
CLIENT NO-EVICT on|CLIENT LIST TYPE o|ROLE v|SELECT v|UNSUBSCRIBE v|FLUSHDB o
"""
SCRIPTS = [
    b"return redis.call('GET', KEYS[1])",
    b"return redis.call('SET', KEYS[1], ARGV[1])",
    b"redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)",
    b"return {1, 2.9, -2.9, 'x', true, false, {4, {5}}}",
    b"return {1, nil, 3}",
    b"return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')",
    b"return redis.call('ZSCORE', KEYS[1], ARGV[1])",
    b"return {redis.pcall('INCR', KEYS[1]), redis.pcall('HGET', KEYS[1], ARGV[1])}",
    b"local r = redis.pcall('LPUSH', KEYS[1], ARGV[1]) if type(r) == 'table' then return r.err end return r",
    b"return redis.status_reply('FINE')",
    b"return redis.error_reply('MY problem')",
    b"return redis.error_reply('lower case')",
    b"return {err='My Err'}",
    b"return {ok='X'}",
    b"return tostring(redis.call('EXISTS', KEYS[1]))",
    b"return redis.sha1hex(ARGV[1])",
    b"return cjson.encode({1, 2, {a = 'x'}})",
    b"return cjson.decode('{\"a\": [1, 2, {\"b\": null}]}')['a'][2]",
    b"return #KEYS + #ARGV",
    b"return type(redis.call('GET', 'nowhere'))",
    b"return redis.call('BLPOP', 'nowhere', 0)",
    b"redis.call('SELECT', 1) return redis.call('SET', KEYS[1], ARGV[1])",
    b"return bit.band(255, 15) + bit.bor(1, 2) + bit.bxor(5, 1) + bit.lshift(1, 4) + bit.rshift(-1, 28) + bit.arshift(-16, 2)",
    b"return bit.tohex(-1) .. bit.bnot(5)",
    b"return redis.call('TYPE', KEYS[1])",
    b"return #redis.call('HGETALL', 'h1')",
    b"return math.floor(3.7) .. string.rep('a', 3) .. table.concat({1, 2}, ',')",
    b"return tonumber('12') + 0.5",
    b"return {double = 3}",
    b"",
]

TEXTS = [
    b"",
    b"a",
    b"b",
    b"hello",
    b"hello world",
    b"\x00\xff",
    b"10",
    b"-1",
    b"3.5",
    b"foo\r\nbar",
    b"x" * 100,
    b"1e3",
    b" 1",
    b"007",
]
MEMBERS = [b"a", b"b", b"c", b"d", b"aa", b"B", b"1", b"2", b"", b"\xff", b"zz"]
INTEGERS = [
    b"0", b"1", b"-1", b"2", b"3", b"-2", b"5", b"-5", b"10", b"100", b"-100", b"+1", b"01", b"1.0", b"x", b"",
    b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
]  # fmt: skip
# None ends while the commands run: two servers never see it at the same moment.
LIFETIMES = [number for number in INTEGERS if number not in (b"1", b"2", b"3", b"5", b"10", b"100", b"+1", b"01")] + [
    b"1000000"
]
COUNTS = [b"0", b"1", b"2", b"3", b"10", b"-1", b"x"]
FLOATS = [
    b"0",
    b"1",
    b"-1",
    b"0.1",
    b"1.5",
    b"-2.25",
    b"3.0",
    b"1e2",
    b"1e-3",
    b"100.125",
    b"x",
    b"inf",
    b"nan",
    b"0.30000000000000004",
]
SCORES = [
    b"0", b"1", b"-1", b"2", b"3", b"1.5", b"0.1", b"-0", b"inf", b"-inf", b"+inf", b"1e20", b"1e21", b"1.1e22", b"1e-5", b"1.5e-7", b"123456789012", b"3.14159",
    b"0.30000000000000004", b"1e300", b"17179869184.5", b"9007199254740993", b"nan", b"x",
]  # fmt: skip
BOUNDS = [b"-inf", b"+inf", b"inf", b"0", b"1", b"(1", b"2", b"(2", b"-1", b"(0", b"1.5", b"(x", b"x"]
LEXES = [b"-", b"+", b"[a", b"(a", b"[b", b"(c", b"[zz", b"[", b"(", b"x", b"[B"]
TIMEOUTS = [b"0.001", b"1e-3", b"x", b"-1", b"nan", b"inf", b"", b"1e300"]
PATTERNS = [
    b"*",
    b"s*",
    b"?1",
    b"[sl]1",
    b"[^s]*",
    b"[a-m]?",
    b"\\s1",
    b"*1",
    b"",
    b"**",
    b"s\\1",
    b"[",
    b"[s",
    b"*[0-9]",
    b"[z-a]1",
]
WORDS = [b"NX", b"FOO", b"LEFT", b"", b"return 1", b"HELP_", b"GT"]


class Words:
    """Commands, one after the other."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._shapes = [shape.split() for line in SHAPES.strip().splitlines() for shape in line.split("|")]
        self._makers: dict[str, Callable[[], bytes]] = {
            "k": self._key,
            # All scores in these are 0, for what a range by member means elsewhere, nobody says; the last one is a string.
            "y": lambda: dice.choice([b"y1", b"y2", b"t1"]),
            "v": lambda: dice.choice(TEXTS),
            "m": lambda: dice.choice(MEMBERS),
            "i": lambda: dice.choice(INTEGERS),
            "n": lambda: dice.choice(LIFETIMES),
            "c": lambda: dice.choice(COUNTS),
            "f": lambda: dice.choice(FLOATS),
            "s": lambda: dice.choice(SCORES),
            "b": lambda: dice.choice(BOUNDS),
            "x": lambda: dice.choice(LEXES),
            "t": lambda: dice.choice(TIMEOUTS),
            "p": lambda: dice.choice(PATTERNS),
            "o": lambda: dice.choice(WORDS),
            "e": lambda: b"%d" % dice.randint(1000, 10**6),
            "E": lambda: b"%d" % dice.randint(10**6, 10**9),
            "T": lambda: b"%d" % dice.choice([1, 4102444800, 4102444900]),
        }
        self._name = ""

    def _key(self) -> bytes:
        """Mostly one of the family's own: s1 … for strings, z1 … for sorted sets."""
        letter = {"L": "l", "R": "l", "H": "h", "S": "e", "Z": "z", "B": "l"}.get(self._name[0], "s")
        if self._name in ("SET", "SETNX", "SETEX", "STRLEN", "SETRANGE", "SUBSTR", "SETBIT", "BITCOUNT"):
            letter = "s"
        elif self._name.startswith("BZ"):
            letter = "z"
        if self._dice.random() < 0.12:
            letter = self._dice.choice("slhez")
        return f"{letter}{self._dice.randint(1, 4)}".encode()

    def next(self) -> Command:
        if self._dice.random() < 0.04:
            self._name = self._dice.choice("SLHZ")
            keys = [self._key() for _ in range(self._dice.randint(0, 2))]
            return (b"EVAL", self._dice.choice(SCRIPTS), b"%d" % len(keys), *keys, self._dice.choice(MEMBERS))
        shape = self._dice.choice(self._shapes)
        self._name = shape[0]
        # One letter stands for a made word; after the name of a command, which may be one letter, too.
        return (
            shape[0].encode(),
            *(self._makers[word]() if word in self._makers else word.encode() for word in shape[1:]),
        )


def comparable(command: Command, reply: object) -> object:
    """The reply without what a server may choose."""
    name = command[0].upper()
    kind = ""
    if name in (b"EVAL", b"EVALSHA"):
        # Where in the script, and by which function, is the server's own prose.
        return _without_prose(reply)
    if isinstance(reply, tuple):
        kind, reply = reply
    if name.startswith((b"Z", b"BZ")) and name not in CHOSEN:
        reply = _with_numbers(reply)
    if isinstance(reply, Map):
        return {_frozen(key): _frozen(value) for key, value in reply.items()}
    if isinstance(reply, list):
        if name in CHOSEN:
            return kind, len(reply), sorted({type(each).__name__ for each in reply})
        if name in SCANS and len(reply) == 2 and isinstance(reply[1], list):
            if b"1000" not in command:
                return "some"
            paired = name in (b"HSCAN", b"ZSCAN")
            return reply[0], sorted(zip(*[iter(reply[1])] * 2, strict=True), key=repr) if paired else sorted(reply[1])
        if name in PAIRED:
            return kind, sorted(zip(reply[::2], reply[1::2], strict=True))
        if name in UNORDERED or kind == "~":
            return kind, sorted(reply, key=repr)
        return kind, [_frozen(each) for each in reply]
    if name in CHOSEN and isinstance(reply, bytes):
        return "some"
    return kind, reply


def _with_numbers(reply: object) -> object:
    """A double has more than one spelling: -0 comes as 0 from a small set, and fpconv does not always find the shortest one."""
    if isinstance(reply, list):
        return [_with_numbers(each) for each in reply]
    text = (
        reply.decode("latin-1")
        if isinstance(reply, bytes)
        else reply.text
        if isinstance(reply, Said) and reply.kind == ","
        else ""
    )
    try:
        return float(text)
    except ValueError:
        return reply


def _without_prose(reply: object) -> object:
    if isinstance(reply, list):
        return [_without_prose(each) for each in reply]
    if isinstance(reply, bytes) and reply.startswith(b"ERR "):
        return "an error as text"
    return ("-", reply.text.split()[0]) if isinstance(reply, Said) and reply.kind == "-" else reply


def _frozen(value: object) -> object:
    if isinstance(value, tuple):
        return value[0], sorted(map(_frozen, value[1]), key=repr)
    if isinstance(value, Map):
        return {_frozen(key): _frozen(each) for key, each in value.items()}
    return [_frozen(each) for each in value] if isinstance(value, list) else value
