"""One run of one process: spawn it or have it forked, read its bytes, hear its channel, know when the whole tree is gone.

Rule 1: it is gone when its tree is gone and its output is read to the end (or for so long as a pipe held by a stranger deserves).
Rule 2: `exited` is called exactly once, however it ends.
Rule 3: the polite signal is sent once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from devstack.core.health import Subject
from devstack.host import Host, Terminal, Tree
from devstack.host.guard import Guard
from devstack.probes.log import PRINTED, Search
from devstack.runtime.channel import Channel
from devstack.runtime.output import Source

if TYPE_CHECKING:
    from devstack.runtime.loopback import Loopback

TAIL = 16 * 1024
"""Bytes of the last output that are kept for error reports and the log probe."""
FULL = 64 * 1024
"""Bytes that a pipe holds."""
LEFTOVER_GRACE = 2.0
"""Seconds that a crashed process's children get between TERM and KILL."""
EOF_WITHIN = 0.5
"""Seconds to wait for the end of the output once the tree is gone: a daemon that left the tree may hold the pipe for ever."""
FORKED_WITHIN = 2.0
"""Seconds until a fork of a spare must have said hello."""
SAID_WITHIN = 0.1
"""Seconds until what it said is heard."""


class Child(asyncio.SubprocessProtocol):
    """A spawned process. `exited(code)` reports the end; `told()` a message on the channel, which is then in `subject.beacon`.

    Without a `source` its output is kept for error reports alone.
    """

    def __init__(
        self,
        host: Host,
        subject: Subject,
        source: Source | None,
        exited: Callable[[int], None],
        told: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        guard: Guard | None = None,
        search: Search | None = None,
    ) -> None:
        self.subject = subject
        subject.tail = lambda: self._tail
        subject.pids = self.pids
        self._host = host
        self._source = source
        self._exited = exited
        self._told = told
        self._spawn = spawn
        self._guard = guard
        self._search = search
        self._tail = b""
        self._tree: Tree | None = None
        self._process: asyncio.SubprocessTransport | None = None
        """None for one that a spare has forked: the spare waits for it."""
        self._pipe: asyncio.ReadTransport | None = None
        self._channel: Channel | Loopback | None = None
        self._code: int | None = None
        self.terminal: Terminal | None = None
        self._hello = asyncio.Event()
        self.listeners: list[int] = []
        """Copies of the sockets at which it listens."""
        self._eof = asyncio.Event()
        self._flooded = False
        """Whether it has filled its pipe once."""
        self._asked = False
        """Whether the polite signal has been sent."""
        self._group_knows = False
        """Whether the whole group has been told to leave, or killed."""
        self.left_others = False
        """Whether it has ended by itself, and others of its group had not."""
        self._ended = False
        """Whether the main process is gone."""
        self._end = asyncio.Event()

    async def start(self, extra: Mapping[str, str] | None = None, descriptors: Sequence[int] = ()) -> int:
        """Spawn it, with `extra` environment and open `descriptors`; the pid. OSError when that is not possible."""
        loop = asyncio.get_running_loop()
        launch = self.subject.launch
        words = self._host.argv(launch.argv, launch.shell, launch.env, launch.cwd)
        ours = theirs = None
        env = {**launch.env, **(extra or {})}
        if launch.channel and self._host.shares_descriptors:
            ours, theirs = socket.socketpair()
            env["DEVSTACK_CHANNEL"] = f"fd:{theirs.fileno()}"
        elif launch.channel:
            from devstack.runtime.loopback import Loopback

            self._channel = await Loopback.open(self._hear)
            env["DEVSTACK_CHANNEL"] = self._channel.address
        options = self._host.spawn_options()
        options["pass_fds"] = (*descriptors, *([theirs.fileno()] if theirs else []))
        if launch.tty:
            self.terminal = self._host.terminal()
            options |= self.terminal.streams
        else:
            fed = launch.stdin is not None or launch.open_stdin
            options["stdin"] = asyncio.subprocess.PIPE if fed else asyncio.subprocess.DEVNULL
            options |= {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        try:
            transport, _ = await loop.subprocess_exec(lambda: self, *words, env=env, cwd=launch.cwd, **options)
            if self.terminal:
                reading = os.fdopen(self.terminal.read, "rb", 0)
                self._pipe, _ = await loop.connect_read_pipe(lambda: OtherOutput(self), reading)
        except BaseException:
            if self.terminal:
                self.terminal.close()
            if ours:
                ours.close()
            if self._channel:
                self._channel.close()
            raise
        finally:
            if self.terminal:
                self.terminal.spawned()
            if theirs:
                theirs.close()
        if ours:
            self._channel = Channel(self._host, ours, self._hear)
        return transport.get_pid()

    async def start_as_fork(self, spare: Child, words: str, descriptors: Sequence[int] = ()) -> int:
        """Have `spare` fork it; the pid. OSError when no fork came. The spare's owner calls `fork_ended`."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        try:
            spare.order(f"fork {words}".rstrip(), [theirs.fileno(), writing, *descriptors])
        finally:
            theirs.close()
            os.close(writing)
        self._channel = Channel(self._host, ours, self._hear)
        output = OtherOutput(self)
        self._pipe, _ = await loop.connect_read_pipe(lambda: output, os.fdopen(reading, "rb", 0))
        try:
            async with asyncio.timeout(FORKED_WITHIN):
                # Nobody has the other ends any more when the spare is gone, or does not want to.
                waits = [asyncio.ensure_future(each.wait()) for each in (self._hello, self._eof)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in waits:
                        each.cancel()
            await asyncio.wait_for(self._hello.wait(), SAID_WITHIN)
        except TimeoutError:
            output.child = None
            self._pipe.close()
            self._channel.close()
            self._eof.clear()  # It may still be started in another way.
            raise OSError("the spare did not fork") from None
        pid = self.subject.beacon["hello"].get("pid")
        assert isinstance(pid, int)
        self._adopt(pid)
        if self._source and (said := spare.subject.tail()):
            self._source.feed(said)  # it said that while it still was the same process
        return pid

    def become(
        self, subject: Subject, source: Source | None, exited: Callable[[int], None], told: Callable[[], None]
    ) -> None:
        """A spare that was let go is this run from now on."""
        subject.pid, subject.beacon = self.subject.pid, self.subject.beacon
        self.subject, self._source, self._exited, self._told = subject, source, exited, told
        subject.tail, subject.pids = lambda: self._tail, self.pids
        if source and self._tail:
            source.feed(self._tail)

    def order(self, words: str, descriptors: Sequence[int] = ()) -> None:
        """An order for the program, through `inside`. Nothing happens without a channel."""
        if self._channel:
            self._channel.order(words, descriptors)

    def fork_ended(self, code: int) -> None:
        """Its spare says that it has ended."""
        if not self._ended:
            self._code = code
            self.process_exited()

    # ---- asyncio.SubprocessProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._process = transport
        if not self.terminal:
            pipe = transport.get_pipe_transport(1)
            assert isinstance(pipe, asyncio.ReadTransport)
            self._pipe = pipe
        self._adopt(transport.get_pid())
        if self.subject.launch.stdin is not None:
            stdin = transport.get_pipe_transport(0)
            assert isinstance(stdin, asyncio.WriteTransport)
            stdin.write(self.subject.launch.stdin)
            stdin.close()

    def _adopt(self, pid: int) -> None:
        self.subject.pid = pid
        self._tree = self._host.adopt(pid)
        if self._guard:
            self._guard.started(pid)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if len(data) >= FULL and not self._flooded and self._pipe:
            self._flooded = True
            self._host.widen(self._pipe.get_extra_info("pipe").fileno())
        if self.terminal:
            data = self.terminal.heard(data)
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]
        if self._search and (text := self._search.feed(data)):
            self._search = None
            self._hear({"type": PRINTED, "text": text}, [])
        if self._source:
            self._source.feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._eof.set()

    def process_exited(self) -> None:
        self._ended = True
        self._end.set()
        self._spawn(self._wind_up())

    # ---- what the supervisor asks for

    def pause(self) -> None:
        if not self._ended:  # from then on what comes is bounded, and is wanted
            self._reading("pause_reading")

    def resume(self) -> None:
        self._reading("resume_reading")

    def leave(self, signal: str, group: bool) -> None:
        """The polite signal, once: to the group, or to the main process alone (the one that said hello, behind a wrapper)."""
        if self._tree and not self._asked:
            self._asked = True
            group = group or self._ended  # the main process is gone, and its number may be somebody else's
            self._group_knows |= group
            main, said = self._tree.pid, self.subject.beacon.get("hello", {}).get("pid")
            if isinstance(said, int) and said != main and said in self.pids():
                main = said
            self._host.ask_to_leave(self._tree, signal, None if group else main)

    def kill(self) -> None:
        if self._tree:
            self._asked = self._group_knows = True
            self._host.kill(self._tree)

    def pids(self) -> set[int]:
        """The live processes of the tree. Blocks for some milliseconds: it walks the process table."""
        if not self._tree or self._tree.over:
            return set()
        import psutil

        with contextlib.suppress(psutil.Error, OSError):  # OSError: we have too many files open
            process = psutil.Process(self._tree.pid)
            return {self._tree.pid, *(child.pid for child in process.children(recursive=True))}
        return set()

    # ---- the rest

    def _reading(self, verb: str) -> None:
        if self._pipe and not self._pipe.is_closing():
            getattr(self._pipe, verb)()

    def _hear(self, message: dict[str, object], descriptors: list[int]) -> None:
        self.listeners += descriptors
        match message:
            case {"type": "imported"}:
                self.subject.uses.add(message)
            case {"type": str(kind)}:
                self.subject.beacon[kind] = {**message, "seen": time.monotonic()}
                match message:
                    case {"type": "listening", "port": int(port)}:
                        self.subject.served.add(port)
                    case {"type": "taken", "place": int() | str() as place}:
                        self.subject.taken.add(place)
                    case {"type": "holds", "place": int() | str() as place}:
                        self.subject.holds.add(place)
                if kind == "hello":
                    self._hello.set()
                self._told()

    async def _wind_up(self) -> None:
        assert self._tree
        if self._host.alive(self._tree):
            await self._end_leftovers(self._tree)
        # Nobody writes any more, so what is left is bounded by the pipe: it is read even while the terminal is stuck.
        self.resume()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._eof.wait(), EOF_WITHIN)
        if self._guard:
            self._guard.gone(self._tree.pid)
        if self._process:
            self._code = self._process.get_returncode()
        self.close()
        if self._source:
            self._source.end()
        assert self._code is not None
        self._exited(self._code)

    async def wait(self, within: float) -> None:
        """Until the main process is gone, if there is one."""
        with contextlib.suppress(TimeoutError):
            if self._pipe:
                async with asyncio.timeout(within):
                    await self._end.wait()

    def close(self) -> None:
        """Let go of everything that is open."""
        for transport in (self._process, self._pipe, self._channel):
            if transport:
                transport.close()
        if self.terminal:
            self.terminal.close()
        while self.listeners:
            os.close(self.listeners.pop())

    async def _end_leftovers(self, tree: Tree) -> None:
        """The main process is gone and left others behind. No event tells when a group is empty, so this looks, ever less often."""
        ours_to_end = not self._group_knows
        if ours_to_end:
            self._group_knows = True
            self.left_others = not self._asked
            self._host.ask_to_leave(tree, "TERM", None)
        started, pause = time.monotonic(), 0.005
        while self._host.alive(tree):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
            if ours_to_end and time.monotonic() - started > LEFTOVER_GRACE:
                self.kill()


class OtherOutput(asyncio.Protocol):
    """What a fork writes, or a process with a terminal, goes the way of what others write."""

    def __init__(self, child: Child) -> None:
        self.child: Child | None = child

    def data_received(self, data: bytes) -> None:
        if self.child:
            self.child.pipe_data_received(1, data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.child:
            self.child.pipe_connection_lost(1, error)
