"""The server inside `devstack up`: who may ask, and what becomes of those who ask badly.

Rule 1: a Unix socket that only its owner may use, or loopback with a token in a file that only its owner may read. Never another address.
Rule 2: nothing that a client does, or leaves undone, disturbs the stack or another client: one request each, a limited line, limited time
to write it, a limited queue to read from.
Rule 3: a socket that is there already is asked. Who was killed does not answer, and it is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from devstack.control import client
from devstack.control.messages import ADDRESS, FULL_PATH, LONGEST, SOCKET, Malformed, encode, parsed, request
from devstack.core.secrets import mask
from devstack.errors import FAILED, USAGE, DevstackError
from devstack.host import files

MOST_CLIENTS = 200
ASKED_WITHIN = 5.0
"""Seconds that a client gets to write its line."""
QUEUE = 256 * 1024
"""Bytes that may wait for a client to read them."""
FAREWELL, LATE_FAREWELL = 1.0, 30.0
"""Seconds that a client which was refused gets to read why; the same for one that has more to read."""


class TooSlow(Exception):
    """The client did not read, and has been dropped."""


class Server:
    """`answer(request, connection)` gives the exit code of the client; it is cancelled when the client goes.

    `ours(socket)` says whether the other end of a Unix socket belongs to our user.
    """

    def __init__(
        self,
        directory: Path,
        answer: Callable[[dict[str, object], Connection], Awaitable[int]],
        ours: Callable[[socket.socket], bool],
        *,
        tcp: bool = False,
    ) -> None:
        self.directory = directory
        self.answer = answer
        self.ours = ours
        self.token = ""
        self.connections: set[Connection] = set()
        self._family: int | None = getattr(socket, "AF_UNIX", None)
        self._tcp = tcp or self._family is None or len(os.fsencode(directory / SOCKET)) > FULL_PATH
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen from now on. OSError when that is not possible."""
        loop = asyncio.get_running_loop()
        for name in (SOCKET, ADDRESS):
            await self._replace(self.directory / name)
        if self._tcp or self._family is None:
            self.token = secrets.token_hex(32)
            self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0)
            self._tell_address(self._server.sockets[0].getsockname()[1])
            return
        path, line = str(self.directory / SOCKET), socket.socket(self._family, socket.SOCK_STREAM)
        try:
            line.bind(path)
            os.chmod(path, 0o600)  # nobody can connect before we listen
            self._server = await loop.create_unix_server(lambda: Connection(self), sock=line)
        except BaseException:
            line.close()
            raise

    async def close(self) -> None:
        """Nobody is let in any more. Those who wait for the end are told by the end itself."""
        if self._server:
            self._server.close()
            for name in (SOCKET, ADDRESS):
                (self.directory / name).unlink(missing_ok=True)
        for connection in [*self.connections]:
            connection.over()
        await asyncio.sleep(0)

    async def _replace(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        with contextlib.suppress(client.NotRunning, client.Lost, client.Refused, TimeoutError, OSError):
            await asyncio.to_thread(client.one, str(self.directory), "hello")
            raise DevstackError("another devstack answers here", why=f"somebody listens at {path}")
        path.unlink(missing_ok=True)

    def _tell_address(self, port: int) -> None:
        path = self.directory / ADDRESS
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{port} {self.token}\n")
        files.replace(new, path)  # nobody reads half of it


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._line = b""
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._refused = False
        self.stays = False
        """The connection is closed by the end of the process alone, which is what the client waits for."""
        self.hears: Callable[[dict[str, object]], None] | None = None
        """Called with what the client says after its request, an object on each line; without it nobody listens to that."""

    # ---- for those who answer

    def send(self, message: dict[str, object]) -> None:
        """Raises TooSlow when the client does not keep up."""
        if self._transport is None or self._transport.is_closing():
            raise TooSlow
        if self._transport.get_write_buffer_size() > QUEUE:
            why = f"{QUEUE // 1024} KiB wait for it to read"
            self._refuse("this client is too slow and was dropped", why, FAILED)
            raise TooSlow
        self._transport.write(encode(message))

    @property
    def reads(self) -> bool:
        """Whether it has read all that was sent."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(ASKED_WITHIN, self._refuse, "nothing was asked", f"for {ASKED_WITHIN:.0f} s")
        if len(self._server.connections) > MOST_CLIENTS:
            self._refuse("too many clients", f"{MOST_CLIENTS} at most are served at a time")
        elif not self._may_ask(transport.get_extra_info("socket")):
            self._refuse("this stack is somebody else's", "only the user who started it may drive it")

    def data_received(self, data: bytes) -> None:
        if self._refused or (self._task and not self.hears):
            return  # it has had its say
        *lines, self._line = (self._line + data).split(b"\n")
        if any(len(line) > LONGEST for line in (*lines, self._line)):
            self._refuse("the request is too long", f"a line has {LONGEST // 1024} KiB at most")
            return
        for line in lines:
            if not self._task:
                self._begin(line)
            elif self.hears and not self._refused:
                self._hear(line, self.hears)

    def eof_received(self) -> bool:
        return False  # a client that goes without reading wants nothing

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None
        if self._deadline:
            self._deadline.cancel()
        if self._task:
            self._task.cancel()

    def over(self) -> None:
        """The stack has ended."""
        if self._task and not self.stays:
            self._task.cancel()

    # ---- the rest

    def _may_ask(self, line: socket.socket) -> bool:
        return line.family == socket.AF_INET or self._server.ours(line)  # there the token says who it is

    def _hear(self, line: bytes, hears: Callable[[dict[str, object]], None]) -> None:
        try:
            hears(parsed(line))
        except Malformed as error:
            self._refuse("this is not a message", str(error))

    def _begin(self, line: bytes) -> None:
        try:
            message = request(line)
        except Malformed as error:
            self._refuse("this is not a request", str(error))
            return
        token = message.pop("token", None)
        if self._server.token and not (
            isinstance(token, str)
            and hmac.compare_digest(token.encode("utf-8", "replace"), self._server.token.encode())
        ):
            self._refuse("the token is wrong", f"the right one is in {ADDRESS} in the runtime directory")
            return
        if self._deadline:
            self._deadline.cancel()
        self._task = asyncio.get_running_loop().create_task(self._answer(message))

    async def _answer(self, message: dict[str, object]) -> None:
        try:
            code = await self._server.answer(message, self)
            self.send({"end": code})
        except TooSlow:
            return
        except DevstackError as error:
            self._refuse(error.what, error.why, error.code, error.fix)
        except asyncio.CancelledError:
            if self._transport and not self.stays:
                self._refuse("the stack has ended", "", FAILED)
            raise
        except Exception as error:
            # The stack is worth more than this answer.
            self._refuse("devstack failed in a way it should not", f"{type(error).__name__}: {error}", FAILED)
        if self._transport and not self.stays and not self._refused:
            self._transport.close()

    def _refuse(self, what: str, why: str, code: int = USAGE, fix: str = "") -> None:
        self._refused = True
        if self._deadline:
            self._deadline.cancel()
        if self._transport and not self._transport.is_closing():
            error = {"what": mask(what), "why": mask(why), "fix": mask(fix)}
            self._transport.write(encode({"end": code, "error": error}))
            # Closed at once, with words of its own unread, the client would see a reset in place of this.
            late = bool(self._transport.get_write_buffer_size())
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(LATE_FAREWELL if late else FAREWELL, self._transport.abort)
