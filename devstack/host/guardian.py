"""The guardian: a small process of its own that ends what `devstack up` started when devstack itself is gone, however it went.

    main(RUN), in a Python of its own (see `guard.py`)

Its standard input is a pipe that only the supervisor holds: `+PID` when a process was started, `-PID` when one is gone, `!` when nobody
wants to wait; the end of the file means that the supervisor is no more. Then everything that carries DEVSTACK_RUN=RUN in its environment,
or was started and has not been taken back, is asked to leave, and killed after GRACE seconds.

It has a twin, its fork, which knows what it knows and waits: whoever kills the guardian together with the supervisor still leaves one that
cleans up. (PR_SET_PDEATHSIG would do less: it does not reach grandchildren, and nobody follows it up with a KILL.)

Rule 1: a stranger is never touched: a process counts by its marker, or by its group, whose leader is the one that was started then.
Rule 2: it must be there in a moment and cost nothing: while it comes up, `devstack up` does, too, and the machine may have one core. So it
imports what Python itself has imported by then, and no more: contextlib and signal alone would take as long as all the rest.

Without /proc (macOS) the marker cannot be seen: there the process groups that were started are ended, and a daemon that left its group
stays.
"""

from __future__ import annotations

import os
import sys
import time

assert sys.platform != "win32"

GRACE = 2.0
"""Seconds between TERM and KILL. Nobody waits for a person here: the terminal is gone."""
KILL_WITHIN = 5.0
TERM, KILL = 15, 9
PROC = "/proc"
DONE, HURRY = b"=\n", b"!\n"
hurried = False
"""Whether somebody does not want to wait: then all that is left is killed at once."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def main(run: str) -> None:
    """Signals that are meant for the supervisor, whose end it sees, are blocked when it begins."""
    reading, writing = os.pipe()
    twin = os.fork()
    started: dict[int, str] = {}
    if twin:
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as other:
            follow(sys.stdin.buffer, started, other)
            end(run, started)
            tell(other, DONE)
        os.waitpid(twin, 0)
    else:
        os.close(writing)
        if not follow(os.fdopen(reading, "rb"), started):
            follow(sys.stdin.buffer, started)
            end(run, started)


def follow(lines: BinaryIO, started: dict[int, str], other: BinaryIO | None = None) -> bool:
    """Keep `started` up to date, and pass everything on to `other`, until the end of the lines. True when the last one was DONE."""
    global hurried
    for line in lines:
        if line == DONE:
            return True
        if line == HURRY:
            hurried = True
        elif line.startswith(b"+"):
            started[int(line[1:])] = born(int(line[1:]))
        else:
            started.pop(int(line[1:]), None)
        if other:
            tell(other, line)
    return False


def tell(other: BinaryIO, line: bytes) -> None:
    try:  # noqa: SIM105
        other.write(line)
    except OSError:
        pass  # The twin is gone: then there is one less.


def end(run: str, started: dict[int, str]) -> None:
    """Ask all that is left to leave, and kill what has not after GRACE."""
    marker = f"DEVSTACK_RUN={run}".encode()
    began, asked, pause = time.monotonic(), set[int](), 0.01
    while (elapsed := time.monotonic() - began) < GRACE + KILL_WITHIN:
        left = living(marker, started)
        if not left:
            return
        for pid in left:
            if hurried or elapsed >= GRACE:
                send(pid, KILL)
            elif pid not in asked and left[pid] not in left:
                # The topmost of each tree: a pool worker is told by its parent, and twice would be too often.
                asked.add(pid)
                send(pid, TERM)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def living(marker: bytes, started: dict[int, str]) -> dict[int, int]:
    """What is left, each process with its parent."""
    if not os.path.isdir(PROC):
        return {pid: 0 for pid in started if in_group(pid)}
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir(PROC))):
        try:
            words = stat(pid)
            group = int(words[2])
            ours = started.get(group) == (words[19] if group == pid else born(group)) or marker in environment(pid)
        except (OSError, IndexError):
            continue  # gone, or somebody else's
        if ours and words[0] not in ("Z", "X"):
            found[pid] = int(words[1])
    return found


def environment(pid: int) -> list[bytes]:
    with open(f"{PROC}/{pid}/environ", "rb") as file:
        return file.read().split(b"\0")


def stat(pid: int) -> list[str]:
    """The words of /proc/PID/stat behind the name: state, ppid, pgrp … the start time is the 20th."""
    with open(f"{PROC}/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()


def born(pid: int) -> str:
    try:
        return stat(pid)[19]
    except (OSError, IndexError):
        return ""


def in_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def send(pid: int, number: int) -> None:
    try:
        if os.path.isdir(PROC):
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
    except OSError:
        pass  # gone, or it has become somebody else
