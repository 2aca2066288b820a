"""Brings a run up: out of a spare if there is one, else cold; beside older runs under a name of its own and with their sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import string
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from devstack.core.causes import Cause
from devstack.core.health import Subject
from devstack.host import Host
from devstack.host.guard import Guard
from devstack.probes.log import Search
from devstack.runtime.child import Child
from devstack.runtime.output import Output, Source
from devstack.runtime.run import Run
from devstack.runtime.standby import Standby

HELD_FOR = 3.0
"""Seconds. A frame then follows what was shown, but whoever waits sees why."""


class Launcher:
    def __init__(
        self,
        host: Host,
        output: Output,
        standby: Standby,
        task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        guard: Guard | None,
    ) -> None:
        self._host = host
        self._output = output
        self._standby = standby
        self._task = task
        self._guard = guard
        self._spawning = asyncio.Lock()
        """One at a time: in between the loop hears those that are there, instead of spawning all hundred first."""

    def prepare(self, run: Run) -> None:
        """Give it a child that can be started, and whose output is shown."""
        asked = run.question
        run.child = Child(
            self._host,
            run.subject,
            self._source(run),
            exited=run.exited,
            told=run.told,
            spawn=self._task,
            guard=self._guard,
            search=Search(str(asked.options.get("pattern", ""))) if asked.how == "log" else None,
        )

    async def bring_up(self, run: Run, others: list[Run]) -> int:
        """Start it while `others`, older runs of the same process, still live; the pid. OSError when that is not possible."""
        held = run.process.previous
        listeners = next((other.child.listeners for other in others if held and other.subject.run == held.run), [])
        run.node = free_node(run, others)
        words = [f"node={run.node}"] * bool(run.node) + [f"listen={len(listeners)}"] * bool(listeners)
        spare = await self._standby.take(run.process, run.subject.launch)
        if spare and spare.use == "fork":
            with contextlib.suppress(OSError):
                pid = await run.child.start_as_fork(spare.child, " ".join(words), listeners)
                spare.adopt(run.child, pid)
                return pid
            self._standby.drop(run.process.name)
        elif spare:
            spare.child.become(run.subject, self._source(run), run.exited, run.told)
            run.child = spare.child
            run.child.order(" ".join(["go", *words]), listeners)
            assert run.subject.pid is not None
            return run.subject.pid
        if not run.subject.launch.channel:
            async with self._spawning:
                return await run.child.start()
        extra = {"DEVSTACK_ROOTS": os.pathsep.join(run.process.service.watch)}
        if run.node:
            extra["DEVSTACK_NODE"] = run.node
        if listeners:
            extra["DEVSTACK_LISTEN"] = ",".join(f"fd:{each}" for each in listeners)
        async with self._spawning:
            return await run.child.start(extra, listeners)

    def _source(self, run: Run) -> Source:
        """Nobody asked for what keeps the others company; what it says is shown when it fails, or when it is terse.

        What new code says is held back until it is known whether it works.
        """
        service = run.process.service
        run.source = self._output.source(run.process.name, shown=service.terse or not service.auxiliary)
        if service.watch and run.process.starts > 1 and run.question.how != "none":
            run.source.hold(HELD_FOR)
        return run.source


def free_node(run: Run, others: Iterable[Run]) -> str:
    """What sets a worker's node name apart from those of older runs that still live; empty for the only one."""
    taken = {other.node for other in others}
    letters = ("", *string.ascii_lowercase[1:])
    return next((each for each in letters if each not in taken), str(run.subject.run))


# Errors of a spawn that may pass: no process, memory or file descriptor was free.
NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
FIXES = {
    errno.ENOEXEC: "a script begins with a line that names its interpreter, such as #!/bin/sh",
    errno.E2BIG: "put the command into a script",
}


INSTEAD = {
    "||": "write it without one",
    "|": "leave the pipe out (devstack logs keeps the output)",
    "a redirection": "leave the redirection out (devstack logs keeps the output)",
    "the builtin set": "write NAME=value in front of the command, without set",
    "the builtin .": "leave it out (the project's own environment is found)",
    "the builtin source": "leave it out (the project's own environment is found)",
    "a background command": "give each command a line of its own",
    "$(": "put the value into .env",
}
"""How to write what only a shell can do without one, by how its name begins; the first that fits."""


def _without_shell(reason: str) -> str:
    return next((words for name, words in INSTEAD.items() if reason.startswith(name)), "write it without one")


def explain_spawn(error: OSError, subject: Subject) -> tuple[int, Cause]:
    """The exit code that a shell would give, and the cause with its fix."""
    launch = subject.launch
    name = error.filename if isinstance(error.filename, str) else launch.argv[0]
    if not os.path.isdir(launch.cwd):
        return 127, Cause(f"its directory {launch.cwd} does not exist", True, "correct the `cd` in the Procfile")
    if launch.shell and isinstance(error, FileNotFoundError):
        part = f" for {launch.shell_reason}" if launch.shell_reason else ""
        fix = f"{_without_shell(launch.shell_reason)}, put it into a Python script, or install Git for Windows, whose sh is used"
        return 127, Cause(f"its line needs a POSIX shell{part}, and there is no sh on the PATH", True, fix)
    if isinstance(error, FileNotFoundError):
        interpreter = _interpreter(os.path.join(launch.cwd, name))
        if interpreter and not os.path.exists(interpreter):
            why = f"{name}: there is no {interpreter}, which its first line names"
            return 127, Cause(why, True, "correct that line, or make the venv anew if it was moved")
        if os.sep in name:
            return 127, Cause(f"{name}: no such file", True, f"correct the path; it is meant from {launch.cwd}")
        return 127, Cause(
            f"{name}: command not found", True, f"is {name} installed, and is its venv beside the Procfile?"
        )
    if isinstance(error, PermissionError) and os.path.isdir(os.path.join(launch.cwd, name)):
        return 126, Cause(f"{name} is a directory", True, "name the program in it")
    if isinstance(error, PermissionError):
        return 126, Cause(f"{name}: not an executable file", True, f"chmod +x {name}")
    fix = FIXES.get(error.errno or 0, "")
    return 126, Cause(f"{name} could not be started: {error.strerror or error}", error.errno not in NO_ROOM, fix)


def _interpreter(program: str) -> str:
    """What the first line of a script names; empty for what is none."""
    with contextlib.suppress(OSError), open(program, "rb") as file:
        first = file.readline(256)
        if first.startswith(b"#!") and (words := first[2:].split()):
            return words[0].decode(errors="replace")
    return ""
