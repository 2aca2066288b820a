"""Sees what the program imports: attaches our hooks, tells which project files it uses, and stops a spare at the first of them.

`boot` puts a Finder first on `sys.meta_path`. It finds nothing by itself: it asks the finders behind it, as the import system would have.
What a finder finds that the program puts in front of it later is not seen.

Rule 1: what it returns is what the program would have got; when anything goes wrong in here it returns nothing, and the program goes on.
Rule 2: a project file is one below a root that belongs to nobody else: not to a virtual environment, node_modules or a hidden directory.
Rule 3: a .pyc is checked by the second in which its source was saved, so a source of the last seconds is compiled anew, and its cache
neither read nor written.

Message:
  imported: files (project files, absolute), modules (the names of all others, in order), missing (where in the project a module was
    looked for and not found, or only further on, absolute, without an ending; so is the `__init__` of a directory that is a package without
    one, or was passed over), patched (the
    libraries that have replaced parts of others, or do so when they are imported, see PATCHING); at each
    import of a project file, and before the program says that it is ready. Forks (a prefork pool) tell theirs too.
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
PATCHING = (
    "gevent",
    "eventlet",
    "ddtrace",
    "newrelic",
    "opentelemetry.instrumentation",
    "logfire",
    "elasticapm",
    "scout_apm",
    "instana",
    "appdynamics",
)
"""Whoever uses one of these decides what is imported before it, and what after."""
ONCE_ASKED = {"gevent": ("gevent.monkey", "saved"), "eventlet": ("eventlet.patcher", "already_patched")}
"""Those that are often imported only to see whether they are used: where they note what they have replaced."""
FOREIGN = ("node_modules", "site-packages", "dist-packages")


OWN = "devstack"


def own_package() -> "Any":
    """Ours, for `breakpoint()` (`debug.py`), where the project's environment has no devstack."""
    place = os.path.dirname(os.path.dirname(__file__))
    bootstrap = sys.modules["_frozen_importlib_external"]
    return bootstrap.spec_from_file_location(
        OWN, os.path.join(place, "__init__.py"), submodule_search_locations=[place]
    )


class Finder:
    """`hooks` maps a module to what is called with it once it has run. `gate` is where a spare waits."""

    def __init__(self, channel: "Any", roots: "list[str]", hooks: "dict[str, Callable[[Any], None]]") -> None:
        self.channel = channel
        self.roots = tuple(sorted({below(place) for root in roots for place in (root, os.path.realpath(root))}))
        self.others = sorted({below(place) for place in (sys.prefix, sys.base_prefix)})
        self.hooks = hooks
        self.gate: Any = None
        self.untold: dict[str, dict[str, None]] = {"files": {}, "modules": {}, "missing": {}, "patched": {}}
        self.told: set[str] = set()
        self.entries: dict[str, tuple[str, bool]] = {}
        """Those of sys.path: the directory, and whether it is the project's."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if not self.roots and name not in self.hooks and self.gate is None and name != OWN:
            return None
        try:
            if self.gate and self.gate.comes_before(name):
                self.reach(name)
            warming = self.gate and self.gate.warming
            if warming:
                if self.patching(name):
                    warming.refuse(f"it imports {name}, which has to be loaded in its own order")
                warming.asked(name)
            spec = self.find(name, path, target) or (own_package() if name == OWN else None)
            place = self.project_place(spec)
            if place and self.gate:
                self.reach(place)
                spec = self.find(name, path, target)
                place = self.project_place(spec)
        except Exception:
            return None  # The finders behind us say it themselves.
        try:
            if warming and spec is not None:
                warming.watch(name, spec.loader)
            if name in self.hooks and spec is not None:
                self.watch(name, spec.loader)
            self.note(name, path, spec, place)
        except Exception:
            pass
        return spec

    def script(self, path: str) -> None:
        """The program itself is about to be read from `path`."""
        try:
            file = os.path.abspath(path)
            if self.is_project(file):
                self.reach(file)
                self.use(file)
        except Exception:
            pass

    def find(self, name: str, path: "Any", target: "Any") -> "Any":
        for finder in list(sys.meta_path):
            if finder is self:
                continue
            if not hasattr(finder, "find_spec"):  # An old one, as in `six` before 1.16; asked before Python 3.12.
                old: Any = finder
                if sys.version_info < (3, 12) and old.find_module(name, path) is not None:
                    raise LookupError(name)
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
        return None

    def reach(self, place: str) -> None:
        """Before the first use of the project: wait there if this is a spare. What was seen of the disk so far may be out of date then."""
        if self.gate:
            self.gate.stop(place)
            self.gate = None
            for path, importer in list(sys.path_importer_cache.items()):
                if importer is None:
                    sys.path_importer_cache[path] = self.importer(path)  # It may be there by now.
                elif hasattr(importer, "invalidate_caches"):
                    importer.invalidate_caches()

    def importer(self, path: str) -> "Any":
        for hook in sys.path_hooks:
            try:
                return hook(path)
            except ImportError:
                continue
        return None

    # What is told

    def note(self, name: str, path: "Any", spec: "Any", place: str) -> None:
        if spec is None:
            self.miss(name, path)
            return
        if path is None:
            self.pass_over(name, spec)
        if not place:
            self.untold["modules"][name] = None
        elif spec.has_location:
            self.use(place)
            self.refresh(spec.loader, place)
        else:
            for each in spec.submodule_search_locations:
                self.lacks(os.path.join(os.path.abspath(each), "__init__"))
            self.tell()

    def use(self, file: str) -> None:
        """A project file is about to be read."""
        if file not in self.told:
            self.told.add(file)
            self.untold["files"][file] = None
        self.tell()

    def miss(self, name: str, path: "Any") -> None:
        for place in sys.path if path is None else list(path):
            self.lacks(os.path.join(os.path.abspath(place or os.curdir), name.rpartition(".")[2]))

    def pass_over(self, name: str, spec: "Any") -> None:
        """Where in the project it was looked for before it was found elsewhere: what is saved there will go before that."""
        if not spec.has_location and not spec.submodule_search_locations:
            return  # Built in.
        for entry in sys.path:
            if entry not in self.entries:
                directory = os.path.abspath(entry or os.curdir)
                self.entries[entry] = directory, self.is_project(os.path.join(directory, name))
            directory, ours = self.entries[entry]
            if spec.has_location and spec.origin.startswith(directory) and part_of(spec.origin, directory) == name:
                return
            if ours:
                stem = os.path.join(directory, name)
                # One without `__init__` that has other things in it stays passed over.
                self.lacks(os.path.join(stem, "__init__") if os.path.isdir(stem) else stem)

    def lacks(self, stem: str) -> None:
        if stem not in self.told and self.is_project(stem):
            self.told.add(stem)
            self.untold["missing"][stem] = None

    def patching(self, name: str) -> bool:
        return name.startswith(PATCHING) and any(name == each or name.startswith(each + ".") for each in PATCHING)

    def tell(self) -> None:
        for name in patched():
            if name not in self.told:
                self.told.add(name)
                self.untold["patched"][name] = None
        while any(self.untold.values()):
            part = {kind: list(names)[:AT_ONCE] for kind, names in self.untold.items() if names}
            if not self.channel.note("imported", **part):
                return  # With the next one.
            for kind, names in part.items():
                for each in names:
                    self.untold[kind].pop(each, None)  # Another thread may have told it too.

    # What is a project file

    def project_place(self, spec: "Any") -> str:
        """The project file of a module, or the project directory of a package without `__init__`; empty for what is not the project's."""
        if spec is None:
            return ""
        places = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
        return next((place for place in map(os.path.abspath, places) if self.is_project(place)), "")

    def is_project(self, file: str) -> bool:
        file = os.path.normcase(file)
        if not file.startswith(self.roots):
            return False
        root = next(root for root in self.roots if file.startswith(root))
        if any(file.startswith(other) and len(other) > len(root) for other in self.others):
            return False
        parts = file[len(root) :].split(os.sep)[:-1]
        return not any(part in FOREIGN or part.startswith(".") for part in parts)

    def refresh(self, loader: "Any", file: str) -> None:
        """Rule 3. A loader that cannot tell when its source was saved neither reads nor writes a cache."""
        if time.time() - os.stat(file).st_mtime < FRESH and hasattr(loader, "path_stats"):

            def path_stats(path: str) -> "Any":
                loader.__dict__.pop("path_stats", None)  # It looks like any other afterwards.
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


def part_of(file: str, directory: str) -> str:
    """The name of the module in `directory` that `file` belongs to."""
    return file[len(directory) :].lstrip(os.sep).partition(os.sep)[0].partition(".")[0]


def patched() -> "list[str]":
    return [each for each in PATCHING if each in sys.modules and (each not in ONCE_ASKED or has_patched(each))]


def has_patched(library: str) -> bool:
    module, noted = ONCE_ASKED[library]
    return bool(getattr(sys.modules.get(module), noted, None))


def below(place: str) -> str:
    return os.path.normcase(os.path.abspath(place)).rstrip(os.sep) + os.sep
