"""A program out of a spare sees the same facts as one that was started cold, apart from the lists in the docstrings of boot and gate."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_inside_boot import NASTY, plain
from tests.support import spares

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="spares are forked on Linux; being let go is the same there"
)

TOOL = """\
import atexit, os, signal, sys, warnings
from io import open as kept
class Keeps:
    kept = open
print("before the project")
print("and to stderr", file=sys.stderr)
atexit.register(lambda: print("the tool ends"))
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGCHLD, lambda *_: print("a child"))
warnings.filterwarnings("ignore", message="tool")
import shop
shop.main()
"""
"""Not the project's: this much has run when a spare comes to its gate."""
SHOP = """\
import _frozen_importlib_external, _io, atexit, builtins, gc, io, json, locale, os, random, resource, runpy, signal, socket
import subprocess, sys, threading, traceback, warnings
import multiprocessing

def child(queue):
    queue.put([os.getppid() == PID, multiprocessing.parent_process().pid == PID])

PID = os.getpid()

def reads(file):
    with open(file) as opened:
        return opened.read()

def attempt(what, *words):
    try:
        return what(*words)
    except BaseException as error:
        return repr(error)

def main():
    shop_code = main.__code__
    facts = {
        "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "flags": repr(sys.flags), "env": dict(os.environ),
        "environ_block": {n for n in os.environ if os.getenv(n) is None} == set(),
        "main": [sys.modules["__main__"].__name__, sys.modules["__main__"].__file__, sorted(vars(sys.modules["__main__"]))],
        "cwd": os.getcwd(), "path": sys.path, "meta_path": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
        "importers": {p: repr(type(f)) for p, f in sys.path_importer_cache.items() if "inside" not in p},
        "path_hooks": [repr(h).split(" at ")[0] for h in sys.path_hooks],
        "handlers": [repr(signal.getsignal(n)).split(" at ")[0] for n in range(1, 32)],
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "wakeup": signal.set_wakeup_fd(-1),
        "umask": os.umask(0o22), "limits": [resource.getrlimit(n) for n in range(16)],
        "leader": [os.getsid(0) == PID, os.getpgrp() == PID, attempt(os.tcgetpgrp, 0)],
        "priority": os.getpriority(os.PRIO_PROCESS, 0), "affinity": sorted(os.sched_getaffinity(0)),
        "stdin": [os.readlink("/proc/self/fd/0"), sys.stdin.read(), sys.stdin.isatty()],
        "stdout": [sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering, sys.stdout.isatty(), sys.stdout.fileno()],
        "stderr": [sys.stderr.encoding, sys.stderr.line_buffering, sys.stderr.fileno(), os.fstat(1).st_ino == os.fstat(2).st_ino],
        "inheritable": [n for n in map(int, os.listdir("/proc/self/fd")) if n > 2 and attempt(os.get_inheritable, n) is True],
        "fds": len(os.listdir("/proc/self/fd")),
        "command": reads("/proc/self/cmdline").split("\\0")[-2:],
        "warnings": [repr(f) for f in warnings.filters], "warnoptions": sys.warnoptions, "xoptions": sys._xoptions,
        "hooks": [h.__qualname__ for h in (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook)],
        "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(), "gc": [gc.isenabled(), gc.get_threshold()],
        "locale": locale.setlocale(locale.LC_ALL), "timeout": socket.getdefaulttimeout(),
        "threads": [threading.active_count(), threading.main_thread() is threading.current_thread(),
                    threading.main_thread().native_id == PID, len(os.listdir("/proc/self/task"))],
        "start_method": multiprocessing.get_start_method(),
        "nothing_replaced": [open is io.open is _io.open is builtins.open, type(open).__name__, type(io.open_code).__name__,
            _io.open_code is io.open_code, "connect" in vars(socket.socket),
            getattr(socket.socket.bind, "__code__", shop_code).co_filename.endswith("wires.py"),
            _frozen_importlib_external.SourceLoader.get_code.__code__.co_filename,
            [(n, k) for n, m in list(sys.modules.items()) for k, v in list(vars(m).items())
             if getattr(getattr(v, "__code__", None), "co_filename", "").endswith(("wires.py", "gate.py", "warm.py"))]],
        "kept": [type(vars(sys.modules["__main__"]).get("kept")).__name__,
            type(getattr(vars(sys.modules["__main__"]).get("Keeps"), "kept", None)).__name__],
        "loader": sorted(vars(__spec__.loader)), "cached": __cached__, "spec": __spec__.name,
        "no_children": attempt(os.waitpid, -1, os.WNOHANG),
        "active": multiprocessing.active_children(),
        "subprocess": subprocess.run([sys.executable, "-c", "import os; print('DEVSTACK_ROOTS' in os.environ)"],
            capture_output=True, text=True).stdout,
        "dispositions": [line for line in reads("/proc/self/status").splitlines()
            if line.startswith(("SigB", "SigC", "SigI", "NoNewPrivs", "Seccomp"))],
        "depth": len(traceback.extract_stack()),
        "modules": list(sys.modules),
        "random": random.random(),
        "traced": [repr(sys.gettrace()), repr(sys.getprofile())],
        "tree": reads(f"/proc/self/task/{PID}/children").split(),
    }
    queue = multiprocessing.get_context("fork").SimpleQueue()
    process = multiprocessing.get_context("fork").Process(target=child, args=(queue,))
    process.start()
    facts["forked"] = queue.get()
    process.join()
    facts["exit"] = process.exitcode
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    facts["waited"] = os.waitpid(-1, 0)[1]
    with open(os.environ["FACTS"], "w") as file:
        json.dump(facts, file)
    atexit.register(lambda: print("the project ends"))
    sys.stdout.write("not flushed, no newline ")
    warnings.warn("tool, unseen")
    warnings.warn("shop, seen", UserWarning)
    thread = threading.Thread(target=lambda: print("a thread"))
    thread.start()
    thread.join()
    {}["missing"]
"""
FLAGS: list[list[str]] = [[], ["-O", "-B", "-u"], ["-W", "error::DeprecationWarning", "-X", "dev"], ["-s", "-E"]]
OURS = {"_socket", "gc", "atexit", "encodings.ascii"}
HOW = ["boot", "go", "fork", "second fork"]


def environment(place: Path) -> dict[str, str]:
    return {"FACTS": str(place / "facts.json"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def taken(place: Path, said: str) -> dict[str, object]:
    assert (place / "facts.json").exists(), said
    facts = json.loads((place / "facts.json").read_text())
    (place / "facts.json").unlink()
    assert isinstance(facts, dict)
    return facts


def cold(command: list[str], place: Path) -> tuple[dict[str, object], int, str]:
    """Facts, exit code and output of a cold start without us, as the supervisor would make it."""
    env = {**os.environ, **environment(place)}
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        command,
        cwd=place,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        timeout=60,
    )
    said = done.stdout.decode()
    return taken(place, said), done.returncode, said


def out_of(
    how: str, place: Path, flags: list[str], *words: str, warm: tuple[str, ...] = ()
) -> tuple[dict[str, object], int, str]:
    with spares.made(place, *words, env=environment(place), flags=flags, standby=how != "boot") as spare:
        if how != "boot":
            spare.message("gate")
            assert spare.warm(*warm)["skipped"] == []
            assert spare.use == "fork", spare.beacon
        if how == "go":
            spare.go()
        if how in ("boot", "go"):
            code, said = spare.process.wait(30), spare.output().decode()
            return taken(place, said), code, said
        run = spare.fork()
        code = spare.code_of(run)
        if how == "second fork":
            first = taken(place, run.output().decode())
            run = spare.fork()
            code = spare.code_of(run)
            assert first["random"] != json.loads((place / "facts.json").read_text())["random"]
        assert spare.process.poll() is None
        said = (spare.output() + run.output()).decode()
        return taken(place, said), code, said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "tool").write_text(TOOL)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "manage.py").write_text("import shop\nshop.main()\n")
    return tmp_path


def assert_same(without: dict[str, object], through: dict[str, object], allowed: set[str]) -> None:
    assert set(without) == set(through)
    different = {key for key in without if without[key] != through[key]}
    assert different <= allowed, {key: (without[key], through[key]) for key in different - allowed}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "no flags")
@pytest.mark.parametrize(
    "words", [("script", "manage.py"), ("script", ".venv/tool"), ("module", "manage")], ids=" ".join
)
def test_a_nasty_program_sees_the_same_facts(place: Path, flags: list[str], words: tuple[str, str], how: str) -> None:
    if words[1] == ".venv/tool":  # As an installed script finds the project: the working directory is on the path.
        (place / ".venv" / "tool").write_text("import os, sys\nsys.path.insert(0, os.getcwd())\n" + TOOL)
    without, code, said = cold(plain(flags, *words, "a", "ü b"), place)
    through, through_code, through_said = out_of(how, place, flags, *words, "a", "ü b")

    modules, loaded = without.pop("modules"), through.pop("modules")
    assert isinstance(modules, list)
    assert isinstance(loaded, list)
    assert [each for each in loaded if each not in OURS] == [each for each in modules if each not in OURS]
    assert through["meta_path"] == ["Finder", *without["meta_path"]]  # type: ignore[misc]
    assert int(str(through["fds"])) - int(str(without["fds"])) == 1
    assert 0 < int(str(through["depth"])) - int(str(without["depth"])) <= 4
    assert_same(without, through, {"meta_path", "fds", "depth", "random"})
    assert through_code == code == 1
    assert sorted(through_said.splitlines()) == sorted(said.splitlines())
    assert said.count("before the project") == through_said.count("before the project")
    # The project's own end comes before the tool's, whatever else.
    ends = re.compile("the (?:project|tool) ends")
    assert ends.findall(through_said) == ends.findall(said)


@pytest.mark.parametrize("how", ["go", "fork"])
@pytest.mark.parametrize("flags", [[], ["-I"], ["-P"]], ids=lambda flags: " ".join(flags) or "no flags")
@pytest.mark.parametrize("what", ["nasty.py", "deep/../nasty.py", "link.py", "package", "{}/nasty.py"])
def test_however_the_script_is_named_it_is_the_same_main_module(
    tmp_path: Path, what: str, flags: list[str], how: str
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "real.py").write_text(NASTY)
    (tmp_path / "link.py").symlink_to(tmp_path / "deep" / "real.py")
    (tmp_path / "nasty.py").write_text(NASTY)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(NASTY)
    what = what.format(tmp_path)
    without, *_ = cold(plain(flags, "script", what, "a"), tmp_path)
    through, *_ = out_of(how, tmp_path, flags, "script", what, "a")
    modules, loaded = without.pop("modules"), through.pop("modules")
    assert set(loaded) - set(modules) <= OURS  # type: ignore[call-overload]
    assert_same(without, through, {"meta_path", "fds", "depth"})


def test_without_boot_the_test_itself_sees_no_difference(place: Path) -> None:
    one, code, _ = cold(plain([], "script", "manage.py"), place)
    two, again, _ = cold(plain([], "script", "manage.py"), place)
    assert code == again
    assert_same(one, two, {"random"})


@pytest.mark.parametrize("how", ["go", "fork"])
def test_warmed_modules_change_nothing_but_the_order_of_modules_and_filters(place: Path, how: str) -> None:
    warm = (
        "json",
        "decimal",
        "logging.config",
        "concurrent.futures.thread",
        "urllib.request",
        "sqlite3",
        "asyncio",
        "celery",
    )
    without, code, said = cold(plain([], "script", "manage.py"), place)
    through, through_code, through_said = out_of(how, place, [], "script", "manage.py", warm=warm)
    assert set(without.pop("modules")) <= set(through.pop("modules"))  # type: ignore[call-overload]
    assert_same(without, through, {"meta_path", "fds", "depth", "random", "importers", "warnings"})
    assert set(without["importers"]) <= set(through["importers"])  # type: ignore[call-overload]
    assert (through_code, through_said) == (code, said)
