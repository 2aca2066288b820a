"""When a key comes to its end: EXPIRE and its like."""

from __future__ import annotations

from devstack.redisd.arguments import integer
from devstack.redisd.client import Client
from devstack.redisd.keyspace import now
from devstack.redisd.numbers import LARGEST, SMALLEST
from devstack.redisd.protocol import Failure, Reply
from devstack.redisd.table import command


def end_of(text: bytes, name: bytes, unit: bytes) -> int:
    """Milliseconds since 1970, of a time of life that has to be positive. `unit` is EX, PX, EXAT or PXAT."""
    value = integer(text)
    if value <= 0:
        raise _invalid(name)
    return _moment(value, name, unit)


def _moment(value: int, name: bytes, unit: bytes) -> int:
    when = value if unit in (b"PX", b"PXAT") else value * 1000
    if unit in (b"EX", b"PX"):
        when += now()
    if not SMALLEST <= when <= LARGEST or not SMALLEST <= value * (1 if unit[:1] == b"P" else 1000) <= LARGEST:
        raise _invalid(name)
    return when


def _invalid(name: bytes) -> Failure:
    return Failure(b"ERR invalid expire time in '%b' command" % name)


def _end(client: Client, key: bytes, text: bytes, name: bytes, unit: bytes, options: tuple[bytes, ...]) -> Reply:
    flags = {each.upper() for each in options}
    for each in options:
        if each.upper() not in (b"NX", b"XX", b"GT", b"LT"):
            raise Failure(b"ERR Unsupported option %b" % each)
    if b"NX" in flags and len(flags) > 1:
        raise Failure(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if {b"GT", b"LT"} <= flags:
        raise Failure(b"ERR GT and LT options at the same time are not compatible")
    when = _moment(integer(text), name, unit)
    if client.db.find(key) is None:
        return 0
    before = client.db.expires.get(key)
    if (
        (b"NX" in flags and before is not None)
        or (b"XX" in flags and before is None)
        or (b"GT" in flags and (before is None or when <= before))
        or (b"LT" in flags and before is not None and when >= before)
    ):
        return 0
    if when <= now():
        client.db.delete(key)
    else:
        client.db.end_at(key, when)
    return 1


@command("EXPIRE")
def expire(client: Client, key: bytes, seconds: bytes, *options: bytes) -> Reply:
    return _end(client, key, seconds, b"expire", b"EX", options)


@command("PEXPIRE")
def pexpire(client: Client, key: bytes, milliseconds: bytes, *options: bytes) -> Reply:
    return _end(client, key, milliseconds, b"pexpire", b"PX", options)


@command("EXPIREAT")
def expireat(client: Client, key: bytes, moment: bytes, *options: bytes) -> Reply:
    return _end(client, key, moment, b"expireat", b"EXAT", options)


@command("PEXPIREAT")
def pexpireat(client: Client, key: bytes, moment: bytes, *options: bytes) -> Reply:
    return _end(client, key, moment, b"pexpireat", b"PXAT", options)


@command("PERSIST")
def persist(client: Client, key: bytes) -> Reply:
    if client.db.find(key) is None or key not in client.db.expires:
        return 0
    client.db.end_at(key, None)
    return 1


def _left(client: Client, key: bytes, *, absolute: bool) -> int:
    """Milliseconds; -1 for a key without an end, -2 for none."""
    if client.db.find(key) is None:
        return -2
    end = client.db.expires.get(key)
    if end is None:
        return -1
    return end if absolute else max(end - now(), 0)


@command("PTTL")
def pttl(client: Client, key: bytes) -> Reply:
    return _left(client, key, absolute=False)


@command("TTL")
def ttl(client: Client, key: bytes) -> Reply:
    left = _left(client, key, absolute=False)
    return (left + 500) // 1000 if left >= 0 else left


@command("PEXPIRETIME")
def pexpiretime(client: Client, key: bytes) -> Reply:
    return _left(client, key, absolute=True)


@command("EXPIRETIME")
def expiretime(client: Client, key: bytes) -> Reply:
    left = _left(client, key, absolute=True)
    return (left + 500) // 1000 if left >= 0 else left
