"""A child's private channel where descriptors cannot be passed on: it calls us on 127.0.0.1, and shows a token that only it was given.

What is said is the same as on a `Channel`, but for descriptors.

Rule 1: one caller alone, the first with the token; then nobody else can call.
Rule 2: a caller who does not show it at once is nobody's child, and is put off; so are more of them than could be meant.
Rule 3: an order never waits. What was ordered before the child called is sent when it does.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Sequence
from typing import cast

from devstack.runtime.channel import Hear, Messages

TOKEN_WITHIN = 5.0
MOST_CALLERS = 16


class Loopback:
    def __init__(self, hear: Hear) -> None:
        self.address = ""
        """For DEVSTACK_CHANNEL."""
        self._token = secrets.token_hex(16).encode()
        self._messages = Messages(hear)
        self._server: asyncio.Server | None = None
        self._callers: set[Caller] = set()
        self._line: asyncio.Transport | None = None
        self._early: list[bytes] = []

    @staticmethod
    async def open(hear: Hear) -> Loopback:
        self = Loopback(hear)
        self._server = await asyncio.get_running_loop().create_server(lambda: Caller(self), "127.0.0.1", 0)
        self.address = f"tcp:{self._server.sockets[0].getsockname()[1]}:{self._token.decode()}"
        return self

    def order(self, words: str, descriptors: Sequence[int] = ()) -> None:
        """Send one order, alone."""
        data = words.encode() + b"\n"
        if self._line:
            self._line.write(data)
        elif self._server:
            self._early.append(data)

    def close(self) -> None:
        self._hang_up()
        self._early.clear()
        if self._line:
            self._line.abort()
            self._line = None

    def _hang_up(self) -> None:
        """Nobody can call any more."""
        if self._server:
            self._server.close()
            self._server = None
        for caller in list(self._callers):
            caller.transport.abort()

    # ---- for the callers

    def called(self, caller: Caller) -> bool:
        """Whether it may show a token."""
        if self._line or len(self._callers) >= MOST_CALLERS:
            return False
        self._callers.add(caller)
        return True

    def shown(self, caller: Caller, token: bytes) -> bool:
        """Whether it is the child."""
        if not hmac.compare_digest(token, self._token):
            return False
        self._callers.discard(caller)
        self._line = caller.transport
        self._hang_up()
        self._line.writelines(self._early)
        self._early.clear()
        return True

    def heard(self, data: bytes) -> None:
        self._messages.feed(data, [])

    def left(self, caller: Caller) -> None:
        self._callers.discard(caller)
        if self._line is caller.transport:
            self._line = None


class Caller(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, of: Loopback) -> None:
        self._of = of
        self._shown: bytes | None = b""
        """What it has shown so far; None once it is the child."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(TOKEN_WITHIN, self.transport.abort)
        if not self._of.called(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._shown is None:
            self._of.heard(data)
            return
        self._shown += data
        token, newline, rest = self._shown.partition(b"\n")
        if not newline and len(self._shown) < 64:
            return
        if not self._of.shown(self, token):
            self.transport.abort()
            return
        self._timer.cancel()
        self._shown = None
        if rest:
            self._of.heard(rest)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._of.left(self)
