"""What differs between operating systems, and nothing else. `here()` is the system we run on.

Rule 1: `sys.platform` is asked here and nowhere else.
Rule 2: a tree is gone when its last process is, not when its first one is; a zombie that nobody reaps is not alive.
Rule 3: only processes that we started are signalled, and never one whose pid may have become somebody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    import asyncio
    import socket
    from contextlib import AbstractContextManager
    from pathlib import Path

    from devstack.host.guard import Guard


class Tree:
    """A process that we started, with all its descendants. `over` once none is left: from then on its numbers mean nothing."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.over = False


class Terminal(Protocol):
    """A terminal that a process is given: see `host/terminal.py`."""

    read: int
    listeners: list[Callable[[bytes], None]]

    @property
    def streams(self) -> dict[str, Any]: ...
    def spawned(self) -> None: ...
    def heard(self, data: bytes) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def close(self) -> None: ...


class Host(Protocol):
    """The contract; a module per system fulfils it."""

    shares_descriptors: bool
    """Whether a child can be given open descriptors, at its start and later."""

    def argv(self, words: Sequence[str], shell: bool, env: Mapping[str, str], cwd: str) -> list[str]:
        """What to execute, with the program resolved on `env`'s PATH from `cwd`; with `shell`, `words` is one line for /bin/sh.

        FileNotFoundError or PermissionError, with the program as `filename`, when it cannot be run.
        """

    def spawn_options(self) -> dict[str, Any]:
        """Keyword arguments for `loop.subprocess_exec`."""

    def terminal(self) -> Terminal:
        """A terminal for a process. Only where `launch.tty` can be."""

    def adopt(self, pid: int) -> Tree:
        """Take charge of a process just created with `spawn_options`."""

    def ask_to_leave(self, tree: Tree, signal: str, pid: int | None) -> None:
        """Send the polite signal ("TERM", "INT" …) to the whole tree, or to `pid` alone."""

    def kill(self, tree: Tree) -> None:
        """End the whole tree now."""

    def alive(self, tree: Tree) -> bool:
        """Whether a process of the tree still runs. Sets `tree.over` when none does."""

    def send(self, line: socket.socket, data: bytes, descriptors: Sequence[int]) -> int:
        """Send on a non-blocking socket, with copies of descriptors; how many bytes went. BlockingIOError when none could."""

    def receive(self, line: socket.socket) -> tuple[bytes, list[int]]:
        """What has come on a non-blocking socket, and the descriptors that came with it, closed at exec."""

    def signals(self, loop: asyncio.AbstractEventLoop, tell: Callable[[int], None]) -> AbstractContextManager[None]:
        """Inside, `tell(number)` is called in the loop, as soon as it runs, for each signal that asks us to leave."""

    def lock(self, path: Path, text: str) -> AbstractContextManager[str | None]:
        """Hold the file locked inside the context, with `text` in it. Gives None, or what the present holder wrote if it is taken."""

    def ours(self, line: socket.socket) -> bool:
        """Whether the other end of a Unix socket belongs to our user (or to root, who may do everything anyway)."""

    def become(self, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> NoReturn:
        """Be that program from now on, with our terminal. OSError when it cannot be run."""

    def own_console(self) -> dict[str, Any]:
        """Keyword arguments of a `subprocess.Popen` for which somebody will press Ctrl-C."""

    def press_ctrl_c(self, pid: int) -> None:
        """As typed where a process started with `own_console` runs."""

    def guard(self, run: str) -> Guard:
        """Start what ends all processes of this run (DEVSTACK_RUN) when we are gone and could not."""

    def widen(self, fd: int) -> None:
        """Have a pipe that was full hold more, where that can be: the fewer turns two processes take, the less they cost."""

    def prepare(self, processes: int) -> None:
        """Once, before the loop runs: how children are waited for, and room for so many of them."""


def system() -> str:
    """`linux`, `darwin` or `win32`."""
    return sys.platform


def here() -> Host:
    """The host of this system."""
    if sys.platform == "win32":
        from devstack.host import windows

        return windows
    from devstack.host import posix

    return posix
