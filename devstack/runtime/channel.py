"""Our end of a child's private channel: messages come in, orders go out.

Rule 1: a message is one JSON object a line, an order one line of words; descriptors come and go beside the last line of a chunk.
Rule 2: lines that are no message come from a stray writer and are ignored; descriptors that nobody takes are closed.
Rule 3: an order never waits. What the child does not read is kept, and dropped with the channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence

from devstack.host import Host

LONGEST_MESSAGE = 1024 * 1024

Hear = Callable[[dict[str, object], list[int]], None]
"""Takes a message and the descriptors that came with it, which are the hearer's from then on."""


class Messages:
    """Lines put together from what arrives, as messages to `hear`."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._rest = b""

    def feed(self, data: bytes, descriptors: list[int]) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest if len(rest) <= LONGEST_MESSAGE else b""
        for line in whole[:-1]:
            self._take(line, [])
        if whole:
            self._take(whole[-1], descriptors)
        else:
            _close(descriptors)

    def _take(self, line: bytes, descriptors: list[int]) -> None:
        import json

        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(line)
            if isinstance(message, dict):
                self._hear(message, descriptors)
                return
        _close(descriptors)


class Channel:
    """Owns `line`, one end of a socket pair. `hear(message, descriptors)` is called in the loop."""

    def __init__(self, host: Host, line: socket.socket, hear: Hear) -> None:
        line.setblocking(False)
        self._host = host
        self._line = line
        self._messages = Messages(hear)
        self._waiting: list[tuple[bytes, list[int]]] = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(line, self._read)

    def order(self, words: str, descriptors: Sequence[int] = ()) -> None:
        """Send one order; the descriptors are copied, and stay the caller's."""
        if self._line.fileno() < 0:
            return
        self._waiting.append((words.encode() + b"\n", [os.dup(each) for each in descriptors]))
        self._write()

    def close(self) -> None:
        if self._line.fileno() < 0:
            return
        self._loop.remove_reader(self._line)
        self._loop.remove_writer(self._line)
        self._line.close()
        for _, descriptors in self._waiting:
            _close(descriptors)
        self._waiting.clear()

    def _write(self) -> None:
        try:
            while self._waiting:
                data, descriptors = self._waiting[0]
                sent = self._host.send(self._line, data, descriptors)
                _close(descriptors)
                if sent < len(data):
                    self._waiting[0] = data[sent:], []
                else:
                    del self._waiting[0]
        except BlockingIOError:
            self._loop.add_writer(self._line, self._write)
        except OSError:
            self.close()  # the child is gone, or has closed its end
        else:
            self._loop.remove_writer(self._line)

    def _read(self) -> None:
        try:
            data, descriptors = self._host.receive(self._line)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self.close()
            return
        self._messages.feed(data, descriptors)


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)
