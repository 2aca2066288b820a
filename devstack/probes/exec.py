"""Does a command of the user's succeed? Exit code 0 is ready.

Rule 1: the command runs with the environment and in the directory of the process it asks about.
Rule 2: passwords in the command and in what it prints are masked (`psql postgresql://me:secret@db` is a usual question).
Rule 3: it never outlives the question: at the time limit, or when the question is dropped, it dies with all its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from typing import Any

from devstack.core.health import Answer, Health, Subject
from devstack.core.secrets import mask

# Below the five seconds after which the prober stops waiting, so that the sentence is ours.
_WITHIN = 4.5


async def ask(subject: Subject, command: str | Sequence[str], within: float = _WITHIN) -> Answer:
    """Ready when `command` (one string for the shell, or a list of words) exits 0 within `within` seconds."""
    shown = mask(command if isinstance(command, str) else " ".join(command))
    # A file, not a pipe: a grandchild that keeps a pipe open would keep us waiting after the command has ended.
    with tempfile.TemporaryFile() as output:
        options: dict[str, Any] = {
            "env": dict(subject.launch.env),
            "cwd": subject.launch.cwd,
            "stdin": asyncio.subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            # A Ctrl-C in our terminal is for us to handle.
            "start_new_session": True,
        }
        try:
            if isinstance(command, str):
                child = await asyncio.create_subprocess_shell(command, **options)
            else:
                child = await asyncio.create_subprocess_exec(*command, **options)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Answer(Health.UNKNOWN, f"cannot run the probe {shown}: {why.lower()}", "correct the exec probe")
        try:
            async with asyncio.timeout(within):
                code = await child.wait()
        except TimeoutError:
            return Answer(Health.NOT_YET, f"{shown} has not ended within {within:g} s")
        finally:
            await _end(child)
        if code == 0:
            return Answer(Health.READY, f"{shown} exited 0")
        output.seek(0)
        lines = output.read()[-4096:].decode("utf-8", "replace").split("\n")
        said = mask(next((line.strip() for line in reversed(lines) if line.strip()), ""))
        return Answer(Health.NOT_YET, f"{shown} exited {code}" + (f": {said[:200]}" if said else ""))


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    import psutil

    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(child.pid)
        for process in [*leader.children(recursive=True), leader]:
            with contextlib.suppress(psutil.Error):
                process.kill()
    await asyncio.shield(child.wait())
