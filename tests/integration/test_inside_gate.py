"""A spare comes to its gate before it uses the project, obeys there, warms what leaves no trace, and is the parent of its forks alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import spares
from tests.support.celery_project import BOOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="spares are forked on Linux alone")

PROGRAM = "import shop\nprint(shop.VERSION, flush=True)\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    (project / "manage.py").write_text(PROGRAM)
    (project / "shop.py").write_text("VERSION = 'old'\n")
    library = project / ".venv"
    library.mkdir()
    return project


def library(place: Path, **modules: str) -> dict[str, str]:
    """Modules that are not the project's, and the environment in which they are found."""
    for name, text in modules.items():
        (place / ".venv" / f"{name}.py").write_text(text)
    (place / ".venv" / "start.py").write_text(
        f"import sys\nsys.path[:0] = [{str(place)!r}, {str(place / '.venv')!r}]\n"
        + modules.get("first", "")
        + "\nimport shop\nprint(shop.VERSION, flush=True)\n"
        + modules.get("last", "")
    )
    return {}


START = ("script", ".venv/start.py")


def over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def until(true: object, within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Where it stops


@pytest.mark.parametrize(
    ("first", "before"),
    [
        ("", "shop.py"),
        ("import importlib.util; importlib.util.find_spec('shop')", "shop.py"),
        ("open('notes.txt').read()", "notes.txt"),
        ("import pathlib; pathlib.Path('.').joinpath('notes.txt').read_text()", "notes.txt"),
        ("from io import open as other; other('notes.txt')", "notes.txt"),
        ("import runpy; runpy.run_path('manage.py')", "manage.py"),
        (
            "from importlib.machinery import SourceFileLoader as S; S('conf', 'shop.py').load_module()",
            "shop.py",
        ),
        ("import namespace", "namespace"),
        ("import os\nif os.fork() == 0: os._exit(0)", "a fork"),
        ("import socket; socket.socket().connect(('127.0.0.1', 1))", "a connection to ('127.0.0.1', 1)"),
        ("import socket; socket.create_server(('127.0.0.1', 1))", "a socket bound to ('127.0.0.1', 1)"),
    ],
)
def test_it_stops_before_it_uses_the_project_or_is_noticed_outside(place: Path, first: str, before: str) -> None:
    (place / "notes.txt").write_text("")
    (place / "namespace").mkdir()
    library(place, first=first)
    with spares.waiting(place, *START) as spare:
        assert str(spare.beacon["gate"]["before"]).removeprefix(f"{place}{os.sep}") == before
        assert spare.beacon["gate"]["pid"] == spare.pid
        assert spare.said("imported") == []


def test_everything_of_the_project_is_read_after_the_save(place: Path) -> None:
    (place / "manage.py").write_text("raise SystemExit('read too early')")
    (place / "later").mkdir()
    with spares.waiting(place, "script", "manage.py") as spare:
        assert spare.warm("json")["skipped"] == []
        (place / "manage.py").write_text(
            "import sys; sys.path.append('later'); import shop, new, json\nprint(shop.VERSION)"
        )
        (place / "shop.py").write_text("VERSION = 'new'")
        (place / "later" / "new.py").write_text("")
        first = spare.fork()
        assert spare.code_of(first) == 0
        (place / "shop.py").write_text("VERSION = 'two'")  # As long as the other, and within the second.
        second = spare.fork()
        assert spare.code_of(second) == 0
        assert (first.output(), second.output()) == (b"new\n", b"two\n")


def test_what_was_seen_of_the_disk_before_the_gate_is_looked_at_again(place: Path) -> None:
    """Importers remember what is in a directory until it changes, by its time, and for ever that there is none."""
    later = place / "later"
    first = f"import sys; sys.path.append({str(later)!r})\ntry:\n    import absent\nexcept ImportError:\n    pass"
    library(place, first=first, last="import new, newer; print('found')")
    with spares.waiting(place, *START) as spare:
        before = place.stat()
        (place / "new.py").write_text("")
        later.mkdir()
        (later / "newer.py").write_text("")
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        run = spare.fork()
        assert spare.code_of(run) == 0, run.output()
        assert run.output() == b"old\nfound\n"


def test_a_configuration_file_that_is_loaded_by_its_path_is_new_too(place: Path) -> None:
    """Its cache would have been compared with the time of saving that was looked up before the gate."""
    first = "import importlib.util as u\ns = u.spec_from_file_location('conf', 'shop.py')\nm = u.module_from_spec(s)\n"
    library(place, first=first + "s.loader.exec_module(m)\nprint(m.VERSION, flush=True)")
    (place / "shop.py").write_text("VERSION = 'old'")
    os.utime(place / "shop.py", (1, 1))
    subprocess.run([sys.executable, *("-m", "compileall", "-q", "shop.py")], cwd=place, check=True)
    with spares.waiting(place, *START) as spare:
        (place / "shop.py").write_text("VERSION = 'new'")
        run = spare.fork()
        assert spare.code_of(run) == 0, run.output()
        assert run.output() == b"new\nnew\n"
        assert run.message("imported")["files"] == [str(place / "shop.py")]


def test_a_library_that_patches_others_is_neither_used_nor_warmed(place: Path) -> None:
    library(place, first="import gevent", gevent="")
    with spares.waiting(place, *START) as spare:
        assert spare.message("unsafe")["use"] == "never"
    asks = "try:\n    import gevent\nexcept ImportError:\n    pass"
    library(place, gevent="", asks=asks)
    with spares.waiting(place, *START) as spare:
        told = spare.warm("json", "gevent", "gevent.monkey", "asks", "decimal")
        assert told["skipped"] == ["asks"]
        assert told["reasons"] == ["it imports gevent, which has to be loaded in its own order"]
        assert spare.use == "fork"


# Warming


BAD = {
    "project": "import shop",
    "swallows": "try:\n    import shop\nexcept BaseException:\n    pass",
    "reads": "open('shop.py')",
    "settings": "from django.conf import settings\nsettings.DEBUG",
    "asks_settings": "from django.conf import settings\nif settings.configured: pass",
    "environment": "import os; os.environ['X'] = 'y'",
    "thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "descriptor": "import os; held = os.open('/dev/null', 0)",
    "pipe": "import os; held = os.pipe()",
    "connects": "import socket; socket.socket().connect(('127.0.0.1', 1))",
    "binds": "import socket; socket.socket().bind(('127.0.0.1', 1))",
    "child": "import subprocess; held = subprocess.Popen(['sleep', '60'])",
    "forks": "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
    "signals": "import signal; signal.signal(signal.SIGUSR1, print)",
    "filters": "import warnings; warnings.resetwarnings()",
    "exits": "import atexit; atexit.register(print)",
    "path": "import sys; sys.path.insert(0, '/nowhere')",
    "finder": "import sys; sys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a: None}))",
    "hook": "import sys; sys.excepthook = print",
    "stream": "import sys, io; sys.stdout = io.StringIO()",
    "directory": "import os; os.chdir('/')",
    "umask": "import os; os.umask(0o77)",
    "recursion": "import sys; sys.setrecursionlimit(3000)",
    "collector": "import gc; gc.disable()",
    "builtin": "import builtins; builtins._ = print",
    "patch": "import time; time.sleep = print",
    "logs": "import logging; logging.basicConfig()",
    "timeout": "import socket; socket.setdefaulttimeout(3)",
    "leaves": "raise SystemExit",
    "breaks": "1/0",
}
GOOD = {
    "appends": "import sys; sys.meta_path.append(type('F', (), {'find_spec': lambda *a: None}))",
    "adds": "import warnings; warnings.filterwarnings('ignore', message='x')",
    "probes": "import socket\nwith socket.socket() as s: s.bind(('127.0.0.1', 0))",
    "runs": "import subprocess; subprocess.run(['true'], check=True)",
    "looks": "from django.dispatch import Signal; Signal().connect(print)",
    "tries": "try:\n    import breaks\nexcept ZeroDivisionError:\n    pass",
}


@pytest.mark.parametrize("name", BAD)
def test_a_module_that_would_leave_a_trace_is_skipped_and_so_is_what_imports_it(place: Path, name: str) -> None:
    library(place, **BAD, user=f"import json\nimport {name}", other="import decimal")
    env = {"PYTHONPATH": ""}
    with spares.waiting(place, *START, env=env) as spare:
        warmed = spare.warm("json", "user", name, "other")
        assert warmed["skipped"] == (["user"] if name in ("leaves", "breaks") else ["user", name]), warmed
        reasons = warmed["reasons"]
        assert isinstance(reasons, list)
        assert all(reasons)
        assert not spare.process.poll()


@pytest.mark.parametrize("name", GOOD)
def test_what_is_too_common_to_refuse_is_let_through(place: Path, name: str) -> None:
    library(place, **GOOD, breaks="1/0")
    with spares.waiting(place, *START) as spare:
        assert spare.warm(name, "breaks")["skipped"] == ([] if name == "tries" else ["breaks"])


def test_without_what_was_skipped_the_next_spare_is_clean_at_once(place: Path) -> None:
    """However deep the culprits are: nobody who imports one of them is tried again."""
    library(place, **BAD, a="import b", b="import c, environment", c="import json", d="import a", e="import hook, c")
    names = ("a", "b", "environment", "c", "json", "d", "e", "hook")
    with spares.waiting(place, *START) as spare:
        skipped = spare.warm(*names)["skipped"]
        assert skipped == ["a", "b", "environment", "d", "e", "hook"]
    with spares.waiting(place, *START) as spare:
        assert spare.warm(*(name for name in names if name not in skipped))["skipped"] == []


def test_what_was_warmed_is_what_the_program_gets(place: Path) -> None:
    library(place, tool="import os; PID = os.getpid(); loaded = 1", last="import tool; print(tool.PID)")
    with spares.waiting(place, *START) as spare:
        assert spare.warm("tool")["modules"] == 1
        run = spare.go()
        assert run.process.wait(20) == 0
        assert run.output() == b"old\n%d\n" % spare.pid


# Whether it can be forked


@pytest.mark.parametrize(
    "first",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import os; held = os.pipe()",
        "import socket; held = socket.socket()",
        "import select; held = select.epoll()",
        "import tempfile; held = tempfile.TemporaryFile()",
        "import multiprocessing; held = multiprocessing.get_context('spawn').Lock()",
        "import mmap; held = mmap.mmap(-1, 4096)",
        "import subprocess; held = subprocess.Popen(['sleep', '60'])",
        "import os; first_pid = os.getpid()\nimport keeper",
    ],
)
def test_what_forks_would_share_makes_it_good_for_one_use(place: Path, first: str) -> None:
    library(place, first=first, keeper="import os; my_pid = os.getpid()")
    with spares.waiting(place, *START) as spare:
        spare.warm()
        assert spare.use == "once", spare.beacon
        run = spare.go()
        until(lambda: b"old" in run.output())


# Forks


def test_a_spare_can_be_forked_again_and_again_and_tells_each_end(place: Path) -> None:
    (place / "manage.py").write_text("import os, signal, sys\nos.kill(os.getpid(), signal.SIGKILL) if VERSION else 0\n")
    ends = {"import sys; sys.exit(3)": 3, "import os; os.kill(os.getpid(), 15)": -15, "1/0": 1, "pass": 0}
    with spares.waiting(place, "script", "manage.py") as spare:
        for text, code in ends.items():
            (place / "manage.py").write_text(text)
            assert spare.code_of(spare.fork()) == code
        assert len(spare.said("ended")) == 4


def test_the_spare_is_invisible_to_its_forks_and_they_to_each_other(place: Path) -> None:
    (place / "manage.py").write_text("import sys, time; print('up', flush=True); time.sleep(60)")
    with spares.waiting(place, "script", "manage.py") as spare:
        one, two = spare.fork("node=b"), spare.fork()
        assert len({spare.pid, one.pid, two.pid}) == 3
        for run in (one, two):
            until(lambda run=run: run.output() == b"up\n")
            assert os.getsid(run.pid) == os.getpgid(run.pid) == run.pid
            assert Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text() == ""
            opened = [os.readlink(each) for each in Path(f"/proc/{run.pid}/fd").iterdir()]
            assert len([each for each in opened if each.startswith("socket:")]) == 1
        os.killpg(one.pid, signal.SIGTERM)
        assert spare.code_of(one) == -signal.SIGTERM
        assert not over(two.pid)
        one.end_of_line()


def test_node_and_listeners_come_along(place: Path) -> None:
    (place / "manage.py").write_text(
        "import gc, socket\nchannel = next(o for o in gc.get_objects() if type(o).__name__ == 'Channel')\n"
        "print(channel.node, [socket.socket(fileno=n).getsockname()[1] for n in channel.listeners])\n"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        spares.waiting(place, "script", "manage.py") as spare,
    ):
        ports = [each.getsockname()[1] for each in (one, two)]
        run = spare.go("node=b listen=2", [one.fileno(), two.fileno()])
        assert run.process.wait(20) == 0, run.output()
        assert run.output().decode() == f"b {ports}\n"


def test_a_fork_gets_its_own_listeners_and_the_spare_keeps_none(place: Path) -> None:
    (place / "manage.py").write_text(
        "import os, time; print(len(os.listdir('/proc/self/fd')), flush=True); time.sleep(60)"
    )
    with socket.create_server(("127.0.0.1", 0)) as one, spares.waiting(place, "script", "manage.py") as spare:
        spare.warm()
        before = len(os.listdir(f"/proc/{spare.pid}/fd"))
        without = spare.fork()
        run = spare.fork("listen=1", [one.fileno()])
        until(lambda: run.output() and without.output())
        assert int(run.output()) == int(without.output()) + 1
        assert len(os.listdir(f"/proc/{spare.pid}/fd")) == before + 2  # It hears of their ends by those.


def test_after_quit_it_stays_until_its_last_fork_has_ended(place: Path) -> None:
    (place / "manage.py").write_text("import time; time.sleep(60)")
    with spares.waiting(place, "script", "manage.py") as spare:
        one, two = spare.fork(), spare.fork()
        spare.order("quit")
        one.kill()
        assert spare.code_of(one) == -signal.SIGKILL
        assert spare.process.poll() is None
        two.kill()
        assert spare.code_of(two) == -signal.SIGKILL
        assert spare.process.wait(20) == 0


@pytest.mark.parametrize("how", ["quit", "the supervisor is gone"])
def test_it_ends_silently_and_at_once(place: Path, how: str) -> None:
    library(place, first="import atexit; atexit.register(print, 'not this'); print('nor this')")
    with spares.waiting(place, *START, env={"PYTHONUNBUFFERED": ""}) as spare:
        if how == "quit":
            spare.order("quit")
        else:
            spare._line.shutdown(socket.SHUT_RDWR)
        assert spare.process.wait(20) == 0
        assert spare.output() == b""


def test_what_was_printed_before_the_gate_is_printed_once(place: Path) -> None:
    library(place, first="print('banner')", last="print('end')")
    with spares.waiting(place, *START, env={"PYTHONUNBUFFERED": ""}) as spare:
        run = spare.fork()
        assert spare.code_of(run) == 0
        assert spare.output() == b"banner\n"
        assert run.output() == b"old\nend\n"


def test_while_it_waits_it_costs_no_time(place: Path) -> None:
    with spares.waiting(place, "script", "manage.py") as spare:
        spare.warm("json")
        stat = Path(f"/proc/{spare.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
        before = stat.read_text().rpartition(")")[2].split()[11:13]
        assert not spare.said("heartbeat")
        time.sleep(0.3)  # Nothing is waited for: this is the time in which it must do nothing.
        assert stat.read_text().rpartition(")")[2].split()[11:13] == before


@pytest.mark.parametrize(
    "order", ["", "nonsense", "fork", "warm", "go_", "\x00", "fork node=b", "warm ../x . .. a..b é"]
)
def test_orders_that_are_none_change_nothing(place: Path, order: str) -> None:
    with spares.waiting(place, "script", "manage.py") as spare:
        spare.order(order)
        assert spare.code_of(spare.fork()) == 0


def test_what_is_warmed_after_a_fork_would_come_too_late(place: Path) -> None:
    """The wires are lifted then; it does no harm to ask."""
    with spares.waiting(place, "script", "manage.py") as spare:
        assert spare.code_of(spare.fork()) == 0
        assert spare.warm("decimal")["modules"] == 0
        assert spare.use == "fork"
        assert spare.code_of(spare.fork()) == 0


def test_no_end_is_missed_however_many_come_at_once(place: Path) -> None:
    (place / "manage.py").write_text("")
    with spares.waiting(place, "script", "manage.py") as spare:
        runs = [spare.fork() for _ in range(40)]
        assert {spare.code_of(run) for run in runs} == {0}
        assert len(spare.said("ended")) == 40


def test_it_is_not_let_go_while_forks_of_it_live(place: Path) -> None:
    (place / "manage.py").write_text("import time; time.sleep(60)")
    with spares.waiting(place, "script", "manage.py") as spare:
        run = spare.fork()
        spare.go()
        run.kill()
        assert spare.code_of(run) == -signal.SIGKILL
        assert spare.process.poll() is None


def test_a_spare_that_nobody_can_tell_to_wait_does_not_run_at_all(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(BOOT), "script", "manage.py"],
        cwd=place,
        env={**os.environ, "DEVSTACK_STANDBY": "1", "DEVSTACK_CHANNEL": "nonsense"},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
