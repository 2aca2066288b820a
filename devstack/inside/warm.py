"""Imports other people's modules into a spare, ahead of the project's own, and tells which of them cannot be.

Rule 1: one that asks for project files or settings, connects, forks or binds a port at its import is skipped, also when it catches that.
Rule 2: so is one that leaves something changed which the program, or what it imports before that module, could notice: the environment,
signal handlers, threads, descriptors, child processes, sys.path and its kin, streams, hooks, atexit, logging, a function of the
standard library that it replaces. Three things too common to refuse are let through: warning filters that are added to those there are,
finders that are appended (six), and functions given to atexit by billiard and the standard library (`weakref.finalize`, for others).
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATCHED = (
    "builtins",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "_thread",
)
"""Modules of the standard library of which others like to replace parts."""
SIGNALS = (2, 4, 6, 8, 11, 15, 21, 22) if sys.platform == "win32" else ()
AT_EXIT = ("billiard", "multiprocess")


class Warming:
    """The gate sets `touched` when a module comes to what it must not, and raises `shut`; so do we. The finder tells what is imported."""

    def __init__(self, wires: "Any", shut: "type[BaseException]", has_children: "Callable[[], bool]") -> None:
        self.wires = wires
        self.shut = shut
        self.has_children = has_children
        self.touched = ""
        self.skipped: dict[str, str] = {}
        """Names, each with a sentence."""
        self.running: list[str] = []
        """The modules that are being imported, each by the one before it."""
        self.bad: dict[str, str] = {}
        """Those that must not be imported, each with a sentence."""
        self.tried: set[str] = set()
        self.absent: set[str] = set()
        """Those that need what is not installed. They needed it in the last run, too, where somebody caught that."""
        self.wires.after_import("django.conf", self.guard_settings)
        self.state = self.look([])

    def all(self, names: "list[str]") -> None:
        for name in names:
            parent = name.rpartition(".")[0]
            if parent in self.skipped:  # It would have to be imported first.
                self.skipped[name] = f"{parent} cannot be imported yet"
            elif name in self.bad:
                self.skipped[name] = self.bad[name]
            elif parent in self.absent:
                self.absent.add(name)
            elif (
                name not in sys.modules and name not in self.tried
            ):  # It cannot be imported here, and somebody has caught that.
                why = self.one(name)
                if why:
                    self.skipped[name] = why

    def one(self, name: str) -> str:
        """Why it cannot be imported yet; empty when it could."""
        self.touched = why = ""
        try:
            __import__(name)
        except self.shut:
            pass
        except BaseException as error:
            if isinstance(error, ImportError) and "partially initialized" not in str(error):
                self.absent.add(name)
            else:
                why = f"{type(error).__name__}: {error}"
        self.running = []
        self.state = self.look([])
        return self.touched or why

    def asked(self, name: str) -> None:
        if name in self.bad:
            self.refuse(f"it imports {name}, and {self.bad[name]}")

    def watch(self, name: str, loader: "Any") -> None:
        """What a module changes is seen when it has run, and whenever it imports another one."""
        self.tried.add(name)
        if isinstance(loader, type):  # Of the interpreter's own modules.
            return
        run = loader.exec_module

        def exec_module(module: "Any") -> None:
            loader.__dict__.pop("exec_module", None)
            above = list(self.running)
            if above:
                self.compare(above[-1], [*above, name])
            self.running.append(name)
            try:
                run(module)
                if self.touched:  # And something has caught what we raised.
                    self.refuse(self.touched)
                self.compare(name, above)
            except self.shut:  # Whoever imports this one later is refused at once.
                self.bad.setdefault(name, self.touched)
                raise
            finally:
                self.running = above

        loader.exec_module = exec_module

    def compare(self, name: str, running: "list[str]") -> None:
        """What has changed since the last look is the doing of `name`."""
        before, self.state = self.state, self.look(running)
        why = changed(name, before, self.state)
        if why:
            self.bad[name] = why
            self.refuse(why)

    def look(self, running: "list[str]") -> "dict[str, Any]":
        return dict(look(running), **{"its child processes": self.has_children()})

    def refuse(self, why: str) -> None:
        self.touched = why
        raise self.shut

    def guard_settings(self, conf: "Any") -> None:
        """There are no settings yet, and it must not go unnoticed when somebody asks for them."""

        def touch(settings: "Any", *_: object) -> None:
            self.refuse("it asks for the settings of the project")

        def is_configured(settings: "Any") -> bool:
            # Django's own signals ask at every `connect`, and do not mind.
            asking = sys._getframe(1)
            while asking.f_back and asking.f_globals.get("__name__") == "django.utils.functional":
                asking = asking.f_back
            if asking.f_globals.get("__name__") != "django.dispatch.dispatcher":
                touch(settings)
            return False

        self.wires.put(conf.LazySettings, "_setup", touch)
        self.wires.put(conf.LazySettings, "configured", property(is_configured))


def look(running: "list[str]") -> "dict[str, Any]":
    """All that a module has to leave alone, by what it is called in a sentence. `running` are those that are not complete yet."""
    import _thread
    import _warnings
    import atexit
    import gc

    signals: Any = __import__("_signal")
    warnings: Any = _warnings
    environment: Any = getattr(os.environ, "_data", os.environ)
    finalize = getattr(sys.modules.get("weakref"), "finalize", None)
    umask = os.umask(0o22)
    os.umask(umask)
    state: dict[str, Any] = {
        "the environment": dict(environment),
        "threads": _thread._count(),
        "open descriptors": descriptors(),
        "signal handlers": [signals.getsignal(number) for number in SIGNALS or range(1, signals.NSIG)],
        "sys.path": list(sys.path),
        "the import system": [list(sys.meta_path), list(sys.path_hooks)],
        "hooks": [sys.excepthook, sys.displayhook, sys.breakpointhook, getattr(sys, "unraisablehook", None)],
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "the working directory": os.getcwd(),
        "the umask": umask,
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()],
        "warning filters": list(warnings.filters),
        "atexit": atexit._ncallbacks() - bool(getattr(finalize, "_registered_with_atexit", False)),
        "names of builtins": sorted(vars(sys.modules["builtins"])),
    }
    whole = set(sys.modules).difference(running)
    if "_locale" in whole:
        locale: Any = sys.modules["_locale"]
        state["the locale"] = locale.setlocale(locale.LC_ALL)
    if "_socket" in whole:
        state["the default timeout"] = sys.modules["_socket"].getdefaulttimeout()
    if "logging" in whole:
        logging: Any = sys.modules["logging"]
        root = logging.root
        state["logging"] = [*root.handlers, root.level, root.manager.disable, logging.getLoggerClass()]
    for name in PATCHED:
        if name in whole:
            state["functions of " + name] = vars(sys.modules[name]).copy()
    return state


def changed(name: str, before: "dict[str, Any]", after: "dict[str, Any]") -> str:
    for what, was in before.items():
        if what not in after:
            continue
        now = after[what]
        if what.startswith("functions of "):
            same = now == was or all(now.get(key) is value for key, value in was.items() if callable(value))
        elif what == "warning filters":
            same = [each for each in now if each in was] == was
        elif what == "the import system":
            same = [new[: len(old)] for old, new in ((was[0], now[0]), (was[1], now[1]))] == was
        elif what == "atexit":
            same = now == was or name.partition(".")[0] in AT_EXIT or is_standard(name)
        else:
            same = now == was
        if not same:
            return f"it changes {what}"
    return ""


def descriptors() -> "set[str]":
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            return {each for each in os.listdir(place) if is_open(int(each))}
        except (OSError, ValueError):
            pass
    return set()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)  # Not the one that lists them.
        return True
    except OSError:
        return False


def is_standard(name: str) -> bool:
    root = name.partition(".")[0]
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None:
        return root in known
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return file.startswith(os.path.dirname(os.__file__) + os.sep) and "site-packages" not in file
