"""All that the server knows, and how a request becomes a reply.

Rule 1: `handle` never raises for what a client sent.
Rule 2: what a command made ready for others is given out after it, never in its middle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from devstack.redisd.blocking import Waiting
from devstack.redisd.client import Client
from devstack.redisd.cursors import Cursors
from devstack.redisd.keyspace import Database, Keyspace
from devstack.redisd.logins import Logins
from devstack.redisd.lua import Scripts
from devstack.redisd.protocol import NOTHING, QUEUED, Failure, Reply
from devstack.redisd.pubsub import Exchange
from devstack.redisd.settings import Settings
from devstack.redisd.table import Command, Unknown, is_family, look_up

_MOST_COMPLAINTS = 50


class Server:
    """`say` writes a line for the person who reads the stream."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings, self.say = settings, say
        self.keyspace = Keyspace(settings.databases)
        self.waiting = Waiting(self.keyspace)
        self.exchange = Exchange()
        self.logins = Logins()
        self.scripts = Scripts(self)
        self.cursors = Cursors()
        self.clients: dict[int, Client] = {}
        self.started = time.time()
        self.saved_at = int(self.started)
        self.commands = self.connections = self.rejected = 0
        self.save: Callable[[], None] = lambda: None
        """Writes the snapshot now."""
        self.stop: Callable[[bool], None] = lambda save: None
        """Ends the server."""
        self._watchers: dict[tuple[int, bytes], dict[Client, None]] = {}
        self._missed: set[bytes] = set()
        self.keyspace.listeners.append(self._changed)
        self.logins.require(settings.password)
        for name, *rules in settings.users:
            self.logins.add(name, *rules)

    def handle(self, client: Client, words: Sequence[bytes]) -> None:
        """One request. Its reply, if there is one now, has been written at the end."""
        self.commands += 1
        reply = self._reply(client, words)
        if reply is not NOTHING:
            client.reply(reply)
        self.waiting.serve()

    def _reply(self, client: Client, words: Sequence[bytes]) -> Reply:
        try:
            command, arguments = look_up(words)
            client.last_command = command.name
            if not client.trusted and not command.open:
                raise Failure(b"NOAUTH Authentication required.")
            if command.grows:
                self._make_room(words)
            if client.version == 2 and client.subscriptions and not command.subscribed:
                raise Failure(
                    b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
                    b" are allowed in this context" % command.name
                )
        except Failure as failure:
            if isinstance(failure, Unknown):
                self._missing(client, words)
            if client.queue is not None:
                client.broken = True
            return failure.with_traceback(None)
        if client.queue is not None and command.queued:
            client.queue.append((command, arguments))
            return QUEUED
        return self.run(client, command, arguments)

    def run(self, client: Client, command: Command, arguments: Sequence[bytes]) -> Reply:
        try:
            reply: Reply = command.run(client, *arguments)
            return reply
        except Failure as failure:
            return failure.with_traceback(None)
        except MemoryError:
            return Failure(b"OOM the embedded server has no memory for that")

    def scripted(self, client: Client, words: Sequence[bytes]) -> Reply:
        """A command that a script calls."""
        try:
            command, arguments = look_up(words)
            if not command.scripted:
                raise Failure(b"ERR This Redis command is not allowed from script")
            if command.grows:
                self._make_room(words)
        except Failure as failure:
            if isinstance(failure, Unknown):
                self._missing(client, words)
                return Failure(b"ERR Unknown Redis command called from script")
            if failure.text.startswith(b"ERR wrong number"):
                return Failure(b"ERR Wrong number of args calling Redis command from script")
            return failure.with_traceback(None)
        return self.run(client, command, arguments)

    def _make_room(self, words: Sequence[bytes]) -> None:
        limit = self.settings.maxmemory
        if limit:
            size = sum(map(len, words))
            if self.keyspace.used(limit) + size > limit:
                raise Failure(b"OOM command not allowed when used memory > 'maxmemory'.")
            self.keyspace.grow(size)

    def _missing(self, client: Client, words: Sequence[bytes]) -> None:
        """Tell the person, once per command, that another server would have it."""
        name = words[0].upper()
        # What lacks only a subcommand is asked for by clients that do without it (CLIENT MAINT_NOTIFICATIONS).
        if is_family(name) or name in self._missed or not name.isalpha() or len(self._missed) >= _MOST_COMPLAINTS:
            return
        self._missed.add(name)
        who = f" (asked by {client.name.decode('utf-8', 'replace')})" if client.name.isascii() and client.name else ""
        self.say(
            f"{name.decode()[:30]} is no command of this embedded server{who}; "
            "if Redis has it, install redis-server, valkey-server or Memurai"
        )

    # WATCH

    def watch(self, client: Client, key: bytes) -> None:
        place = (client.db.number, key)
        if place not in client.watched:
            client.watched[place] = client.db.find(key) is None
            self._watchers.setdefault(place, {})[client] = None

    def unwatch(self, client: Client) -> None:
        for place in client.watched:
            watchers = self._watchers.get(place, {})
            watchers.pop(client, None)
            if not watchers:
                self._watchers.pop(place, None)
        client.watched.clear()
        client.stale = False

    def is_stale(self, client: Client) -> bool:
        """Whether a watched key has changed, or come to its end since."""
        for (number, key), was_absent in client.watched.items():
            if not was_absent:
                self.keyspace.databases[number].find(key)  # drops it when its time is over, which tells the watchers
        return client.stale

    def _changed(self, database: Database, key: bytes) -> None:
        if self._watchers:
            for client in self._watchers.get((database.number, key), ()):
                client.stale = True

    def forget(self, client: Client) -> None:
        """It has gone, or starts over."""
        if client.waiting:
            self.waiting.leave(client.waiting)
        self.exchange.forget(client)
        self.unwatch(client)
