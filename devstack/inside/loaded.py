"""Whether a spare is still what a cold start would be: have the files that it was made from changed since?

What is installed changes rarely, but then nobody tells: an upgrade, a line edited by hand in a library, a module saved in the project that
now goes before a library of the same name. Looking again costs some milliseconds, once for each reload.

Rule 1: a file that changed while the spare was being made counts as changed.
Rule 2: the project's own files are not looked at; none was read yet. What was looked for there, and not found, is.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Loaded:
    """`look()` when everything is loaded; `changed()` later. `finder` knows what is the project's and what was missing there."""

    def __init__(self, finder: "Any") -> None:
        self.finder = finder
        self.began = time.time()
        self.files: dict[str, tuple[int, int]] = {}
        self.present: dict[str, set[str]] = {}
        self.late = ""

    def look(self) -> None:
        self.files = {}
        for place in places():
            stamp = stamp_of(place)
            if stamp and not self.finder.is_project(place):
                self.files[place] = stamp
                if stamp[0] > self.began * 1e9:
                    self.late = place
        self.present = self.found_now()

    def is_projects(self, directory: str) -> bool:
        return bool(self.finder.is_project(os.path.abspath(os.path.join(directory, "name"))))

    def changed(self) -> str:
        """What has, or nothing."""
        if self.late:
            return self.late
        for place, stamp in self.files.items():
            if stamp_of(place) != stamp:
                return place
        for directory, names in self.found_now().items():
            for name in names ^ self.present.get(directory, set()):
                return os.path.join(directory, name)
        return ""

    def found_now(self) -> "dict[str, set[str]]":
        """Which of the modules that the project did not have it has now, by directory; what was found elsewhere, too."""
        loaded = {name.partition(".")[0] for name in sys.modules}
        wanted = {os.path.abspath(each): set(loaded) for each in sys.path if self.is_projects(each)}
        for stem in self.finder.untold["missing"]:
            directory, name = os.path.split(stem)
            wanted.setdefault(directory, set()).add(name)
        found = {}
        for directory, names in wanted.items():
            found[directory] = names.intersection(each.partition(".")[0] for each in entries(directory))
        for directory in sys.path:  # Elsewhere a new package is enough: somebody may have looked whether it is there.
            if not self.is_projects(directory):
                found[directory] = {each for each in entries(directory) if is_importable(each)}
        return found


def places() -> "list[str]":
    """The modules' files, the lines that packages add to the path, and the interpreter."""
    found = [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    for module in list(sys.modules.values()):
        names = module.__dict__ if isinstance(module, type(sys)) else {}
        if isinstance(names.get("__file__"), str):
            found.append(names["__file__"])
    for directory in sys.path:
        if directory.endswith("-packages"):
            found += [os.path.join(directory, each) for each in entries(directory) if each.endswith(".pth")]
    return [each for each in found if os.path.isabs(each)]


def entries(directory: str) -> "list[str]":
    try:
        return os.listdir(directory)
    except OSError:
        return []


def is_importable(name: str) -> bool:
    """Or tells of a package that is."""
    return name != "__pycache__" and ("." not in name or name.endswith((".py", ".so", ".pyd", ".pth", "-info")))


def stamp_of(place: str) -> "tuple[int, int] | None":
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size
