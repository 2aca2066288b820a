"""Several pieces of memory, written as if they were one.

Rule 1: nothing is copied to write it, where the system can do without (`writev`).
Rule 2: one call writes a bounded number of bytes and of parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

Part = bytes | memoryview
MOST = 1024
"""Parts of one call: what POSIX systems take."""


def portions(parts: Iterable[Part], size: int) -> Iterator[list[Part]]:
    """The same bytes, `size` of them in each portion, or fewer where it takes too many parts, and in the last."""
    portion: list[Part] = []
    room = size
    for part in parts:
        rest = memoryview(part)
        while rest:
            portion.append(rest[:room])
            rest = rest[room:]
            room -= len(portion[-1])
            if not room or len(portion) == MOST:
                yield portion
                portion, room = [], size
    if portion:
        yield portion


def put(fd: int, parts: Sequence[Part]) -> list[Part]:
    """Write once, as much as is taken; what is left. OSError as from `os.write`."""
    done = os.writev(fd, parts) if hasattr(os, "writev") else os.write(fd, b"".join(parts))
    return [] if done == sum(map(len, parts)) else [memoryview(b"".join(parts))[done:]]
