"""A bell that rings when something happens in certain directories. What it was, watchfiles tells; but to wait for that is to look a
hundred times a second, 0.6 % of a core, where with a bell nobody looks before it rings.

Linux alone has it here. Elsewhere, and when the system has no more of them, one looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterable

EVENTS = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""IN_MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF."""
CHUNK = 64 * 1024


def bell(places: Iterable[str], ring: Callable[[], None]) -> Callable[[], None] | None:
    """Call `ring` in the running loop after each change in one of `places`, until the result is called. None where that cannot be had."""
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None)
    try:
        begin, add = library.inotify_init1, library.inotify_add_watch
    except AttributeError:
        return None
    fd = begin(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return None
    if any(add(fd, os.fsencode(place), EVENTS) < 0 for place in places):
        os.close(fd)
        return None
    loop = asyncio.get_running_loop()

    def heard() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, CHUNK)
        ring()

    def end() -> None:
        loop.remove_reader(fd)
        os.close(fd)

    loop.add_reader(fd, heard)
    return end
