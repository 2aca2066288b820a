"""What the server was told: `--name value` words and, for what nobody else is to see, lines on stdin (`-`), as with redis-server.

Rule 1: only loopback is listened on, whatever a configuration says.
Rule 2: in the lines a setting that is not ours is passed over, for one configuration serves all servers; on the command line it is a
mistake.
Rule 3: what cannot be kept is refused: there are no rights but all of them.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from devstack.redisd.protocol import Malformed, split

EVERYTHING = {b"on", b"nopass", b"~*", b"allkeys", b"&*", b"allchannels", b"+@all", b"allcommands"}
"""The rules of a user which say that he may do everything."""
_UNITS = {b"k": 1000, b"kb": 1024, b"m": 10**6, b"mb": 2**20, b"g": 10**9, b"gb": 2**30, b"b": 1, b"": 1}


class BadSetting(Exception):
    """A sentence about a setting that cannot be followed."""


@dataclass
class Settings:
    port: int = 6379
    bind: str = "127.0.0.1"
    unixsocket: str = ""
    dir: str = "."
    file: str = "dump.resp"
    save: int = 60
    """The data outlives the server: a snapshot after so many seconds in which something changed, and at the end. 0: it does not."""
    databases: int = 16
    maxclients: int = 1000
    maxmemory: int = 2**30
    script_ms: int = 5000
    """After so long a script is ended."""
    password: bytes = b""
    users: list[list[bytes]] = field(default_factory=list)


def read(words: Sequence[str], stdin: bytes) -> Settings:
    """Settings from the command line, which wins, and from the lines of stdin when the first word is "-". BadSetting says what is wrong."""
    settings = Settings()
    lines: list[list[bytes]] = []
    if words[:1] == ["-"]:
        words = words[1:]
        for written in stdin.splitlines():
            if written.strip() and not written.lstrip().startswith(b"#"):
                try:
                    lines += filter(None, [split(written)])  # a NUL ends a line, also an empty one
                except Malformed:
                    raise BadSetting(
                        f"a line of the configuration has unbalanced quotes: {written.split()[0].decode('utf-8', 'replace')}"
                    ) from None
    foreign = len(lines)  # written for a Redis, which has more settings than we
    for word in words:
        if word.startswith("--"):
            name, mark, value = word[2:].partition("=")
            lines.append([name.encode(), *([value.encode()] if mark else [])])
        elif lines:
            lines[-1].append(word.encode())
        else:
            raise BadSetting(f"{word} is no option; write --port 6379")
    for number, (option, *values) in enumerate(lines):
        name = option.lower().decode("utf-8", "replace")
        if not _set(settings, name, values) and number >= foreign:
            raise BadSetting(f"the embedded server has no --{name}; --help shows what it has")
    return settings


def _set(settings: Settings, name: str, values: list[bytes]) -> bool:
    """Whether there is such a setting."""
    value = values[0] if values else b""
    text = value.decode("utf-8", "surrogateescape")
    if name == "port":
        settings.port = _number(name, value, 0, 65535)
    elif name == "databases":
        settings.databases = _number(name, value, 1, 10_000)
    elif name == "maxclients":
        settings.maxclients = _number(name, value, 1, 100_000)
    elif name in ("lua-time-limit", "busy-reply-threshold"):
        settings.script_ms = _number(name, value, 1, 3_600_000)
    elif name == "maxmemory":
        settings.maxmemory = memory(value)
    elif name == "bind":
        settings.bind = _loopback(text)
    elif name == "unixsocket":
        settings.unixsocket = text
    elif name == "dir":
        if not os.path.isdir(text):
            raise BadSetting(f"dir: there is no directory {text}")
        settings.dir = text
    elif name == "dbfilename":
        # What we write is no RDB, and must not be taken for one.
        settings.file = f"{text.removesuffix('.rdb')}.resp"
    elif name == "save":
        settings.save = save_every(value)
    elif name == "requirepass":
        settings.password = value
    elif name == "user":
        settings.users.append(_user(values))
    else:
        return False
    return True


def _user(words: list[bytes]) -> list[bytes]:
    if not words:
        raise BadSetting("user: nobody is named; write --user ann on '>password' '~*' '&*' +@all")
    for rule in words[1:]:
        if rule not in EVERYTHING and rule[:1] not in (b"#", b">"):
            raise BadSetting(
                f"user {text(words[0])}: {text(rule)} cannot be kept: who may log in to the embedded server may do everything; "
                "write on, >PASSWORD or #HASH, ~*, &* and +@all"
            )
    return words


def text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


def save_every(value: bytes) -> int:
    """`save 300 1`: seconds, of which never more than a minute is lost here. 0 for `save ""`."""
    seconds = value.split()[:1]
    return min(60, _number("save", seconds[0], 1, 10**8)) if seconds else 0


def memory(value: bytes) -> int:
    """Bytes: 100mb. 0 is no limit."""
    digits = value.rstrip(b"bBkKmMgG")
    unit = value[len(digits) :].lower()
    if not digits.isdigit() or unit not in _UNITS:
        raise BadSetting(f"maxmemory: {value.decode('utf-8', 'replace')} is no number of bytes; write 500mb")
    return int(digits) * _UNITS[unit]


def _number(name: str, value: bytes, least: int, most: int) -> int:
    if not value.isdigit() or len(value) > 9 or not least <= int(value) <= most:
        raise BadSetting(f"{name}: {value.decode('utf-8', 'replace')!r} is no number from {least} to {most}")
    return int(value)


def _loopback(address: str) -> str:
    host = "127.0.0.1" if address == "localhost" else address
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise BadSetting(f"bind: {address} is not this machine alone; the embedded server listens on 127.0.0.1 or ::1")
