"""The frames for processes that failed: an error that several of them meet at one save is shown once.

Rule 1: the same is what has the same words at the same line of the project.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from devstack.core.causes import Cause
from devstack.core.events import Announce
from devstack.core.model import Process
from devstack.runtime import voice

REMEMBERED = 10.0
"""Seconds; after that one would have to look for it."""
_AT_A_LINE = r": (?P<error>.+ \(\S+:\d+\))$"


class Frames:
    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, float]] = {}
        """By error: whose it was, and when."""

    def forget(self) -> None:
        """Something was saved: who looks now wants to see what is wrong with that."""
        self._shown.clear()

    def of(self, process: Process, said: Announce, cause: Cause, tail: str, blocked: Sequence[str]) -> str:
        """The frame for an Announce of "failed", "kept" or "overdue", or the line that stands for it."""
        if said.kind == "overdue":
            return voice.error(process, said, tail, "", blocked)
        if match := re.search(_AT_A_LINE, cause.why):
            name, at = self._shown.get(match["error"], (process.name, 0.0))
            if name != process.name and time.monotonic() - at < REMEMBERED:
                return voice.same_error(process, said, name, blocked)
            self._shown[match["error"]] = process.name, time.monotonic()
        return voice.error(process, said, tail, cause.fix, blocked)
