"""Several pieces of memory, written as if they were one.

Rule 1: nothing is copied to write it, where the system can do without (`writev`).
Rule 2: one call writes a bounded number of bytes and of parts.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence

Part = bytes | memoryview
AT_ONCE = 1024
"""Parts of one call: what POSIX systems take."""


def length(parts: Iterable[Part]) -> int:
    """Bytes."""
    return sum(map(len, parts))


def taken(parts: deque[Part], size: int) -> list[Part]:
    """The first `size` bytes, or fewer when there are no more of them or they are in too many parts; they are gone from `parts`."""
    portion: list[Part] = []
    while parts and size and len(portion) < AT_ONCE:
        part = memoryview(parts.popleft())
        if len(part) > size:
            parts.appendleft(part[size:])
        portion.append(part[:size])
        size -= len(portion[-1])
    return portion


def put(fd: int, parts: Sequence[Part]) -> list[Part]:
    """Write once, as much as is taken; what is left. OSError as from `os.write`."""
    done = os.writev(fd, parts) if hasattr(os, "writev") else os.write(fd, b"".join(parts))
    return [] if done == length(parts) else [memoryview(b"".join(parts))[done:]]
