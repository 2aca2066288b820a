"""One run of a process as the supervisor sees it, what is asked of it, and why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable

from devstack.core.causes import Cause
from devstack.core.health import Subject
from devstack.core.model import ProbeSpec, Process
from devstack.probes.log import Search
from devstack.runtime.child import Child


class Run:
    """What belongs to one run: the child, its prober, how it is being ended, and why it ended.

    Until `alive` is False it may have a process, which may have begun to retire at `retired_at` (monotonic). `node` is what sets its Celery
    node name apart from those of older runs that still live.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.child: Child
        self.exited: Callable[[int], None]
        self.news = asyncio.Event()
        self.prober: asyncio.Task[None] | None = None
        self.ending = ""
        self.cause = Cause("")
        self.node: str | None = None
        self.alive = True
        self.retired_at = 0.0

    def retiring_for(self) -> float:
        return time.monotonic() - self.retired_at


def search(asked: ProbeSpec) -> Search | None:
    """What a log probe waits for in the output."""
    return Search(str(asked.options.get("pattern", ""))) if asked.how == "log" else None


def question(process: Process, run: Run) -> ProbeSpec:
    return run.subject.launch.probe or process.service.probe


# Errors of a spawn that may pass: no process, memory or file descriptor was free.
NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def explain_spawn(error: OSError, subject: Subject) -> tuple[int, Cause]:
    """The exit code that a shell would give, and the cause with its fix."""
    launch = subject.launch
    name = error.filename if isinstance(error.filename, str) else launch.argv[0]
    if not os.path.isdir(launch.cwd):
        return 127, Cause(f"its directory {launch.cwd} does not exist", True, "correct the `cd` in the Procfile")
    if isinstance(error, FileNotFoundError):
        return 127, Cause(
            f"{name}: command not found", True, f"is {name} installed, and is its venv beside the Procfile?"
        )
    if isinstance(error, PermissionError):
        return 126, Cause(f"{name}: not an executable file", True, f"chmod +x {name}")
    return 126, Cause(f"{name} could not be started: {error.strerror or error}", error.errno not in NO_ROOM)


def modules(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [
            entry.name.removesuffix(".py")
            for entry in os.scandir(directory)
            if entry.is_dir() or entry.name.endswith(".py")
        ]
    return []
