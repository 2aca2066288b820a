"""Linux and macOS: one session (and so one process group) per process we start, signals to the group or to one pid.

A grandchild that makes a session of its own (a daemon) leaves the group; the guardian finds it at the end by its marker.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from devstack.errors import DevstackError
from devstack.host import Terminal, Tree
from devstack.host.guard import Guard

if TYPE_CHECKING:
    import asyncio

assert sys.platform != "win32"

CHUNK, MOST_DESCRIPTORS = 64 * 1024, 16
WIDE, MOST_WIDE = 256 * 1024, 64
"""Bytes, and processes: with more of them, all pipes together could use up the 64 MB of pipes that Linux grants a user."""
KEPT = 8 * 1024 * 1024
"""Bytes."""
FILES, FILES_EACH = 128, 8
"""Open files that we need, and for each process: its pipe, its channel, its pidfd, its log file, the same for its spare."""
LEAST, LEAST_EACH = 24, 4
"""With fewer than that, we could not even say what is wrong."""
_files: list[int] = []
"""The limit that the children get, when ours had to be another one."""
_widens = True
"""Whether pipes are widened."""
LEAVE = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
shares_descriptors = True


def argv(words: Sequence[str], shell: bool, env: Mapping[str, str], cwd: str) -> list[str]:
    found = ["/bin/sh", "-c", *words] if shell else _resolved(words, env, cwd)
    # A shell in between costs a millisecond: only where our own limit had to be raised.
    return ["/bin/sh", "-c", f'ulimit -Sn {_files[0]}; exec "$@"', "sh", *found] if _files else found


def _resolved(words: Sequence[str], env: Mapping[str, str], cwd: str) -> list[str]:
    program = words[0]
    if os.sep in program:
        found = os.path.join(cwd, program)
        if not os.path.exists(found):
            raise FileNotFoundError(errno.ENOENT, "no such file", program)
        if os.path.isdir(found) or not os.access(found, os.X_OK):
            raise PermissionError(errno.EACCES, "is not an executable file", program)
        return list(words)
    # By ourselves: `shutil` costs 3 ms, for compressors. A relative entry is meant from where the process runs, not from where we do.
    for entry in env.get("PATH", os.defpath).split(os.pathsep):
        found = os.path.join(cwd, entry, program)
        if os.access(found, os.X_OK) and not os.path.isdir(found):
            return [found, *words[1:]]
    raise FileNotFoundError(errno.ENOENT, "command not found", program)


def spawn_options() -> dict[str, Any]:
    return {"start_new_session": True}


def terminal() -> Terminal:
    from devstack.host import terminal

    return terminal.Terminal()


def adopt(pid: int) -> Tree:
    return Tree(pid)


def ask_to_leave(tree: Tree, signal: str, pid: int | None) -> None:
    number = _number(signal)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if tree.over:
            return
        if pid is None:
            os.killpg(tree.pid, number)
        else:
            os.kill(pid, number)


def kill(tree: Tree) -> None:
    if not tree.over:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(tree.pid, signal.SIGKILL)


def alive(tree: Tree) -> bool:
    if tree.over:
        return False
    try:
        os.killpg(tree.pid, 0)
    except ProcessLookupError:
        tree.over = True
        return False
    except PermissionError:
        return True
    tree.over = not _any_but_zombies(tree.pid)
    return not tree.over


def _any_but_zombies(group: int) -> bool:
    """Whether the group has a member that runs. In a container whose init reaps nobody, zombies stay in it for ever."""
    try:
        entries = os.listdir("/proc") if os.path.isdir("/proc/self") else []
    except OSError:  # we have too many files open
        entries = []
    if not entries:
        return True
    for entry in filter(str.isdigit, entries):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat", "rb") as file:
                # pid (name) state ppid pgrp …; the name can hold anything, a ")" too.
                state, _, pgrp = file.read().rpartition(b")")[2].split()[:3]
            if int(pgrp) == group and state not in (b"Z", b"X"):
                return True
    return False


def send(line: socket.socket, data: bytes, descriptors: Sequence[int]) -> int:
    return socket.send_fds(line, [data], list(descriptors)) if descriptors else line.send(data)


def receive(line: socket.socket) -> tuple[bytes, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(line, CHUNK, MOST_DESCRIPTORS)
    for each in descriptors:
        os.set_inheritable(each, False)
    return data, descriptors


@contextlib.contextmanager
def signals(loop: asyncio.AbstractEventLoop, tell: Callable[[int], None]) -> Iterator[None]:
    """Not by `loop.add_signal_handler`, which asks `inspect` what it was given: to import that takes 5 ms."""
    ignored = [number for number in LEAVE if signal.getsignal(number) is signal.SIG_IGN]
    hearing, heard = socket.socketpair()
    hearing.setblocking(False)
    heard.setblocking(False)

    def hear() -> None:
        for number in hearing.recv(CHUNK):
            if number in LEAVE and number not in ignored:
                tell(number)

    loop.add_reader(hearing, hear)
    # Python writes the number of each signal there, whichever thread it came to.
    signal.set_wakeup_fd(heard.fileno(), warn_on_full_buffer=False)
    usual = {}
    for number in LEAVE:
        # As nohup has it. But a script's `devstack up &` ignores Ctrl-C, too, and our children must not: some are asked to leave by it.
        if number not in ignored or number != signal.SIGHUP:
            usual[number] = signal.signal(number, lambda number, frame: None)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        loop.remove_reader(hearing)
        hearing.close()
        heard.close()


@contextlib.contextmanager
def lock(path: Path, text: str) -> Iterator[str | None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield os.pread(fd, 4096, 0).decode(errors="replace")
            return
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
        yield None
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def ours(line: socket.socket) -> bool:
    import struct

    if sys.platform == "linux":
        _, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        # LOCAL_PEERCRED of SOL_LOCAL: struct xucred begins with a version and the user.
        _, user = struct.unpack("2I", line.getsockopt(0, 1, 76)[:8])
    return user in (0, os.getuid())


def become(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> NoReturn:
    words = _resolved(argv, env, cwd)
    os.chdir(cwd)
    sys.stdout.flush()
    os.execvpe(words[0], words, dict(env))


def own_console() -> dict[str, Any]:
    return {}


def press_ctrl_c(pid: int) -> None:
    os.kill(pid, signal.SIGINT)


def guard(run: str) -> Guard:
    # Blocked in the guardian for ever: they are meant for us, whose end it will see.
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, LEAVE)
    try:
        return Guard(run)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)  # what came meanwhile comes now


def widen(fd: int) -> None:
    if sys.platform == "linux" and _widens:
        with contextlib.suppress(OSError):  # it is no pipe, or this user has enough of them
            if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < WIDE:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, WIDE)


def prepare(processes: int) -> None:
    global _widens
    _widens = processes <= MOST_WIDE
    _keep_memory()
    _make_room(processes)
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        import asyncio

        # The default watcher of 3.11 is a thread for each child; later versions choose pidfds by themselves.
        with contextlib.suppress(OSError):
            os.close(os.pidfd_open(os.getpid()))
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def _keep_memory() -> None:
    """Have what a flood frees kept for what comes next.

    glibc returns free memory at the top of its heap to the system, at first all above 128 KB, and asks for it again page by page. Who
    frees one large block raises that to twice its size. The block itself is never touched, so it costs nothing.
    """
    bytes(KEPT)


def _make_room(processes: int) -> None:
    """More open files than usual, when so many processes need them. `argv` gives the children back what they would have had.

    (Some programs close every number that they might have open.) DevstackError when there is no such room.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + processes * FILES_EACH
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(OSError, ValueError):
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most != soft:
            _files.append(soft)
        soft = most
    if soft < (least := LEAST + processes * LEAST_EACH):
        raise DevstackError(
            f"too few files may be open here: {soft}",
            why=f"{processes} process{'es' * (processes != 1)} and devstack need {least} at least",
            fix="raise the limit (ulimit -Hn shows the most), or start fewer: devstack up NAME …",
        )


def _number(name: str) -> int:
    return int(getattr(signal, f"SIG{name.removeprefix('SIG')}"))
