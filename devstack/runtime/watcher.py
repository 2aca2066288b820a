"""Sees saves: which Python files of the project changed, and whom to tell.

Rule 1: one batch of changes restarts a process once (`git checkout`, a formatter that writes twice).
Rule 2: version control, venvs, caches and node_modules never count, and are not even watched: each of their thousands of directories would
cost a watch of the system.
Rule 3: nothing is missed while the watch is set anew because a directory appeared: the files are compared with what was told of them.
Rule 4: what has failed is tried again after any change in the project, also a server that restarts itself while it lives.
"""

from __future__ import annotations

import asyncio
import contextlib
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
DRAINED = 2 * (STEP + DEBOUNCE) / 1000
"""Seconds after which whatever had happened before has been reported."""
PYTHON = (".py", ".pyi")
NEVER = {"node_modules", "__pycache__", "site-packages", "bower_components", "htmlcov", "staticfiles"}
Snapshot = dict[str, tuple[int, int] | None]
"""Python files with (mtime in ns, size) as they were told of; None has still to be told."""


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

    def report(files: list[str]) -> None:
        if names := affected(stack, root, files):
            tell(e.RestartAsked(tuple(names), f"{shown(files, root)} changed"))

    before: Snapshot | None = None
    try:
        while True:
            # A directory that vanishes before it is watched: look again.
            with contextlib.suppress(FileNotFoundError):
                before = await _watch(roots, before, report)
    except OSError as error:
        say(
            f"cannot watch {', '.join(sorted(roots))} for changes: {error}; restart devstack after an edit, or use --no-watch"
        )


async def _watch(roots: set[str], before: Snapshot | None, report: Callable[[list[str]], None]) -> Snapshot | None:
    """Watch everything below `roots`, until a directory appears in it. What differs from `before` is reported once the watch is up.

    Returns `before` for the next watch.
    """
    import watchfiles

    places = await asyncio.to_thread(directories, roots)
    stop, after = asyncio.Event(), None

    async def compare(before: Snapshot) -> None:
        nonlocal after
        found = await asyncio.to_thread(directories, roots)
        now = await asyncio.to_thread(snapshot, found)
        report(sorted({path for path, _ in before.items() ^ now.items()}))
        if not set(found) <= set(places):
            after = now
            stop.set()

    watching = watchfiles.awatch(
        *places, watch_filter=counts, step=STEP, debounce=DEBOUNCE, stop_event=stop, recursive=False
    )
    # It begins when this task first waits, and by then awatch has set its watches.
    comparing = None if before is None else asyncio.create_task(compare(before))
    try:
        async for changes in watching:
            if comparing:
                await comparing
            paths = sorted({path for _, path in changes})
            files = [path for path in paths if path.endswith(PYTHON)]
            if after is None and any(os.path.isdir(path) for path in paths):
                after = await asyncio.to_thread(snapshot, places)
                # awatch drops what it has collected when it stops: a save just before the snapshot.
                asyncio.get_running_loop().call_later(DRAINED, stop.set)
            if after is None:
                report(files)
            else:
                # Told with what the directory brought: one restart, not two.
                after |= dict.fromkeys(files)
    finally:
        if comparing:
            comparing.cancel()
    return after


def counts(change: Change, path: str) -> bool:
    """A Python file, or a directory that appeared. For watchfiles."""
    if path.endswith(PYTHON):
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


def snapshot(places: Iterable[str]) -> Snapshot:
    """The Python files that lie in these directories. What vanishes meanwhile is left out."""
    found: Snapshot = {}
    for place in places:
        with contextlib.suppress(OSError):
            for path in [os.path.join(place, name) for name in os.listdir(place) if name.endswith(PYTHON)]:
                with contextlib.suppress(OSError):
                    state = os.stat(path)
                    found[path] = state.st_mtime_ns, state.st_size
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


def _inside(path: str, directory: str) -> bool:
    return os.path.realpath(path).startswith(directory + os.sep)
