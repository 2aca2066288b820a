"""Finds the file that a process writes whenever it starts: its reload writes it again, and so on without end.

Rule 1: a change is an echo when a process that was told of the last one had only just started again. The caller says so, with the delay
since that start; times are seconds.
Rule 2: somebody who saves often must not be taken for a process. So after some echoes in a row, all about as late, the file is put to the
test: it is held back until it has been calm (nothing starts, so what changes it now is no echo), then told once more. Only an echo to that
proves it. Even then its last change counts once more after a long calm: a script that saves as soon as it sees an answer looks the same.
Rule 3: a file that is left alone counts again as soon as something changes it while nothing has just started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

ECHOES = 4
"""Echoes in a row that put a file to the test."""
LATE, LATE_ECHOES = 1.0, 10
"""Seconds after which a person may have seen the start, and saves again: then it takes so many."""
CALM, LONG_CALM = 2.0, 5.0
CLEARED = 60.0
"""Seconds for which one that has passed the test is not tested again, and for which the last step of the test is open."""


class Verdict(Enum):
    TELL = auto()
    HOLD = auto()
    """Not now: ask `calm` after CALM seconds."""
    PROVEN = auto()
    """It is left alone from now on, and that is worth a word."""
    LEAVE = auto()


class _Stage(Enum):
    FREE = auto()
    HELD = auto()
    LAST_STEP = auto()
    LEFT = auto()


@dataclass(slots=True)
class _File:
    told: float
    names: tuple[str, ...] = ()
    """Who was told."""
    stage: _Stage = _Stage.FREE
    since: float = 0.0
    """When the stage began."""
    delays: list[float] = field(default_factory=list)
    """Of the echoes in a row."""
    first: float = 0.0
    """When the first of them was seen."""
    cleared: float = float("-inf")
    owed: bool = False
    """Its last change has not been told of."""


class Echoes:
    """What is known of the files that were told of, by path."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def told(self, path: str, names: tuple[str, ...], now: float) -> None:
        file = self._files.setdefault(path, _File(now))
        file.told, file.names = now, names

    def last_told(self, path: str) -> tuple[tuple[str, ...], float]:
        """Who was told of it last, and when."""
        file = self._files.get(path)
        return (file.names, file.told) if file else ((), 0.0)

    def changed(self, path: str, echo: float | None, now: float) -> Verdict:
        """What to do about a change; `echo` is its delay if it is one."""
        file = self._files.get(path)
        if file is None:
            return Verdict.TELL
        if echo is None:
            return self._innocent(file, now)
        file.first = file.first if file.delays else now
        file.delays.append(echo)
        if file.stage is _Stage.LEFT:
            return Verdict.LEAVE
        needed = ECHOES if min(file.delays[-ECHOES:]) < LATE else LATE_ECHOES
        alike = _alike(file.delays[-needed:])
        if file.stage is _Stage.LAST_STEP and now - file.since < CLEARED and alike:
            file.stage, file.since, file.owed = _Stage.LEFT, now, True
            return Verdict.PROVEN
        if len(file.delays) < needed or not alike or now - file.cleared < CLEARED:
            file.stage = _Stage.FREE
            return Verdict.TELL
        file.stage, file.since = _Stage.HELD, now
        return Verdict.HOLD

    def calm(self, path: str, now: float) -> bool:
        """Whether a file has been calm for long enough to be told of now, after a HOLD (CALM) or when it was PROVEN (LONG_CALM)."""
        file = self._files.get(path)
        if file and file.stage is _Stage.LEFT and file.owed and now - file.since >= LONG_CALM * 0.99:
            file.owed = False
            return True
        if file is None or file.stage is not _Stage.HELD or now - file.since < CALM * 0.99:
            return False
        file.stage, file.since = _Stage.LAST_STEP, now
        return True

    def history(self, path: str, now: float) -> tuple[int, float]:
        """How many echoes there were in a row, and for how many seconds."""
        file = self._files[path]
        return len(file.delays), now - file.first

    def _innocent(self, file: _File, now: float) -> Verdict:
        if file.stage is _Stage.HELD:
            file.cleared = now
        file.stage = _Stage.FREE
        file.delays.clear()
        return Verdict.TELL


def _alike(delays: list[float]) -> bool:
    return max(delays) - min(delays) <= 0.1 + 0.1 * min(delays)
