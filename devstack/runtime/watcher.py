"""Sees saves: which Python files of the project changed, and whom to tell.

Rule 1: one batch of changes restarts a process once (`git checkout`, a formatter that writes twice).
Rule 2: version control, venvs, caches and node_modules never count, and are not even watched: each of their thousands of directories would
cost a watch of the system.
Rule 3: what has failed is tried again after any change in the project, also a server that restarts itself while it lives.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from devstack.core import events as e
from devstack.core.model import Phase, Stack

if TYPE_CHECKING:
    from watchfiles import Change

STEP, DEBOUNCE = 10, 50
"""Milliseconds between two looks, and the longest time a batch is collected: an event is seen after about 15 ms at 0.3 % of a core."""
NEVER = {"node_modules", "__pycache__", "site-packages", "bower_components", "htmlcov", "staticfiles"}


async def watch(
    stack: Stack, root: Path, tell: Callable[[e.Event], None], say: Callable[[str], None], failure: asyncio.Event
) -> None:
    """Tell RestartAsked for the processes that a changed Python file concerns. Runs until cancelled.

    A stack in which nothing wants to be restarted costs nothing until a `failure`.
    """
    roots = {os.path.realpath(root / d) for service in stack.services.values() for d in service.watch}
    if not roots:
        await failure.wait()
        roots = {os.path.realpath(root)}
    # Both take a while, and the stack is starting: not in its loop.
    await asyncio.to_thread(importlib.import_module, "watchfiles")
    try:
        while True:
            await _watch(stack, root, await asyncio.to_thread(directories, roots), tell)
    except OSError as error:
        say(
            f"cannot watch {', '.join(sorted(roots))} for changes: {error}; restart devstack after an edit, or use --no-watch"
        )


async def _watch(stack: Stack, root: Path, places: list[str], tell: Callable[[e.Event], None]) -> None:
    """Watch exactly these directories, until one appears in them that has to be watched too."""
    import watchfiles

    stop = asyncio.Event()
    watching = watchfiles.awatch(
        *places, watch_filter=counts, step=STEP, debounce=DEBOUNCE, stop_event=stop, recursive=False
    )
    async for changes in watching:
        paths = sorted({path for _, path in changes})
        appeared = [path for path in paths if os.path.isdir(path)]
        # What was written into a new directory before it was watched.
        inside = [name for place in directories(appeared) for name in _python_files(place)]
        files = [path for path in paths if path not in appeared] + inside
        if names := affected(stack, root, files):
            tell(e.RestartAsked(tuple(names), f"{shown(files, root)} changed"))
        if appeared:
            stop.set()


def counts(change: Change, path: str) -> bool:
    """A Python file, or a directory that appeared. For watchfiles."""
    if path.endswith((".py", ".pyi")):
        return True
    return change.name == "added" and not ignored(path) and os.path.isdir(path)


def directories(roots: Iterable[str]) -> list[str]:
    """`roots` and everything below them that is to be watched. Symbolic links are not followed."""
    found = []
    for start in roots:
        for place, names, _ in os.walk(start):
            names[:] = [name for name in names if not ignored(os.path.join(place, name))]
            found.append(place)
    return found


def ignored(directory: str) -> bool:
    name = os.path.basename(directory)
    return name.startswith(".") or name in NEVER or os.path.exists(os.path.join(directory, "pyvenv.cfg"))


def affected(stack: Stack, root: Path, files: Iterable[str]) -> list[str]:
    """The processes whose service watches a directory that holds one of `files`, and those that failed."""
    files = list(files)
    return [
        process.name
        for process in stack.processes.values()
        if (files and process.phase is Phase.FAILED)
        or any(_inside(path, os.path.realpath(root / d)) for d in process.service.watch for path in files)
    ]


def shown(files: list[str], root: Path) -> str:
    """`shop/tasks.py`, `shop/tasks.py and 3 more`."""
    first = os.path.relpath(files[0], os.path.realpath(root))
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


def _python_files(place: str) -> list[str]:
    return [entry.path for entry in os.scandir(place) if entry.name.endswith(".py")]


def _inside(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(directory + os.sep)
