"""Imports other people's modules into a spare, ahead of the project's own, and tells which of them cannot be.

Rule 1: one that asks for project files or settings, connects, forks or binds a port at its import is skipped, also when it catches that.
Rule 2: so is one that leaves something changed which the program, or what it imports before that module, could notice: the environment,
signal handlers, threads, descriptors, child processes, sys.path and its kin, streams, hooks, atexit, logging, a function of the standard
library that it replaces. Two things too common to refuse are let through: warning filters that are added to those there are, and functions
given to atexit by the standard library itself and by billiard.
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
AT_EXIT = ("billiard", "multiprocess")


class Warming:
    """`touched` is set by the gate when a module comes to what it must not; `shut` is what is raised then."""

    def __init__(self, wires: "Any", shut: "type[BaseException]", has_children: "Callable[[], bool]") -> None:
        self.wires = wires
        self.has_children = has_children
        self.shut = shut
        self.touched = ""
        self.skipped: dict[str, str] = {}
        """Names, each with a sentence."""
        self.wires.after_import("django.conf", self.guard_settings)

    def all(self, names: "list[str]") -> None:
        self.state = look()
        for name in names:
            parent = name.rpartition(".")[0]
            if parent in self.skipped:  # It would have to be imported first.
                self.skipped[name] = f"{parent} cannot be imported yet"
            elif name not in sys.modules:
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
            why = f"{type(error).__name__}: {error}"
        if self.touched:
            return f"it asks for {self.touched}"
        if self.has_children():
            return "it starts another process"
        before, self.state = self.state, look()
        return why or changed(name, before, self.state)

    def guard_settings(self, conf: "Any") -> None:
        """There are no settings yet, and it must not go unnoticed when somebody asks for them."""

        def touch(settings: "Any", *_: object) -> None:
            self.touched = "the settings of the project"
            raise self.shut

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


def look() -> "dict[str, Any]":
    """All that a module has to leave alone, by what it is called in a sentence."""
    import _thread
    import _warnings
    import atexit
    import gc

    signals: Any = __import__("_signal")
    warnings: Any = _warnings
    umask = os.umask(0o22)
    os.umask(umask)
    state: dict[str, Any] = {
        "the environment": dict(os.environ),
        "threads": _thread._count(),
        "open descriptors": descriptors(),
        "signal handlers": [signals.getsignal(number) for number in range(1, signals.NSIG) if is_signal(number)],
        "sys.path": list(sys.path),
        "the import system": [list(sys.meta_path), list(sys.path_hooks)],
        "hooks": [sys.excepthook, sys.displayhook, sys.breakpointhook, getattr(sys, "unraisablehook", None)],
        "streams": [sys.stdin, sys.stdout, sys.stderr],
        "the working directory": os.getcwd(),
        "the umask": umask,
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()],
        "warning filters": list(warnings.filters),
        "atexit": atexit._ncallbacks(),
        "names of builtins": sorted(vars(sys.modules["builtins"])),
    }
    if "_locale" in sys.modules:
        locale: Any = sys.modules["_locale"]
        state["the locale"] = locale.setlocale(locale.LC_ALL)
    if "_socket" in sys.modules:
        state["the default timeout"] = sys.modules["_socket"].getdefaulttimeout()
    if "logging" in sys.modules:
        logging: Any = sys.modules["logging"]
        root = logging.root
        state["logging"] = [*root.handlers, root.level, root.manager.disable, logging.getLoggerClass()]
    for name in PATCHED:
        if name in sys.modules:
            state["functions of " + name] = dict(vars(sys.modules[name]))
    return state


def changed(name: str, before: "dict[str, Any]", after: "dict[str, Any]") -> str:
    for what, was in before.items():
        now = after.get(what)
        if what.startswith("functions of "):
            same = now is not None and all(now.get(key) is value for key, value in was.items() if callable(value))
        elif what == "warning filters":
            same = now is not None and [each for each in now if each in was] == was
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


def is_signal(number: int) -> bool:
    return sys.platform != "win32" or number in (2, 4, 6, 8, 11, 15, 21, 22)


def is_standard(name: str) -> bool:
    root = name.partition(".")[0]
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None:
        return root in known
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return file.startswith(os.path.dirname(os.__file__) + os.sep) and "site-packages" not in file
