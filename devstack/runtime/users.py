"""Who uses a file: a process that has imported it, or that looked for it and did not find it.

Rule 1: a process that does not tell what it imports uses all Python files in the directories of its `watch`.
Rule 2: while a process starts it may have read a file and not told so yet: it uses what its last ready run used as well.
Rule 3: paths are compared where they really are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from devstack.core.health import Subject, Uses
from devstack.core.model import Phase, Process
from devstack.runtime.watched import PYTHON, Pattern, is_inside

INIT = "__init__.py"


class Users:
    """`subject` gives the newest run of a process."""

    def __init__(self, root: Path, subject: Callable[[str], Subject | None]) -> None:
        self._root = root
        self._subject = subject
        self._ready: dict[str, Uses] = {}
        """What the last run that was ready used, as far as somebody asked."""
        self._real: dict[str, str] = {}

    def of(self, process: Process) -> Use:
        """What `process` uses now. To be asked at once, and not kept."""
        service = process.service
        uses = self._told(process)
        return Use(
            process,
            [self._where(each) for each in service.watch],
            Pattern.of(service, self._root),
            {self.real(path) for each in uses for path in each.files},
            {self.real(path) for each in uses for path in each.missing},
            self.real,
        )

    def real(self, path: str) -> str:
        """Where `path` really is, remembered: a process uses hundreds of files, in few directories."""
        real = self._real.get(path)
        if real is None:
            directory, name = os.path.split(path)
            plain = name not in ("", ".", "..") and not os.path.islink(path)
            real = os.path.join(self.real(directory), name) if plain else os.path.realpath(path)
            real = self._real[path] = os.path.normcase(real)
        return real

    def forget_links(self) -> None:
        """A link leads elsewhere now."""
        self._real.clear()

    def _where(self, directory: str) -> str:
        return self.real(os.path.join(self._root, directory))

    def _told(self, process: Process) -> list[Uses]:
        """Empty when it does not tell, or not enough."""
        subject = self._subject(process.name)
        now = subject.uses if subject and subject.uses.files else None
        before = self._ready.get(process.name)
        match process.phase:
            case Phase.READY:
                if now:
                    self._ready[process.name] = now
                return [now] if now else []
            case Phase.FAILED:
                return [now] if now else []
            case _:
                return [each for each in (now, before) if each] if before else []


@dataclass(frozen=True, slots=True)
class Use:
    """What one process uses: `files` and modules that it missed if it tells, else `directories`."""

    process: Process
    directories: list[str]
    patterns: list[Pattern]
    files: set[str]
    missing: set[str]
    real: Callable[[str], str]

    def concerns(self, path: str) -> bool:
        """Whether the process has to know that the file at `path` appeared, changed or vanished."""
        if self.process.service.reload == "own" and self.process.phase.alive:
            return False
        if self.process.phase is Phase.FAILED or any(each.matches(path) for each in self.patterns):
            return True
        if not self.directories or not path.endswith(PYTHON):
            return False
        real = self.real(path)
        if not self.files:
            return any(is_inside(real, each) for each in self.directories)
        return self.imported(path) or self._precedes(real) or self._missed(real)

    @property
    def tells(self) -> bool:
        """Whether it is known what it imports."""
        return bool(self.files)

    def imported(self, path: str) -> bool:
        """Whether it tells that it has imported the file."""
        return self.real(path) in self.files

    def _precedes(self, real: str) -> bool:
        """A package goes before the module of the same name, and makes one of a bare directory."""
        directory, name = os.path.split(real)
        return name == INIT and (
            directory + PYTHON in self.files or any(is_inside(each, directory) for each in self.files)
        )

    def _missed(self, real: str) -> bool:
        """Whether it looked for the module there, or for a package that the file lies in."""
        stem = real.removesuffix(PYTHON) if self.missing else os.sep
        while stem != os.path.dirname(stem):
            if stem in self.missing:
                return True
            stem = os.path.dirname(stem)
        return False


def shown(files: Iterable[str], root: Path) -> str:
    """`shop/tasks.py`, `shop/tasks.py and 3 more`."""
    names = list(files)
    first = relative(names[0], root)
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"


def relative(path: str, root: Path) -> str:
    """As a person would name it from the project's directory."""
    try:
        name = os.path.relpath(path, os.path.realpath(root))
    except ValueError:  # on another drive
        name = path
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
