"""Tracebacks cut down to the frames of a person's own code.

Rule 1: only frames are left out; what is no traceback stays as it is, and so does the line that names the exception.
Rule 2: a traceback without any frame of one's own is kept whole: then the frames of others are all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Compiled when there is a traceback, not at each start.
_FRAME = r'\s+File "(?P<path>[^"]+)", line \d+'
_FOREIGN = r"^<frozen |[/\\](site|dist)-packages[/\\]|[/\\]lib[/\\]python3[^/\\]*[/\\]|[/\\]Lib[/\\][^/\\]+\.py$"


def folded(lines: Iterable[str]) -> list[str]:
    """`lines` of output, without the frames of libraries and of the interpreter."""
    found: list[str] = []
    frames: list[list[str]] = []
    for line in lines:
        if match := re.match(_FRAME, line):
            frames.append([match["path"], line])
        elif frames and line.startswith("    "):
            frames[-1].append(line)
        else:
            found += _own(frames)
            frames = []
            found.append(line)
    return found + _own(frames)


def _own(frames: list[list[str]]) -> list[str]:
    own = [frame for frame in frames if not re.search(_FOREIGN, frame[0])]
    return [line for frame in own or frames for line in frame[1:]]
