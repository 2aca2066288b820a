"""Sees what the program imports: attaches our hooks, tells which project files it uses, and stops a spare at the first of them.

`boot` puts a Finder first on `sys.meta_path`. It finds nothing by itself: it asks the finders behind it, as the import system would have.

Rule 1: what it returns is what the program would have got; when anything goes wrong in here it returns nothing, and the program goes on.
Rule 2: a project file is one below a root that belongs to nobody else: not to a virtual environment, node_modules or a hidden directory.
Rule 3: a .pyc is checked by the second in which its source was saved, so a source of the last seconds is compiled anew, and its cache
neither read nor written.

Message:
  imported: files (project files, absolute), modules (the names of all others, in order), missing (where in the project a module was
    looked for and not found, absolute, without an ending); each at the next import of a project file. Forks (a prefork pool) tell
    theirs too.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FRESH = 2.0
"""Seconds: the resolution of a .pyc's check, and as much again."""
AT_ONCE = 40
"""Names in one message: it must fit into the socket's buffer whole."""
FOREIGN = ("node_modules", "site-packages", "dist-packages")


class Finder:
    """`hooks` maps a module to what is called with it once it has run; `stop()` is called before the first project file is read."""

    def __init__(
        self, channel: "Any", roots: "list[str]", hooks: "dict[str, Callable[[Any], None]]", stop: "Callable[[], None]"
    ) -> None:
        self.channel = channel
        self.roots = sorted({place + os.sep for root in roots for place in (root, os.path.realpath(root))})
        self.others = sorted({place + os.sep for place in (sys.prefix, sys.base_prefix)})
        self.hooks = hooks
        self.stop: Callable[[], None] | None = stop
        self.untold: dict[str, dict[str, None]] = {"files": {}, "modules": {}, "missing": {}}
        self.told: dict[str, None] = {}

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if not self.roots and name not in self.hooks:
            return None
        try:
            spec = self.find(name, path, target)
            file = self.project_file(spec)
            if file and self.stop:
                self.reach()
                spec = self.find(name, path, target)
                file = self.project_file(spec)
        except Exception:
            return None  # The finders behind us say it themselves.
        try:
            if name in self.hooks and spec is not None:
                self.watch(name, spec.loader)
            self.note(name, path, spec, file)
        except Exception:
            pass
        return spec

    def script(self, path: str) -> None:
        """The program itself is about to be read from `path`."""
        try:
            file = os.path.abspath(path)
            if self.is_project(file):
                self.reach()
                self.use(file)
        except Exception:
            pass

    def find(self, name: str, path: "Any", target: "Any") -> "Any":
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                return spec
        return None

    def reach(self) -> None:
        """Before the first project file: wait there if this is a spare. What was seen of the disk before may be out of date afterwards."""
        if self.stop:
            self.stop()
            self.stop = None
            for importer in list(sys.path_importer_cache.values()):
                forget = getattr(importer, "invalidate_caches", None)
                if forget:
                    forget()

    # What is told

    def note(self, name: str, path: "Any", spec: "Any", file: str) -> None:
        if file:
            self.refresh(spec, file)
            self.use(file)
        elif spec is not None:
            self.untold["modules"][name] = None
        else:
            self.miss(name, path)

    def use(self, file: str) -> None:
        """A project file is about to be read."""
        if file not in self.told:
            self.told[file] = None
            self.untold["files"][file] = None
        self.tell()

    def miss(self, name: str, path: "Any") -> None:
        for place in sys.path if path is None else list(path):
            stem = os.path.join(os.path.abspath(place or os.curdir), name.rpartition(".")[2])
            if self.is_project(stem):
                self.untold["missing"][stem] = None

    def tell(self) -> None:
        while any(self.untold.values()):
            part = {kind: list(names)[:AT_ONCE] for kind, names in self.untold.items() if names}
            if not self.channel.note("imported", **part):
                return  # With the next one.
            for kind, names in part.items():
                for each in names:
                    del self.untold[kind][each]

    # What is a project file

    def project_file(self, spec: "Any") -> str:
        origin = getattr(spec, "origin", None)
        if not isinstance(origin, str) or not getattr(spec, "has_location", False):
            return ""
        file = os.path.abspath(origin)
        return file if self.is_project(file) else ""

    def is_project(self, file: str) -> bool:
        root = next((root for root in self.roots if file.startswith(root)), None)
        if root is None or any(file.startswith(other) and len(other) > len(root) for other in self.others):
            return False
        parts = file[len(root) :].split(os.sep)[:-1]
        return not any(part in FOREIGN or part.startswith(".") for part in parts)

    def refresh(self, spec: "Any", file: str) -> None:
        """Rule 3. A loader that cannot tell when its source was saved neither reads nor writes a cache."""
        loader = spec.loader
        if time.time() - os.stat(file).st_mtime < FRESH and hasattr(loader, "path_stats"):

            def path_stats(path: str) -> "Any":
                raise OSError(path)

            loader.path_stats = path_stats

    # Hooks

    def watch(self, name: str, loader: "Any") -> None:
        # On this one instance, and gone before the module runs: neither spec nor loader look any different to the program.
        run, hook = loader.exec_module, self.hooks.pop(name)

        def exec_module(module: "Any") -> None:
            loader.__dict__.pop("exec_module", None)
            run(module)
            hook(module)

        loader.exec_module = exec_module
