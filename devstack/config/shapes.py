"""What a value in the settings may look like, and what it becomes.

Rule 1: a Shape reads one TOML value and returns what the rest of devstack works with, or raises ValueError with the reason.
Rule 2: `words` completes the sentence "X must be …".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, cast

from devstack.core import redis_url
from devstack.core.model import ProbeSpec
from devstack.core.record import Record

T = TypeVar("T")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_RELOADS = ("quiesce", "overlap", "replace", "own")
_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL")
_PROBES = ("http", "tcp", "exec", "log", "redis")


class Shape(Record, Generic[T]):
    words: str
    read: Callable[[object], T]


SHORTEST_EVERY = 0.5
"""Seconds: a probe that asks more often floods what it asks."""


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    if "\0" in value:
        raise ValueError("it holds a zero byte")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise ValueError
    return value


def _at_least_one(value: object) -> int:
    if value == 0:
        raise ValueError
    return _count(value)


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise ValueError
    return value


def duration(value: object) -> float:
    """Seconds, from a number or from a text such as "90s", "1.5m", "500ms"."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)?\s*", value)):
        return float(match[1]) * _UNITS[match[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError
    return float(value)


def _size(value: object) -> int:
    """Bytes, from a number or from a text such as "10MB", "512 kB"."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*([kmg]?)b?\s*", value.lower())):
        value = int(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2]]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 50:
        raise ValueError
    return value


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(",")) if part)
    if not isinstance(value, list):
        raise ValueError
    return tuple(_text(each) for each in value)


def _watch(value: object) -> bool | tuple[str, ...]:
    return value if isinstance(value, bool) else _names(value)


def _variables(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    for name, each in value.items():
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise ValueError(f"{name} is neither text nor a number")
        if not name or "=" in name or "\0" in name:
            raise ValueError(f'"{name}" cannot be a variable')
        if "\0" in f"{each}":
            raise ValueError(f"the value of {name} has a NUL, which no variable can")
    return {name: str(each) for name, each in value.items()}


def _signal(value: object) -> str:
    name = _text(value).upper().removeprefix("SIG")
    if name not in _SIGNALS:
        raise ValueError
    return name


def _reload(value: object) -> str:
    if value not in _RELOADS:
        raise ValueError
    return str(value)


def _probe(value: object) -> ProbeSpec:
    """`"none"`, or a table that holds exactly one of _PROBES and the options of that probe.

    A port that is missing is None in the options of http and tcp: the port of the instance belongs there.
    """
    if value == "none":
        return ProbeSpec("none")
    if not isinstance(value, dict):
        raise ValueError
    hows = [how for how in _PROBES if how in value]
    if len(hows) != 1:
        raise ValueError(f"exactly one of {', '.join(_PROBES)} must be in it")
    how = hows[0]
    every = duration(value["every"]) if "every" in value else None
    if every is not None and every < SHORTEST_EVERY:
        raise ValueError(f"every is at least {SHORTEST_EVERY:g} seconds")
    rest = {key: each for key, each in value.items() if key not in (how, "every")}
    options = {"http": _http, "tcp": _tcp, "exec": _exec, "log": _log, "redis": _redis}[how](value[how], rest)
    if rest:
        raise ValueError(f'"{next(iter(rest))}" does not belong to {how}')
    return ProbeSpec(how, options, every)


def _http(asked: object, rest: dict[str, object]) -> dict[str, object]:
    from urllib.parse import urlsplit

    host, port, path = "127.0.0.1", None, "/"
    if isinstance(asked, int) and not isinstance(asked, bool):
        port = _port(asked)
    elif isinstance(asked, str) and asked.startswith("http://"):
        parts = urlsplit(asked)
        host, port = parts.hostname or host, parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    elif isinstance(asked, str) and asked.startswith("/"):
        path = asked
    elif asked is not True:
        raise ValueError('http is a path ("/health/"), a port, true, or a whole address that begins with http://')
    options: dict[str, object] = {"host": host, "port": port, "path": path}
    if "port" in rest:
        options["port"] = _inner("port", rest, _port, "a port")
    if "host" in rest:
        options["host"] = _inner("host", rest, _text, "a host name")
    if "path" in rest:
        options["path"] = _inner("path", rest, _text, "a path")
    if "status" in rest:
        options["status"] = _inner("status", rest, _count, "a status such as 200")
    return options


def _tcp(asked: object, rest: dict[str, object]) -> dict[str, object]:
    if asked is True:
        return {"host": "127.0.0.1", "port": None}
    if isinstance(asked, str):
        if "/" in asked:
            return {"path": asked}
        host, _, number = asked.rpartition(":")
        if number.isdigit() and 0 < int(number) < 65536:
            return {"host": host.strip("[]") or "127.0.0.1", "port": int(number)}
    elif isinstance(asked, int) and not isinstance(asked, bool) and 0 < asked < 65536:
        return {"host": "127.0.0.1", "port": asked}
    raise ValueError('tcp is a port, "host:port", the path of a socket, or true')


def _exec(asked: object, rest: dict[str, object]) -> dict[str, object]:
    words = isinstance(asked, list) and asked and all(isinstance(each, str) for each in asked)
    if not words and not (isinstance(asked, str) and asked.strip()):
        raise ValueError("exec is a command, as a text or as a list of words")
    return {"command": asked}


def _log(asked: object, rest: dict[str, object]) -> dict[str, object]:
    if not isinstance(asked, str) or not asked:
        raise ValueError("log is a regular expression")
    try:
        re.compile(asked)
    except re.error as error:
        raise ValueError(f'log: "{asked}" is not a regular expression: {error}') from None
    return {"pattern": asked}


def _redis(asked: object, rest: dict[str, object]) -> dict[str, object]:
    if not isinstance(asked, str) or not redis_url.is_redis(asked):
        raise ValueError("redis is an address such as redis://127.0.0.1:6379/0")
    redis_url.parse(asked)
    return {"url": asked}


def _inner(key: str, table: dict[str, object], read: Callable[[object], object], words: str) -> object:
    value = table.pop(key)
    try:
        return read(value)
    except ValueError:
        raise ValueError(f"{key} is not {words}") from None


def _image(value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    # What docker takes; a dash in front would be an option.
    if not isinstance(value, str) or not re.fullmatch(r"[\w./][\w./:@-]*", value, re.ASCII):
        raise ValueError
    return value


TEXT = Shape("a text", _text)
FLAG = Shape("true or false", _flag)
COUNT = Shape("a whole number from 0 to 1000", _count)
NUMBER = Shape("a whole number from 1 to 1000", _at_least_one)
PORT = Shape("a port number", _port)
DURATION = Shape('seconds, or a text such as "90s" or "2m"', duration)
SIZE = Shape('bytes, or a text such as "500kB" or "10MB"', _size)
NAMES = Shape("a list of texts", _names)
WATCH = Shape("true, false or a list of directories, files and patterns", cast("Callable[[object], object]", _watch))
IMAGE = Shape("true, false or the name of an image", cast("Callable[[object], object]", _image))
RELOAD = Shape(f"one of {', '.join(_RELOADS)}", _reload)
VARIABLES = Shape("a table of variables", _variables)
SIGNAL = Shape(f"one of {', '.join(_SIGNALS)}", _signal)
PROBE = Shape('"none" or a table such as { http = "/health/" }', _probe)
