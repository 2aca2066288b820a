"""As near to a Mac as Linux comes: in every Python that is started with this directory on PYTHONPATH (`bare.PATH`), nothing is there
that only Linux has. `scripts/test.py --bare` runs the tests so, and tests/end_to_end/test_bare.py a few of them always.

- no pidfd: asyncio watches its children with threads, or with SIGCHLD;
- no /proc, for everybody but psutil, which has ways of its own on a Mac. The guardian is started without site-packages, so another program
  takes its place (`bare_guardian.py`);
- multiprocessing and billiard spawn, and no spare is forked;
- no bell that rings when a file changes: somebody looks;
- there is no PR_SET_PDEATHSIG to switch off: devstack does not use it.
"""

import builtins
import importlib.abc
import importlib.machinery
import io
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROC = "/proc"
LOOKS = ("stat", "lstat", "listdir", "scandir", "readlink", "open")


def hides(look):  # type: ignore[no-untyped-def]
    def looking(path=".", *more, **named):  # type: ignore[no-untyped-def]
        if isinstance(path, (str, bytes, os.PathLike)):
            text = os.fsdecode(path)
            if (text == PROC or text.startswith(PROC + "/")) and not for_psutil(sys._getframe(1)):
                raise FileNotFoundError(2, "No such file or directory", path)
        return look(path, *more, **named)

    return looking


def for_psutil(frame):  # type: ignore[no-untyped-def]
    while frame is not None:
        if frame.f_globals.get("__name__", "").split(".")[0] == "psutil":
            return True
        frame = frame.f_back
    return False


class Changing(importlib.abc.MetaPathFinder):
    """Changes some modules when they have been imported."""

    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        change = CHANGES.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path) if change else None
        if not change or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):  # type: ignore[no-untyped-def]
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


def spawning(context):  # type: ignore[no-untyped-def]
    context._default_context = context.DefaultContext(context._concrete_contexts["spawn"])


def other_guardian(guard):  # type: ignore[no-untyped-def]
    guard.PROGRAM = os.path.join(HERE, "bare_guardian.py")


def no_bell(inotify):  # type: ignore[no-untyped-def]
    inotify.bell = lambda places, ring: None


CHANGES = {
    "multiprocessing.context": spawning,
    "billiard.context": spawning,
    "devstack.host.guard": other_guardian,
    "devstack.host.inotify": no_bell,
}

if sys.platform == "linux":
    for name in LOOKS:
        setattr(os, name, hides(getattr(os, name)))
    builtins.open = io.open = hides(io.open)
    if hasattr(os, "pidfd_open"):
        del os.pidfd_open
    os.environ["DEVSTACK_SPARES"] = "spawned"
    sys.meta_path.insert(0, Changing())
