"""Sees saves: which Python files of the project changed, and whom to tell.

Rule 1: one batch of changes restarts a process once (`git checkout`, a formatter that writes twice).
Rule 2: version control, venvs, caches and node_modules never count.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from devstack.core import events as e
from devstack.core.model import Stack

STEP, DEBOUNCE = 10, 50
"""Milliseconds between two looks, and the longest time a batch is collected: an event is seen after about 15 ms at 0.3 % of a core."""


async def watch(stack: Stack, root: Path, tell: Callable[[e.Event], None], say: Callable[[str], None]) -> None:
    """Tell RestartAsked for the processes whose service watches a directory in which a Python file changed. Runs until cancelled."""
    directories = {os.path.realpath(root / d) for service in stack.services.values() for d in service.watch}
    directories = {d for d in directories if os.path.isdir(d)}
    if not directories:
        return
    import watchfiles

    stop = asyncio.Event()
    try:
        async for changes in watchfiles.awatch(
            *sorted(directories),
            watch_filter=watchfiles.PythonFilter(),
            step=STEP,
            debounce=DEBOUNCE,
            stop_event=stop,
            recursive=True,
        ):
            files = sorted({path for _, path in changes})
            if names := affected(stack, root, files):
                tell(e.RestartAsked(tuple(names), f"{shown(files, root)} changed"))
    except OSError as error:
        say(
            f"cannot watch {', '.join(sorted(directories))} for changes: {error}; restart devstack after an edit, or use --no-watch"
        )
    finally:
        stop.set()


def affected(stack: Stack, root: Path, files: Iterable[str]) -> list[str]:
    """The processes whose service watches a directory that holds one of `files`."""
    return [
        process.name
        for process in stack.processes.values()
        if any(_inside(path, os.path.realpath(root / d)) for d in process.service.watch for path in files)
    ]


def shown(files: list[str], root: Path) -> str:
    """`shop/tasks.py`, `shop/tasks.py and 3 more`."""
    first = os.path.relpath(files[0], os.path.realpath(root))
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _inside(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(directory + os.sep)
