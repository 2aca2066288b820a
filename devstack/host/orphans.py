"""Processes whose `devstack up` is no more: killed together with its guardian, or the power went for a moment in a container.

Rule 1: a process is ours by its marker: DEVSTACK_RUN in its environment names the `up` that started it, by pid, time of birth and a random
part. It is an orphan when no process with that pid and that birth lives.
Rule 2: a pid is only ever signalled together with its time of birth, so that it cannot have become a stranger's (psutil sees to that).
Rule 3: psutil is imported when somebody asks; what belongs to another user cannot be seen, and is left alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARKER = "DEVSTACK_RUN"
GRACE = 3.0
"""Seconds between TERM and KILL."""
KILL_WITHIN = 5.0


class Orphan:
    """One that has lost its `up`, or may. `process` as in DEVSTACK_PROCESS ("worker.1"), `directory` where it runs."""

    def __init__(self, run: str, process: str, command: str, directory: str, handle: psutil.Process) -> None:
        self.pid = handle.pid
        self.run = run
        self.process = process
        self.command = command
        self.directory = directory
        self.handle = handle

    def __str__(self) -> str:
        return f"{self.process} (pid {self.pid}): {self.command}"


def new_run() -> str:
    """The marker of the `up` that this process is."""
    return f"{os.getpid()}-{_born(os.getpid())}-{os.urandom(6).hex()}"


def find(run: str | None = None) -> list[Orphan]:
    """All orphans of this user, or those of one run; oldest first."""
    found = started_by(run)
    dead = {marker for marker in {each.run for each in found} if not _lives(marker)}
    return [each for each in found if each.run in dead]


def started_by(run: str | None) -> list[Orphan]:
    """All processes of this user that a run has started, or any; the `up` may live yet. Oldest first."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
            marker = environment.get(MARKER, "")
            if not marker or (run is not None and marker != run):
                continue
            name = environment.get("DEVSTACK_PROCESS", "?")
            command = " ".join(process.cmdline()) or process.name()
            found.append(Orphan(marker, name, command, process.cwd(), process))
    return sorted(found, key=lambda orphan: orphan.handle.create_time())


def of_the_run_of(pid: int) -> list[Orphan]:
    """All orphans of the run that this process belongs to; none when it is no orphan."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        if (marker := psutil.Process(pid).environ().get(MARKER)) and not _lives(marker):
            return find(marker)
    return []


def end(orphans: Iterable[Orphan]) -> list[Orphan]:
    """Ask them to leave, and kill what has not after GRACE. Gives those that are still there."""
    import psutil

    orphans = list(orphans)
    parents = {orphan.pid for orphan in orphans}
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            # The topmost of each tree: a pool worker is told by its parent, and twice would be too often.
            if orphan.handle.ppid() not in parents:
                orphan.handle.terminate()
    handles = [orphan.handle for orphan in orphans]
    _, left = psutil.wait_procs(handles, GRACE)
    for handle in left:
        with contextlib.suppress(psutil.Error):
            handle.kill()
    _, left = psutil.wait_procs(left, KILL_WITHIN)
    return [orphan for orphan in orphans if orphan.handle in left]


def _lives(marker: str) -> bool:
    """Whether the `up` of this marker still runs. One that says nothing of its supervisor is not judged."""
    pid, _, rest = marker.partition("-")
    born, _, _ = rest.partition("-")
    return not pid.isdigit() or not born.isdigit() or _born(int(pid)) == born


def _born(pid: int) -> str:
    """When the process was born, in hundredths of a second since some moment; empty for one that is gone, reaped or not."""
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        words = file.read().rpartition(b")")[2].split()
        return "" if words[0] in (b"Z", b"X") else words[19].decode()
    if os.path.isdir("/proc/self"):
        return ""
    import psutil

    with contextlib.suppress(psutil.Error):
        return str(round(psutil.Process(pid).create_time() * 100))
    return ""
