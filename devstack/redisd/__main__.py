"""`python -m devstack.redisd [-] [--port 6379] [--dir .] [--save ""] …`: the embedded server as a program. "-" reads settings from stdin.

Rule 1: Ctrl-C and SIGTERM end it politely, and what was to be kept is on disk then.
Rule 2: a minute in which something changed ends with a snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from devstack.redisd import (  # noqa: F401  (those with commands enter them into the table)
    administration,
    connections,
    expiry,
    hashes,
    keys,
    lists,
    lua,
    pubsub,
    ranges,
    sets,
    settings,
    snapshot,
    sorted_sets,
    strings,
    transactions,
    unions,
)
from devstack.redisd.server import Server
from devstack.redisd.settings import BadSetting, Settings
from devstack.redisd.wire import Connection

_SWEEP_EVERY: Final = 1.0
_BACKLOG: Final = 511


_USAGE: Final = """\
usage: python -m devstack.redisd [-] [--NAME VALUE ...]

The embedded server, for development only; devstack starts it where there is no Redis. "-" reads the settings from
standard input, a line each, as redis-server does. Only this machine can reach it.

  --port 6379           the port; 0 takes a free one
  --bind 127.0.0.1      or ::1
  --unixsocket PATH     listen there instead of on a port
  --dir .               where the data is kept
  --dbfilename NAME     the file in it
  --save SECONDS        how often the data is written, at most a minute; --save "" keeps none
  --requirepass WORD    the password of the default user
  --user NAME RULE ...  one more user: on, >PASSWORD or #SHA256, ~*, &* and +@all (everybody may do everything)
  --maxmemory 1gb       what needs more memory than that is refused; 0 for no limit
  --maxclients 1000     --databases 16     --busy-reply-threshold 5000 (milliseconds a script may take)

In the settings from standard input, what only Redis has is passed over."""


def main() -> int:
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        say(_USAGE)
        return 0
    try:
        chosen = settings.read(words, sys.stdin.buffer.read() if words[:1] == ["-"] else b"")
        return asyncio.run(_serve(chosen))
    except BadSetting as error:
        say(f"error: {error}")
    except OSError as error:
        say(f"error: {error.strerror or error}")
    return 1


def say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


async def _serve(chosen: Settings) -> int:
    """Until somebody stops it."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(_explain)
    server = Server(chosen, say)
    path = Path(chosen.dir) / chosen.file
    snapshots = _Snapshots(server, path)

    def stop(save: bool) -> None:
        snapshots.wanted = snapshots.wanted and save
        stopped.set()

    server.save, server.stop = snapshots.now, stop
    # Before anything can be lost: a second server on this port must not touch the first one's file.
    listening = listen(chosen)
    snapshot.load(server, path, say)
    _on_signals(lambda: loop.call_soon_threadsafe(stopped.set))
    if isinstance(listening, str):
        listener = await loop.create_unix_server(lambda: Connection(server), listening, backlog=_BACKLOG)
        os.chmod(listening, 0o700)
    else:
        listener = await loop.create_server(lambda: Connection(server), sock=listening, backlog=_BACKLOG)
        chosen.port = listening.getsockname()[1]
    place = chosen.unixsocket or f"{chosen.bind}:{chosen.port}"
    say(f"embedded Redis, for development only: ready on {place} (pid {os.getpid()})")
    chores = [asyncio.create_task(_sweep(server)), asyncio.create_task(snapshots.forever())]
    try:
        await stopped.wait()
    finally:
        for chore in chores:
            chore.cancel()
        listener.close()
        for client in list(server.clients.values()):
            client.close(True)
        if isinstance(listening, str):
            with contextlib.suppress(OSError):
                os.unlink(listening)
    return snapshots.last()


def listen(chosen: Settings) -> socket.socket | str:
    """A socket at the port, or the path of the Unix socket to make. OSError when another program has it."""
    if chosen.unixsocket:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise BadSetting("unixsocket: Python has no socket files on this system")
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.connect(chosen.unixsocket)
            raise BadSetting(f"another server listens at {chosen.unixsocket}")
        return chosen.unixsocket
    # asyncio turns Nagle's algorithm off (which costs 40 ms per reply) only where the protocol is given.
    made = socket.socket(
        socket.AF_INET6 if ":" in chosen.bind else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    try:
        # On Windows SO_REUSEADDR would share the port with whoever has it; there is an option against that, and only there.
        exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)
        made.bind((chosen.bind, chosen.port))
    except OSError as error:
        made.close()
        raise BadSetting(f"cannot listen on {chosen.bind}:{chosen.port}: {error.strerror or error}") from None
    return made


def _on_signals(stop: Callable[[], object]) -> None:
    def told(number: int, frame: FrameType | None) -> None:
        stop()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, told)
    if number := getattr(signal, "SIGHUP", None):
        signal.signal(number, signal.SIG_IGN)  # as Redis has it


async def _sweep(server: Server) -> None:
    while True:
        await asyncio.sleep(_SWEEP_EVERY)
        server.keyspace.sweep()


class _Snapshots:
    """When the data goes to disk. `wanted` is whether its end is a snapshot, too."""

    def __init__(self, server: Server, path: Path) -> None:
        self._server, self._path = server, path
        self._written = 0
        self._file = threading.Lock()
        self.wanted = True

    def now(self) -> None:
        """OSError when it cannot be written."""
        self._write(snapshot.text_of(self._server))
        self._written = self._server.keyspace.changes

    def _write(self, text: bytes) -> None:
        """In whatever thread; the newer text comes later to the lock."""
        with self._file:
            snapshot.write(self._path, text)
        self._server.saved_at = int(time.time())

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(self._server.settings.save or 1.0)
            if self._is_due():
                changes, text = self._server.keyspace.changes, snapshot.text_of(self._server)
                try:
                    # The disk may be slow, and nobody should wait for it.
                    await asyncio.to_thread(self._write, text)
                    self._written = changes
                except OSError as error:
                    say(f"the snapshot cannot be written: {error.strerror or error}")

    def last(self) -> int:
        """The exit code."""
        try:
            if self.wanted and self._is_due():
                self.now()
                say("the data is saved")
        except OSError as error:
            say(f"error: the data cannot be saved: {error.strerror or error}")
            return 1
        return 0

    def _is_due(self) -> bool:
        return self._server.settings.save > 0 and self._server.keyspace.changes != self._written


def _explain(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """What asyncio would print as a traceback. A connection that breaks is nobody's fault."""
    error = context.get("exception")
    if not isinstance(error, ConnectionError):
        say(f"error: {context.get('message')}: {error!r}")


if __name__ == "__main__":
    sys.exit(main())
