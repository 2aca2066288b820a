"""Our end of the guardian (`guardian.py`): tells it what we start, so that it can end all of it when we cannot.

Rule 1: it is never waited for, but at the end, and then not for long; without it everything works, except that nobody cleans up after a
kill -9.
Rule 2: it comes up while `devstack up` still imports what it needs, on another core: a process that comes up while the first of the stack
is spawned keeps that one waiting for its turn, 7 ms.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

PROGRAM = Path(__file__).with_name("guardian.py")
START = "import os, sys; place, name = os.path.split(sys.argv[1]); sys.path.append(place); __import__(name[:-3]).main(sys.argv[2])"
"""Imported, the program is compiled once; as a script, at every start."""
END_WITHIN = 8.0
"""Seconds: the guardian's own limits, and some."""
TELL_AFTER = 0.5
"""Seconds until we tell who is waited for."""
T = TypeVar("T")


class Guard:
    """`started` and `gone` for each process; `close` once nothing should be left: it ends what left its process group.

    At the end of its `with` it is gone, also when it has not come to that.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        # -I -S: nothing of the user's environment, no site-packages: it is there after some 10 ms.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, str(PROGRAM), run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # Both guardians hold it: its end says that they are gone.
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def started(self, pid: int) -> None:
        self._say(f"+{pid}\n")

    def gone(self, pid: int) -> None:
        self._say(f"-{pid}\n")

    def take(self, roots: Iterable[int]) -> None:
        """What descends from these processes and has left their groups is ended at the end, too. Once its parent is gone nobody could tell
        whose it is, if it has emptied its environment. Blocks for some milliseconds.
        """
        from devstack.host import usage

        roots = set(roots)
        with contextlib.suppress(OSError):  # we have too many files open
            for pid in usage.trees(usage.table(), roots) - roots:
                with contextlib.suppress(ProcessLookupError):
                    if sys.platform != "win32" and os.getpgid(pid) == pid:
                        self.started(pid)

    async def close(self, forced: bool, tell: Callable[[Sequence[str]], None]) -> None:
        """End what is still there, and the guardian with it. `forced`: what is left gets no time to leave by itself. `tell` gets those
        who are waited for, each with pid and command.
        """
        import asyncio

        if forced:
            self._say("!\n")
        leaving = asyncio.ensure_future(_aside(self._leave))
        if not (await asyncio.wait({leaving}, timeout=TELL_AFTER))[0] and (late := await _aside(self._late)):
            tell(late)
        await leaving
        if self._process.poll() != 0 and sys.platform != "win32":
            # Somebody has killed it, and perhaps its twin: then nobody has ended what left its process group.
            from devstack.host import guardian

            await _aside(guardian.end, self._run, {})

    def _leave(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                self._process.communicate(None, END_WITHIN)

    def _late(self) -> list[str]:
        """Who has been asked to leave by the guardian, and is still there; nobody when it cannot be told, as without open files."""
        from devstack.host import orphans

        with contextlib.suppress(OSError, ImportError):
            return [str(each) for each in orphans.started_by(self._run)]
        return []

    def _say(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode())


async def _aside(call: Callable[..., T], *arguments: object) -> T:
    import asyncio

    try:
        return await asyncio.to_thread(call, *arguments)
    except RuntimeError:
        # A child has used up all processes that the user may have, which counts threads. Nothing else waits for the loop at the end.
        return call(*arguments)
