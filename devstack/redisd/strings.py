"""Commands for strings and counters."""

from __future__ import annotations

from collections.abc import Sequence

from devstack.redisd import numbers
from devstack.redisd.arguments import NOT_A_FLOAT, TOO_LONG, integer, within
from devstack.redisd.client import Client
from devstack.redisd.expiry import end_of
from devstack.redisd.protocol import LARGEST_BULK, OK, SYNTAX, Failure, Reply
from devstack.redisd.table import command

OVERFLOW = Failure(b"ERR increment or decrement would overflow")
_UNITS = (b"EX", b"PX", b"EXAT", b"PXAT")


@command("GET")
def get(client: Client, key: bytes) -> Reply:
    return client.db.of(bytes, key)


@command("SET", grows=True)
def set_(client: Client, key: bytes, value: bytes, *options: bytes) -> Reply:
    flags, end = _options(options, b"set", {b"NX", b"XX", b"GET", b"KEEPTTL"})
    if {b"NX", b"XX"} <= flags or (end and b"KEEPTTL" in flags):
        raise SYNTAX
    before = client.db.of(bytes, key) if b"GET" in flags else None
    there = client.db.find(key) is not None
    if (b"NX" in flags and there) or (b"XX" in flags and not there):
        return before
    client.db.put(key, value, keep=b"KEEPTTL" in flags)
    if end:
        client.db.end_at(key, end)
    return before if b"GET" in flags else OK


@command("GETEX")
def getex(client: Client, key: bytes, *options: bytes) -> Reply:
    flags, end = _options(options, b"getex", {b"PERSIST"})
    if flags and end:
        raise SYNTAX
    value = client.db.of(bytes, key)
    if value is not None and end:
        client.db.end_at(key, end)
    elif value is not None and flags and key in client.db.expires:
        client.db.end_at(key, None)
    return value


def _options(words: Sequence[bytes], name: bytes, allowed: set[bytes]) -> tuple[set[bytes], int]:
    """Flags, and the end of life (0: none was said)."""
    flags, end, rest = set[bytes](), b"", list(words)
    unit = b""
    while rest:
        word = rest.pop(0).upper()
        if word in allowed:
            flags.add(word)
        elif word in _UNITS and rest and not unit and b"KEEPTTL" not in flags and b"PERSIST" not in flags:
            unit, end = word, rest.pop(0)
        else:
            raise SYNTAX
    return flags, end_of(end, name, unit) if unit else 0


@command("SETNX", grows=True)
def setnx(client: Client, key: bytes, value: bytes) -> Reply:
    if client.db.find(key) is not None:
        return 0
    client.db.put(key, value)
    return 1


@command("SETEX", grows=True)
def setex(client: Client, key: bytes, seconds: bytes, value: bytes) -> Reply:
    end = end_of(seconds, b"setex", b"EX")
    client.db.put(key, value)
    client.db.end_at(key, end)
    return OK


@command("PSETEX", grows=True)
def psetex(client: Client, key: bytes, milliseconds: bytes, value: bytes) -> Reply:
    end = end_of(milliseconds, b"psetex", b"PX")
    client.db.put(key, value)
    client.db.end_at(key, end)
    return OK


@command("GETSET", grows=True)
def getset(client: Client, key: bytes, value: bytes) -> Reply:
    before = client.db.of(bytes, key)
    client.db.put(key, value)
    return before


@command("GETDEL")
def getdel(client: Client, key: bytes) -> Reply:
    value = client.db.of(bytes, key)
    client.db.delete(key)
    return value


@command("MGET")
def mget(client: Client, key: bytes, *keys: bytes) -> Reply:
    values = [client.db.find(each) for each in (key, *keys)]
    return [value if isinstance(value, bytes) else None for value in values]


@command("MSET", grows=True)
def mset(client: Client, key: bytes, value: bytes, *more: bytes) -> Reply:
    for name, each in _pairs(b"mset", key, value, *more):
        client.db.put(name, each)
    return OK


@command("MSETNX", grows=True)
def msetnx(client: Client, key: bytes, value: bytes, *more: bytes) -> Reply:
    pairs = _pairs(b"msetnx", key, value, *more)
    if any(client.db.find(name) is not None for name, _ in pairs):
        return 0
    for name, each in pairs:
        client.db.put(name, each)
    return 1


def _pairs(name: bytes, *words: bytes) -> list[tuple[bytes, bytes]]:
    if len(words) % 2:
        raise Failure(b"ERR wrong number of arguments for '%b' command" % name)
    return list(zip(words[::2], words[1::2], strict=True))


@command("APPEND", grows=True)
def append(client: Client, key: bytes, more: bytes) -> Reply:
    value = client.db.of(bytes, key) or b""
    if len(value) + len(more) > LARGEST_BULK:
        raise TOO_LONG
    client.db.put(key, value + more, keep=True)
    return len(value) + len(more)


@command("STRLEN")
def strlen(client: Client, key: bytes) -> Reply:
    return len(client.db.of(bytes, key) or b"")


@command("GETRANGE", "SUBSTR")
def getrange(client: Client, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = integer(start), integer(stop)
    value = client.db.of(bytes, key) or b""
    if first < 0 and last < 0 and first > last:
        return b""
    places = _span(first, last, len(value))
    return value[places.start : places.stop]


def _span(first: int, last: int, length: int) -> range:
    """Unlike in a list, what ends before the first character still has that one."""
    return within(first, max(last + length, 0) if last < 0 else last, length)


@command("SETRANGE", grows=True)
def setrange(client: Client, key: bytes, offset: bytes, more: bytes) -> Reply:
    place = integer(offset)
    if place < 0:
        raise Failure(b"ERR offset is out of range")
    value = client.db.of(bytes, key)
    if not more:
        return len(value or b"")
    _room(client, place + len(more))
    padded = (value or b"").ljust(place, b"\0")
    client.db.put(key, padded[:place] + more + padded[place + len(more) :], keep=True)
    return max(len(padded), place + len(more))


def _room(client: Client, size: int) -> None:
    """A few words can ask for a long string."""
    if size > LARGEST_BULK:
        raise TOO_LONG
    if client.server.settings.maxmemory and size > client.server.settings.maxmemory:
        raise Failure(b"OOM command not allowed when used memory > 'maxmemory'.")
    client.server.keyspace.grow(size)


@command("INCR", grows=True)
def incr(client: Client, key: bytes) -> Reply:
    return _add(client, key, 1)


@command("DECR", grows=True)
def decr(client: Client, key: bytes) -> Reply:
    return _add(client, key, -1)


@command("INCRBY", grows=True)
def incrby(client: Client, key: bytes, amount: bytes) -> Reply:
    return _add(client, key, integer(amount))


@command("DECRBY", grows=True)
def decrby(client: Client, key: bytes, amount: bytes) -> Reply:
    if integer(amount) == numbers.SMALLEST:
        raise Failure(b"ERR decrement would overflow")
    return _add(client, key, -integer(amount))


def _add(client: Client, key: bytes, amount: int) -> int:
    value = integer(client.db.of(bytes, key) or b"0" if client.db.find(key) != b"" else b"") + amount
    if not numbers.SMALLEST <= value <= numbers.LARGEST:
        raise OVERFLOW
    client.db.put(key, b"%d" % value, keep=True)
    return value


@command("INCRBYFLOAT", grows=True)
def incrbyfloat(client: Client, key: bytes, amount: bytes) -> Reply:
    value: bytes | None = client.db.of(bytes, key)
    before = numbers.long_double(b"0" if value is None else value)
    more = numbers.long_double(amount)
    finite = (before is not None, more is not None)
    if all(
        here or numbers.is_infinite(text) for here, text in zip(finite, (value or b"", amount), strict=True)
    ) and not all(finite):
        raise Failure(b"ERR increment would produce NaN or Infinity")
    if before is None or more is None:
        raise NOT_A_FLOAT
    text = numbers.long_double_text(numbers.added(before, more))
    client.db.put(key, text, keep=True)
    return text


@command("SETBIT", grows=True)
def setbit(client: Client, key: bytes, offset: bytes, bit: bytes) -> Reply:
    place = _bit(offset)
    if bit not in (b"0", b"1"):
        raise Failure(b"ERR bit is not an integer or out of range")
    value = client.db.of(bytes, key) or b""
    _room(client, place // 8 + 1)
    bits = bytearray(value.ljust(place // 8 + 1, b"\0"))
    mask = 0x80 >> place % 8
    before = bool(bits[place // 8] & mask)
    bits[place // 8] = bits[place // 8] & ~mask | (mask if bit == b"1" else 0)
    client.db.put(key, bytes(bits), keep=True)
    return int(before)


@command("GETBIT")
def getbit(client: Client, key: bytes, offset: bytes) -> Reply:
    place = _bit(offset)
    value = client.db.of(bytes, key) or b""
    return value[place // 8] >> 7 - place % 8 & 1 if place // 8 < len(value) else 0


@command("BITCOUNT")
def bitcount(
    client: Client, key: bytes, start: bytes | None = None, stop: bytes | None = None, unit: bytes = b"BYTE"
) -> Reply:
    if (start is None) != (stop is None) or unit.upper() not in (b"BYTE", b"BIT"):
        raise SYNTAX
    first, last = (0, -1) if start is None or stop is None else (integer(start), integer(stop))
    value = client.db.of(bytes, key) or b""
    if first < 0 and last < 0 and first > last:
        return 0
    if unit.upper() == b"BIT":
        places = _span(first, last, len(value) * 8)
        return bin(int.from_bytes(value, "big"))[2:].zfill(len(value) * 8)[places.start : places.stop].count("1")
    places = _span(first, last, len(value))
    return int.from_bytes(value[places.start : places.stop], "big").bit_count()


def _bit(offset: bytes) -> int:
    place = numbers.integer(offset)
    if place is None or not 0 <= place < 8 * LARGEST_BULK:
        raise Failure(b"ERR bit offset is not an integer or out of range")
    return place
