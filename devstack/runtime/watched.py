"""What is watched: which directories of a project, and which files in them count.

Rule 1: version control, venvs, caches and node_modules never count, and are not even looked into: each of their thousands of directories
would cost a watch of the system.
Rule 2: a directory that is not there is waited for in the nearest one above it that is.
Rule 3: symbolic links are not followed (they may lead anywhere), except those to a package.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from devstack.core.model import Service, Stack

PYTHON = ".py"
NEVER = {"node_modules", "__pycache__", "site-packages", "bower_components", "htmlcov", "staticfiles"}
Stamp = tuple[int, int, int]
"""mtime in ns, size and inode."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Files below a real `directory`: `**` is any number of directories, `*`, `?` and `[abc]` stay within one, `/` separates."""

    directory: str
    glob: str

    def matches(self, path: str) -> bool:
        if not is_inside(path, self.directory):
            return False
        parts = path[len(self.directory) :].strip(os.sep).split(os.sep)
        return _match(parts, [each for each in self.glob.split("/") if each])

    @classmethod
    def of(cls, service: Service, root: Path) -> list[Pattern]:
        return [cls(os.path.realpath(root / directory), glob) for directory, glob in service.watch_files]


class Watched:
    """The directories below `roots`, and the Python files in them and whatever matches one of `patterns`. All paths are real ones."""

    def __init__(self, roots: Iterable[str], patterns: Iterable[Pattern] = ()) -> None:
        self.roots = set(roots)
        self._patterns = list(patterns)
        self.missing: set[str] = set()
        """Those of the roots that are not there."""

    @classmethod
    def of(cls, stack: Stack, root: Path, read: Iterable[Path] = ()) -> Watched:
        """What the services watch. The files in `read` count where they lie among it."""
        services = stack.services.values()
        patterns = {each for service in services for each in Pattern.of(service, root)}
        places = {os.path.realpath(root / each) for service in services for each in service.watch}
        files = [Pattern(os.path.realpath(each.parent), glob.escape(each.name)) for each in read]
        return cls(places | {each.directory for each in patterns}, [*patterns, *files])

    def counts(self, path: str) -> bool:
        """Whether a file is worth a look. An editor's own files begin with a dot, a #, or (flycheck) with its name."""
        name = os.path.basename(path)
        if name.endswith(PYTHON) and not name.startswith((".", "#", "flycheck_")):
            return True
        return any(each.matches(path) for each in self._patterns)

    def leads_on(self, directory: str) -> bool:
        """Whether a directory that appeared is to be watched, or leads to one that is."""
        if any(is_inside(root, directory) for root in self.missing):
            return True
        return not ignored(directory) and any(is_inside(directory, root) for root in self.roots)

    def directories(self) -> list[str]:
        """All that are to be watched now."""
        found: dict[str, None] = {}
        starts = sorted(self.roots)
        self.missing = {root for root in self.roots if not os.path.isdir(root)}
        found.update(dict.fromkeys(map(_nearest, self.missing)))
        lonely = set(found)
        for start in starts:
            for place, names, _ in os.walk(start):
                if place in found and place not in lonely:
                    names.clear()
                    continue
                found[place] = None
                lonely.discard(place)
                names[:] = [name for name in names if not ignored(os.path.join(place, name))]
                starts += _linked_packages(place, names)
        return list(found)

    def snapshot(self, places: Iterable[str]) -> dict[str, Stamp]:
        """The files that count in these directories. What vanishes meanwhile is left out."""
        found: dict[str, Stamp] = {}
        for place in places:
            with contextlib.suppress(OSError):
                for path in [os.path.join(place, name) for name in os.listdir(place)]:
                    if self.counts(path):
                        with contextlib.suppress(OSError):
                            found[path] = stamp(os.stat(path))
        return found


def ignored(directory: str) -> bool:
    name = os.path.basename(directory)
    return name.startswith(".") or name in NEVER or os.path.exists(os.path.join(directory, "pyvenv.cfg"))


def stamp(state: os.stat_result) -> Stamp:
    return state.st_mtime_ns, state.st_size, state.st_ino


def is_inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def _match(parts: list[str], globs: list[str]) -> bool:
    if not globs or not parts:
        return not parts and all(each == "**" for each in globs)
    if globs[0] == "**":
        return _match(parts, globs[1:]) or _match(parts[1:], globs)
    return fnmatchcase(parts[0], globs[0]) and _match(parts[1:], globs[1:])


def _nearest(directory: str) -> str:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _linked_packages(place: str, names: Iterable[str]) -> list[str]:
    paths = [os.path.join(place, name) for name in names]
    links = [path for path in paths if os.path.islink(path) and os.path.isfile(os.path.join(path, "__init__.py"))]
    return [os.path.realpath(path) for path in links]
