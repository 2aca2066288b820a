"""What a project's settings come from, and when that changes.

Rule 1: a file is what its time and size say; a directory is the names in it that can be modules or .env files (logs and databases change
all the time and decide nothing).
Rule 2: nothing here needs the watcher of the reload: it may be switched off, and it does not see .env, nor what pip installs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

PAUSE: Final = 0.3
"""Seconds between two looks at a few dozen files."""
_MODULES: Final = (".py", ".pth", ".so", ".pyd")

State = Mapping[str, object]
"""Each path with what it was; None for one that is not there."""


def file(path: Path) -> list[int] | None:
    """[mtime in ns, size]; a directory's size says nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_mtime_ns, -1 if path.is_dir() else found.st_size]


def now(paths: Iterable[str]) -> State:
    return {path: _names(path) if os.path.isdir(path) else file(Path(path)) for path in paths}


async def changed(state: State) -> None:
    """Returns as soon as one of the paths is not as in `state`."""
    while await asyncio.to_thread(now, state) == state:
        await asyncio.sleep(PAUSE)


def _names(directory: str) -> list[str] | None:
    try:
        return sorted(filter(_counts, os.listdir(directory)))
    except OSError:
        return None


def _counts(name: str) -> bool:
    return name.startswith(".env") or (
        name.endswith(_MODULES) or ("." not in name and name != "__pycache__") or name.endswith(".dist-info")
    )
