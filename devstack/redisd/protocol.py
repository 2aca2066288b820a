"""The wire format of Redis: requests in, replies out. No I/O here.

Rule 1: a request is a list of bytes; what is none raises Malformed, after which the connection is of no use.
Rule 2: nothing is allocated because a client announced it: only what has come is held.
Rule 3: a reply is a plain value (bytes, int, float, None, list, dict, set) or one of the types below; RESP2 or 3 is decided when it is
written.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from devstack.redisd.numbers import double_text

LONGEST_LINE: Final = 64 * 1024
LARGEST_BULK: Final = 512 * 1024 * 1024
MOST_ARGUMENTS: Final = 1024 * 1024
STRANGER_BULK: Final = 16 * 1024
STRANGER_ARGUMENTS: Final = 10
"""What a client may send before it has given the password, as in Redis."""

HTTP: Final = {b"POST", b"HOST:"}
"""A page in a browser can make it send HTTP to any port; the lines behind the headers would be commands."""
_BULK: Final = re.compile(rb"\$(\d{1,11})\r\n")


class Malformed(Exception):
    """What came is no request."""


class Failure(Exception):
    """An error reply: `Failure(b"ERR syntax error")`. Raised by a command, or inside a list of replies."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


class Status(bytes):
    """A short word without length: +OK."""


class Verbatim(bytes):
    """A text for people; RESP3 says so."""


class Push(list["Reply"]):
    """What comes without having been asked for (pub/sub): RESP3 marks it."""


class Pairs(list[Any]):
    """Members with their scores: in RESP3 a list of pairs, in RESP2 flat."""


class Several(list["Reply"]):
    """Replies one after the other: SUBSCRIBE has one per channel."""


class NullList:
    """The list that is not there (`*-1`): a blocking pop in vain, an EXEC that did not happen."""


class Nothing:
    """No reply now: the command has written by itself, or waits."""


Reply: TypeAlias = (
    "bytes | int | float | list[Reply] | dict[bytes, Reply] | set[bytes] | Pairs | NullList | Nothing | Failure | None"
)

OK: Final = Status(b"OK")
QUEUED: Final = Status(b"QUEUED")
NULL_LIST: Final = NullList()
NOTHING: Final = Nothing()
SYNTAX: Final = Failure(b"ERR syntax error")
WRONG_TYPE: Final = Failure(b"WRONGTYPE Operation against a key holding the wrong kind of value")
NO_KEY: Final = Failure(b"ERR no such key")
OUT_OF_RANGE: Final = Failure(b"ERR value is out of range, must be positive")


class Requests:
    """Bytes in, requests out. `trusted`: the client has logged in, or needs not."""

    def __init__(self, *, trusted: bool) -> None:
        self.trusted = trusted
        self._buffer = bytearray()
        self._at = 0
        self._missing = 0
        self._arguments: list[bytes] = []

    def __len__(self) -> int:
        """Bytes that are held and not yet taken."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def take(self) -> list[bytes] | None:
        """The next whole request; None when more has to come first. Empty lines are skipped."""
        buffer = self._buffer
        while not self._missing:
            if self._at >= len(buffer):
                return None
            if buffer[self._at] != 42:  # "*"
                line = self._line(b"too big inline request", ends=b"\n")
                if line is None:
                    return None
                if words := split(line):
                    if words[0].upper() in HTTP:
                        raise Malformed("this is HTTP, and may come from a page in a browser")
                    return words
                continue
            line = self._line(b"too big mbulk count string")
            if line is None:
                return None
            most = MOST_ARGUMENTS if self.trusted else STRANGER_ARGUMENTS
            count = _length(line)
            if count is None or count > MOST_ARGUMENTS:
                raise Malformed("invalid multibulk length")
            if count > most:
                raise Malformed("unauthenticated multibulk length")
            self._missing = max(count, 0)
        while self._missing:
            header = _BULK.match(buffer, self._at)
            length = int(header[1]) if header else LARGEST_BULK + 1
            if header is None or length > LARGEST_BULK:
                if (line := self._line(b"too big bulk count string")) is None:
                    return None
                if line[:1] != b"$":
                    raise Malformed(f"expected '$', got '{chr(line[0]) if line else chr(13)}'")
                raise Malformed("invalid bulk length")
            if length > STRANGER_BULK and not self.trusted:
                raise Malformed("unauthenticated bulk length")
            start = header.end()
            if len(buffer) < start + length + 2:
                return None
            self._arguments.append(bytes(buffer[start : start + length]))
            self._at = start + length + 2
            self._missing -= 1
        request, self._arguments = self._arguments, []
        return request

    def _line(self, complaint: bytes, ends: bytes = b"\r\n") -> bytes | None:
        end = self._buffer.find(ends, self._at, self._at + LONGEST_LINE)
        if end < 0:
            if len(self._buffer) - self._at >= LONGEST_LINE:
                raise Malformed(complaint.decode())
            return None
        line = bytes(self._buffer[self._at : end])
        self._at = end + len(ends)
        return line


def _length(line: bytes) -> int | None:
    digits = line[1:]
    return int(digits) if digits.removeprefix(b"-").isdigit() and len(digits) < 12 else None


_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split(line: bytes) -> list[bytes]:
    """A line as a person types it: words, "quoted with \\x00 escapes" or 'plainly quoted'. Redis' sdssplitargs."""
    words: list[bytes] = []
    rest = line.strip(b" \t\r\n\0\v\f")
    while rest:
        word = b""
        while rest and not rest[:1].isspace() and rest[:1] != b"\0":
            quote = rest[:1]
            if quote in (b'"', b"'"):
                inside, rest = _quoted(rest[1:], quote)
                word += inside
                if rest and not rest[:1].isspace():
                    raise Malformed("unbalanced quotes in request")
            else:
                word += quote
                rest = rest[1:]
        words.append(word)
        rest = rest.lstrip(b" \t\r\n\0\v\f")
    return words


def _quoted(text: bytes, quote: bytes) -> tuple[bytes, bytes]:
    """What stands before the closing quote, and what follows it."""
    inside, at = bytearray(), 0
    while at < len(text):
        one = text[at : at + 1]
        if one == quote:
            return bytes(inside), text[at + 1 :]
        if one == b"\\" and quote == b"'" and text[at + 1 : at + 2] == b"'":
            inside += b"'"
            at += 2
        elif one == b"\\" and quote == b'"' and at + 1 < len(text):
            digits = text[at + 2 : at + 4]
            if (
                text[at + 1 : at + 2] == b"x"
                and len(digits) == 2
                and all(each in b"0123456789abcdefABCDEF" for each in digits)
            ):
                inside.append(int(digits, 16))
                at += 4
            else:
                escaped = text[at + 1 : at + 2]
                inside += _ESCAPES.get(escaped, escaped)
                at += 2
        else:
            inside += one
            at += 1
    raise Malformed("unbalanced quotes in request")


def encode(reply: Reply, version: int) -> bytes:
    """The reply as RESP2 or RESP3 has it."""
    # Nearly all replies are one of these three.
    if type(reply) is bytes:
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    if type(reply) is Status:
        return b"+%b\r\n" % reply
    if type(reply) is int:
        return b":%d\r\n" % reply
    out: list[bytes] = []
    _write(reply, version, out)
    return b"".join(out)


def _write(reply: Reply, version: int, out: list[bytes]) -> None:
    if isinstance(reply, Status):
        out.append(b"+%b\r\n" % reply)
    elif isinstance(reply, Verbatim) and version == 3:
        out.append(b"=%d\r\ntxt:%b\r\n" % (len(reply) + 4, reply))
    elif isinstance(reply, bytes):
        out.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
    elif isinstance(reply, int):
        out.append(b":%d\r\n" % reply)
    elif isinstance(reply, float):
        text = double_text(reply)
        out.append(b",%b\r\n" % text if version == 3 else b"$%d\r\n%b\r\n" % (len(text), text))
    elif reply is None:
        out.append(b"_\r\n" if version == 3 else b"$-1\r\n")
    elif isinstance(reply, Failure):
        out.append(b"-%b\r\n" % reply.text.replace(b"\r", b" ").replace(b"\n", b" "))
    elif isinstance(reply, Pairs):
        out.append(b"*%d\r\n" % (len(reply) if version == 3 else 2 * len(reply)))
        for pair in reply:
            if version == 3:
                out.append(b"*2\r\n")
            for each in pair:
                _write(each, version, out)
    elif isinstance(reply, Several):
        for each in reply:
            _write(each, version, out)
    elif isinstance(reply, list):
        mark = b">" if isinstance(reply, Push) and version == 3 else b"*"
        out.append(b"%b%d\r\n" % (mark, len(reply)))
        for each in reply:
            _write(each, version, out)
    elif isinstance(reply, set):
        out.append(b"%b%d\r\n" % (b"~" if version == 3 else b"*", len(reply)))
        for member in reply:
            _write(member, version, out)
    elif isinstance(reply, dict):
        out.append(b"%%%d\r\n" % len(reply) if version == 3 else b"*%d\r\n" % (2 * len(reply)))
        for key, value in reply.items():
            _write(key, version, out)
            _write(value, version, out)
    elif isinstance(reply, NullList):
        out.append(b"_\r\n" if version == 3 else b"*-1\r\n")


def request(*words: bytes) -> bytes:
    """A command as a client sends it."""
    return b"*%d\r\n%b" % (len(words), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
