"""Windows: a job and a console without a window for each process that we start; asked to leave by Ctrl-C, ended with its job.

Rule 1: never CREATE_NEW_PROCESS_GROUP: it disables Ctrl-C in the child, and Ctrl-Break, all that it would still hear, is no polite signal:
Celery does not know it and loses its tasks.
Rule 2: there is one polite request, whatever signal is asked for, and it goes to all that share the console.
Rule 3: never os.kill(pid, 0): 0 is CTRL_C_EVENT there.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import msvcrt
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from devstack.host import Terminal, Tree, console, job
from devstack.host.guard import Guard

assert sys.platform == "win32"

SUSPENDED = 0x4  # CREATE_SUSPENDED, which subprocess does not name
CHUNK = 64 * 1024
LOCKED_AT = 1 << 30
"""The byte that is locked: what is locked cannot be read by others, so it lies behind the text."""
PATHEXT = ".COM;.EXE;.BAT;.CMD"
shares_descriptors = False


class JobTree(Tree):
    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.job = job.Job()


def argv(words: Sequence[str], shell: bool, env: Mapping[str, str], cwd: str) -> list[str]:
    if shell:
        found = _shell(env, cwd)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "command not found", "sh")
        return [found, "-c", *words]
    program = words[0]
    if os.path.dirname(program):
        given = os.path.join(cwd, program)
        found = _with_suffix(given, env)
        if found is None and os.path.exists(given):
            raise PermissionError(errno.EACCES, "is not an executable file", program)
    else:
        found = _which(program, env, cwd)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "command not found", program)
    if found.lower().endswith(".py"):  # ./manage.py has an interpreter line, which nobody reads here
        python = _which("python", env, cwd)
        return [python or sys.executable, found, *words[1:]]
    return [found, *words[1:]]


def _which(program: str, env: Mapping[str, str], cwd: str) -> str | None:
    """The file on `env`'s PATH. The current directory, which Windows would look in first, is not asked: elsewhere it is not, either."""
    # A relative entry is meant from where the process runs, not from where we do.
    places = (os.path.join(cwd, place.strip('"')) for place in env.get("PATH", "").split(os.pathsep) if place)
    return next((found for place in places if (found := _with_suffix(os.path.join(place, program), env))), None)


def _with_suffix(path: str, env: Mapping[str, str]) -> str | None:
    path = os.path.normpath(path)
    suffixes = [each.lower() for each in (env.get("PATHEXT") or PATHEXT).split(";") if each]
    able = [path] if os.path.splitext(path)[1].lower() in (*suffixes, ".py") else []
    return next((each for each in (*able, *(path + suffix for suffix in suffixes)) if os.path.isfile(each)), None)


def _shell(env: Mapping[str, str], cwd: str) -> str | None:
    """A `sh` on the PATH, or the one that came with git. (bash may be that of WSL, another machine as it were.)"""
    if found := _which("sh", env, cwd):
        return found
    git = _which("git", env, cwd)
    beside = os.path.join(os.path.dirname(os.path.dirname(git)), "bin", "sh.exe") if git else ""
    return beside if os.path.isfile(beside) else None


def spawn_options() -> dict[str, Any]:
    return {"creationflags": subprocess.CREATE_NO_WINDOW | SUSPENDED}


def terminal() -> Terminal:
    raise OSError(errno.ENOTSUP, "devstack gives no terminals on Windows")


def adopt(pid: int) -> Tree:
    tree = JobTree(pid)
    tree.job.start(pid)
    return tree


def ask_to_leave(tree: Tree, signal: str, pid: int | None) -> None:
    if tree.over:
        return
    pids = sorted(_job(tree).pids(), key=lambda each: each != tree.pid)
    # One without a console (a window program) cannot be asked anything.
    console.interrupt(pids, failed=lambda: kill(tree))


def kill(tree: Tree) -> None:
    if not tree.over:
        _job(tree).kill()


def alive(tree: Tree) -> bool:
    if not tree.over and not _job(tree).pids():
        tree.over = True
        _job(tree).close()
    return not tree.over


def _job(tree: Tree) -> job.Job:
    assert isinstance(tree, JobTree)
    return tree.job


def send(line: socket.socket, data: bytes, descriptors: Sequence[int]) -> int:
    return line.send(data)


def receive(line: socket.socket) -> tuple[bytes, list[int]]:
    return line.recv(CHUNK), []


@contextlib.contextmanager
def signals(loop: asyncio.AbstractEventLoop, tell: Callable[[int], None]) -> Iterator[None]:
    def heard(number: int, frame: object = None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are leaving anyway
            loop.call_soon_threadsafe(tell, number)

    usual = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGBREAK, signal.SIGTERM)}
    console.on_close(lambda: heard(signal.SIGTERM))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def lock(path: Path, text: str) -> Iterator[str | None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_BINARY | os.O_NOINHERIT, 0o600)
    try:
        os.lseek(fd, LOCKED_AT, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.lseek(fd, 0, os.SEEK_SET)
            yield os.read(fd, 4096).decode(errors="replace")
            return
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, text.encode())
        yield None
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)  # which unlocks it


class Jobs(Guard):
    """The jobs end what we started when we are gone; one around all of them ends what was born before it was in its own."""

    def __init__(self, run: str) -> None:
        self._run = run
        with contextlib.suppress(OSError):  # an older Windows, or a job that allows none inside it
            self._around = job.Job()
            self._around.take_ourselves()

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, pid: int) -> None:
        pass

    def gone(self, pid: int) -> None:
        pass

    def take(self, roots: Iterable[int]) -> None:
        pass

    async def close(self, forced: bool, tell: Callable[[Sequence[str]], None]) -> None:
        pass


def ours(line: socket.socket) -> bool:
    return False  # there are no Unix sockets


def become(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> NoReturn:
    """The next best: stay, leave Ctrl-C to it, and pass its exit code on. (execve would return to the shell at once.)"""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(subprocess.call(_argv(argv, False, env, cwd), env=dict(env), cwd=cwd))


_argv = argv


def own_console() -> dict[str, Any]:
    return {"creationflags": subprocess.CREATE_NO_WINDOW}


def press_ctrl_c(pid: int) -> None:
    if not console.press_ctrl_c([pid]):
        raise ProcessLookupError(errno.ESRCH, "its console cannot be entered")


def guard(run: str) -> Guard:
    return Jobs(run)


def widen(fd: int) -> None:
    pass  # a pipe keeps the size that it was made with


def prepare(processes: int) -> None:
    console.hear_ctrl_c()
    console.dress()
