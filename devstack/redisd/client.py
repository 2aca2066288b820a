"""One client: what it has said so far, and how to write to it. Without a socket of its own, so that the snapshot can be one, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from devstack.redisd.keyspace import Database, now
from devstack.redisd.protocol import Reply, encode
from devstack.redisd.table import Command

if TYPE_CHECKING:
    from devstack.redisd.blocking import Wait
    from devstack.redisd.server import Server


class Client:
    """`send` writes bytes, `close` ends the connection (after what was sent, or at once), `resume` goes on with the next request."""

    def __init__(
        self,
        server: Server,
        number: int,
        *,
        send: Callable[[bytes], None],
        close: Callable[[bool], None],
        resume: Callable[[], None],
        address: str = "",
        local_address: str = "",
    ) -> None:
        self.server, self.number = server, number
        self._send, self.close, self.resume = send, close, resume
        self.address, self.local_address = address, local_address
        self.since = self.last_seen = now()
        self.last_command = b"NULL"
        self.name = self.library = self.library_version = b""
        self.user = b"default"
        self.start_over()

    def start_over(self) -> None:
        """As after connecting."""
        self.db: Database = self.server.keyspace.databases[0]
        self.version = 2
        self.trusted = not self.server.logins.needed
        self.queue: list[tuple[Command, Sequence[bytes]]] | None = None
        self.broken = False
        """A queued command was wrong: EXEC will refuse."""
        self.watched: dict[tuple[int, bytes], bool] = {}
        """The keys of WATCH, and whether each had come to its end already."""
        self.stale = False
        """A watched key has changed."""
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.waiting: Wait | None = None
        self.may_wait = True
        self.writing_library = False

    @property
    def subscriptions(self) -> int:
        return len(self.channels) + len(self.patterns)

    def reply(self, reply: Reply) -> None:
        self._send(encode(reply, self.version))
