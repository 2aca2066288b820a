"""Bytes of one process, cut into whole lines and prefixed.

Rule 1: bytes stay bytes: nothing is decoded, replaced or dropped, whatever comes (NUL, invalid UTF-8, `\\r` bars, blank lines).
Rule 2: only `\\n` ends a line.
Rule 3: work is done per chunk, not per line.
"""

from __future__ import annotations

import re

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes kept while waiting for the end of a line. A longer one is handed on in pieces, each marked with CUT."""
CUT = " … (line goes on)\n".encode()

RESET = b"\x1b[0m"
SGR = re.compile(rb"\x1b\[([0-9;:]*)m")


class Lines:
    """Keeps the unfinished last line between two chunks."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """The whole lines that are complete now, each with its newline; empty when none is."""
        end = chunk.rfind(b"\n") + 1
        if end:
            whole = b"".join((*self._rest, memoryview(chunk)[:end]))
            rest = chunk[end:]
            self._rest, self._size = ([rest] if rest else []), len(rest)
            return whole
        if chunk:
            self._rest.append(chunk)
            self._size += len(chunk)
        return self.take() + CUT if self._size > LONGEST_LINE else b""

    def take(self) -> bytes:
        """The unfinished line, which is forgotten here."""
        rest = b"".join(self._rest)
        self._rest, self._size = [], 0
        return rest

    def show(self) -> bytes:
        """What can be shown of the unfinished line now: all but a character whose last bytes have to come."""
        rest = self.take()
        kept = _begun(rest)
        self.feed(rest[len(rest) - kept :])
        return rest[: len(rest) - kept]

    @property
    def waiting(self) -> int:
        """Size of the unfinished line in bytes."""
        return self._size


def _begun(data: bytes) -> int:
    """How many bytes at the end begin a character of UTF-8, and do not end it."""
    for count, byte in enumerate(reversed(data[-3:]), 1):
        if byte & 0xC0 != 0x80:
            length = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            return count if length > count else 0
    return 0


def prefixed(block: bytes, prefix: bytes) -> tuple[bytes, memoryview]:
    """`prefix` before each line of `block`, which ends with a newline. A colour that a line leaves open is closed at its end.

    In two parts, to be written one after the other: to join them here would be one copy more.
    """
    # One byte is found by memchr: looking for the two that begin a colour takes as long as all the rest.
    if b"\x1b" in block and b"\x1b[" in block:
        # Not splitlines: it would also split at a bare \r, which belongs to progress bars.
        block = b"".join(closed(line + b"\n") for line in block[:-1].split(b"\n"))
    # The last replaced newline has a prefix too many behind it: cutting that off is one copy less than sparing the newline.
    return prefix, memoryview(block.replace(b"\n", b"\n" + prefix))[: -len(prefix) or None]


def closed(line: bytes) -> bytes:
    """The line with a reset before its end if it leaves a colour or another attribute switched on."""
    codes = SGR.findall(line)
    if not codes or not codes[-1].strip(b"0;:"):
        return line
    body = line.rstrip(b"\r\n")
    return body + RESET + line[len(body) :]
