"""A client's socket.

Rule 1: a client that does not read its replies gets no more of them made: its requests wait.
Rule 2: what it is sent without asking (pub/sub) is let go at a limit, and the connection with it.
Rule 3: a client that waits (BLPOP) is still listened to: its going away is seen at once.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from devstack.redisd.client import Client
from devstack.redisd.keyspace import now
from devstack.redisd.protocol import Failure, Malformed, Requests, encode
from devstack.redisd.server import Server

UNREAD: Final = 32 * 2**20
"""Bytes that a client may leave unread before something that it has not asked for comes on top, as in Redis."""
_PENDING: Final = 64 * 2**20
"""Bytes of requests that a client may send while it waits."""


class Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._closing = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        server.connections += 1
        self.client = Client(
            server,
            server.connections,
            send=self._send,
            close=self.close,
            resume=self._resume,
            address=_place(transport.get_extra_info("peername")),
            local_address=_place(transport.get_extra_info("sockname")),
        )
        self._requests = Requests(trusted=self.client.trusted)
        if len(server.clients) >= server.settings.maxclients:
            server.rejected += 1
            self._send(encode(Failure(b"ERR max number of clients reached"), 2))
            self.close(False)
        else:
            server.clients[self.client.number] = self.client

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._server.clients.pop(self.client.number, None)
        self._server.forget(self.client)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._requests.feed(data)
        self.client.last_seen = now()
        self._work()
        if len(self._requests) > _PENDING and self.client.waiting:
            self.close(True)

    def _resume(self) -> None:
        self._loop.call_soon(self._work)

    def _work(self) -> None:
        """Answer what has come, until the client waits or must read first."""
        client, requests = self.client, self._requests
        while not (self._closing or self._full or client.waiting):
            requests.trusted = client.trusted
            try:
                words = requests.take()
            except Malformed as error:
                self._send(encode(Failure(b"ERR Protocol error: %b" % f"{error}".encode()), 2))
                self.close(False)
                return
            if words is None:
                return
            if words:
                self._server.handle(client, words)
            if len(self._out) > 1000:
                self._flush()

    def _send(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        if self._transport.is_closing():
            return
        if self.client.subscriptions and self._transport.get_write_buffer_size() > UNREAD:
            name = self.client.name.decode() or self.client.address
            self._server.say(f"{name} is subscribed and has left {UNREAD >> 20} MB unread: its connection is ended")
            self.close(True)
            return
        self._transport.write(data)
        if self._closing:
            self._transport.close()

    def close(self, at_once: bool) -> None:
        self._closing = True
        if self.client.waiting:
            # Not later: what came between now and the end of the connection would be lost with it.
            self._server.waiting.leave(self.client.waiting)
        if at_once:
            self._transport.abort()
        elif not self._out:
            self._transport.close()

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._transport.resume_reading()
        self._resume()


def _place(name: object) -> str:
    """The address as CLIENT LIST has it; a Unix socket's client has none."""
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{name or ''}:0"
