"""A program sees the same through `inside/boot` as without it, apart from the list in boot's docstring."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.celery_project import BOOT, booted_program

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the channel is a descriptor here; the TCP form has its own test"
)

NASTY = '''\
# -*- coding: utf-8 -*-
"""The facts that a program can see of how it was started."""
import atexit, gc, json, os, pickle, sys
main = sys.modules["__main__"]
facts = {
    "modules": sorted(sys.modules),
    "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "executable": sys.executable,
    "path": sys.path, "importer_cache": sorted(sys.path_importer_cache), "cwd": os.getcwd(),
    "name": __name__, "file": globals().get("__file__"), "package": __package__, "doc": __doc__,
    "spec": repr(__spec__).split(" object at ")[0], "origin": getattr(__spec__, "origin", None),
    "loader": repr(type(__loader__)), "loader_path": getattr(__loader__, "path", None),
    "main_names": sorted(vars(main)), "main_is_us": vars(main) is globals(), "main": repr(main),
    "env": dict(os.environ), "flags": repr(sys.flags), "warnoptions": sys.warnoptions, "xoptions": sys._xoptions,
    "filters": [repr(f) for f in __import__("warnings").filters],
    "excepthook": sys.excepthook is sys.__excepthook__, "displayhook": sys.displayhook is sys.__displayhook__,
    "stdin": [sys.stdin.isatty(), sys.stdin.encoding],
    "stdout": [sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering],
    "meta_path": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
    "path_hooks": len(sys.path_hooks), "recursion": sys.getrecursionlimit(), "gc": [gc.isenabled(), gc.get_threshold()],
    "tracing": [repr(sys.gettrace()), repr(sys.getprofile())],
    "code": compile.__class__.__name__ and sys._getframe().f_code.co_filename, "text": "größe",
}
def is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False
facts["fds"] = [fd for fd in range(256) if is_open(fd)]
import signal, threading
facts["threads"] = [t.name for t in threading.enumerate()]
facts["signals"] = {s: repr(signal.getsignal(s)) for s in (1, 2, 13, 15)}
facts["umask"] = os.umask(0o22)
depth, frame = 0, sys._getframe()
while frame:
    depth, frame = depth + 1, frame.f_back
facts["depth"] = depth

class Thing:
    pass

if __name__ == "__main__":
    import inspect
    facts["pickled"] = pickle.dumps(Thing()).hex()
    facts["unpickled"] = type(pickle.loads(pickle.dumps(Thing()))).__module__
    facts["source"] = inspect.getsource(Thing)
    def last(facts=facts, json=json, sys=sys):
        facts["at_exit"] = [sorted(vars(sys.modules["__main__"]))]
        with open(os.environ["FACTS"], "w") as file:
            json.dump(facts, file)
    atexit.register(last)
    if len(sys.argv) > 1 and sys.argv[1] == "exit":
        sys.exit(int(sys.argv[2]))
'''
ALLOWED = {"fds", "depth", "meta_path"}
FLAGS = [[], ["-O", "-B", "-u"], ["-W", "error", "-X", "dev"], ["-I"], ["-s", "-E"], ["-P"]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "nasty.py").write_text(NASTY)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("import sys; seen = list(sys.argv)")
    (package / "__main__.py").write_text(NASTY)
    (package / "tool.py").write_text(NASTY)
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "real.py").write_text(NASTY)
    (tmp_path / "link.py").symlink_to(deep / "real.py")
    with zipfile.ZipFile(tmp_path / "packed.pyz", "w") as archive:
        archive.writestr("__main__.py", NASTY)
    return tmp_path


def plain(flags: list[str], how: str, what: str, *words: str) -> list[str]:
    return [sys.executable, *flags, *(["-m"] if how == "module" else []), what, *words]


def through_boot(flags: list[str], how: str, what: str, *words: str) -> list[str]:
    return [sys.executable, *flags, str(BOOT), how, what, *words]


def run(command: list[str], cwd: Path, channel: bool = True) -> tuple[subprocess.CompletedProcess[bytes], list[bytes]]:
    """The finished process, and the lines it said on its channel."""
    environment = {**os.environ, "FACTS": str(cwd / "facts.json"), "PYTHONHASHSEED": "0"}
    for name in ("PYTHONPATH", "DEVSTACK_CHANNEL", "COVERAGE_PROCESS_START"):
        environment.pop(name, None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if channel:
            environment["DEVSTACK_CHANNEL"] = f"fd:{theirs.fileno()}"
        fds = (theirs.fileno(),) if channel else ()
        done = subprocess.run(
            command, cwd=cwd, env=environment, pass_fds=fds, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
        )
        theirs.close()
        said = b""
        while chunk := ours.recv(65536):
            said += chunk
    return done, said.splitlines()


def facts_of(command: list[str], cwd: Path, channel: bool) -> dict[str, object]:
    done, _ = run(command, cwd, channel)
    assert done.returncode == 0, done.stderr.decode()
    facts = json.loads((cwd / "facts.json").read_text())
    (cwd / "facts.json").unlink()
    assert isinstance(facts, dict)
    return facts


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "no flags")
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("script", "nasty.py"),
        ("script", "./nasty.py"),
        ("script", "deep/../nasty.py"),
        ("script", "{}/nasty.py"),
        ("script", "link.py"),
        ("script", "package"),
        ("script", "packed.pyz"),
        ("module", "nasty"),
        ("module", "package"),
        ("module", "package.tool"),
    ],
)
def test_a_nasty_program_sees_the_same_facts(place: Path, flags: list[str], how: str, what: str) -> None:
    if how == "module" and ("-I" in flags or "-P" in flags):
        pytest.skip("modules of the working directory cannot be found with these flags")
    what = what.format(place)
    without = facts_of(plain(flags, how, what, "a", "ü b"), place, channel=False)
    through = facts_of(through_boot(flags, how, what, "a", "ü b"), place, channel=True)

    different = {key for key in without if without[key] != through[key]}
    assert different <= ALLOWED, {key: (without[key], through[key]) for key in different - ALLOWED}
    assert len(through["fds"]) - len(without["fds"]) == 1  # type: ignore[arg-type]
    assert through["meta_path"] == ["Finder", *without["meta_path"]]  # type: ignore[misc]
    assert 0 < int(str(through["depth"])) - int(str(without["depth"])) <= 4


def test_without_a_channel_nothing_at_all_is_hooked(place: Path) -> None:
    without = facts_of(plain([], "script", "nasty.py"), place, channel=False)
    through = facts_of(through_boot([], "script", "nasty.py"), place, channel=False)
    assert {key for key in without if without[key] != through[key]} == {"depth"}


ENDINGS = {
    "raises": "def f():\n    1/0\nf()",
    "chained": "try:\n    1/0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e",
    "syntax": "def f(:\n",
    "indent": "if 1:\nx",
    "exit text": "import sys; sys.exit('gone')",
    "exit 7": "import sys; sys.exit(7)",
    "exit none": "raise SystemExit",
    "interrupt": "raise KeyboardInterrupt",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "hook": "import sys\ndef hook(t, v, tb):\n    "
    "print('hook', t.__name__, tb.tb_lineno, v.__traceback__ is tb, sys.last_traceback is tb)\nsys.excepthook = hook\n1/0",
    "bad hook": "import sys\ndef hook(*a): raise TypeError('worse')\nsys.excepthook = hook\n1/0",
    "thread": "import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()",
    "atexit": "import atexit, sys\natexit.register(lambda: print('bye', sys.excepthook is sys.__excepthook__))\n1/0",
    "finaliser": "class A:\n    def __del__(self): print('del', __name__)\na = A()",
    "traceback": "import traceback\ntry:\n    1/0\nexcept Exception:\n    traceback.print_exc()",
    "import error": "import missing_module_x",
    "warning": "import warnings; warnings.warn('careful', DeprecationWarning); warnings.warn('me', UserWarning, stacklevel=1)",
    "group": "raise ExceptionGroup('g', [ValueError(1)])",
    "exec": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(1)'])",
    "closes all": "import os\nos.closerange(3, 256)\nfor n in range(3, 12): os.open('/dev/null', 0)\n"
    "import sys, celery.signals\nprint(len(sys.argv))",
}


@pytest.mark.parametrize("how", ["script", "module"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_ends_in_the_same_way_with_the_same_words(tmp_path: Path, how: str, ending: str) -> None:
    (tmp_path / "program.py").write_text(ENDINGS[ending])
    what = "program.py" if how == "script" else "program"
    without, _ = run(plain([], how, what), tmp_path, channel=False)
    through, _ = run(through_boot([], how, what), tmp_path)
    assert (through.returncode, through.stdout.decode()) == (without.returncode, without.stdout.decode())
    if ending == "bad hook":  # The interpreter shows the context of the hook's error, frames of ours included.
        assert b"worse" in through.stderr
        assert through.stderr.endswith(without.stderr[-60:])
    else:
        assert through.stderr.decode() == without.stderr.decode()


@pytest.mark.parametrize(
    ("how", "what"), [("script", "nowhere.py"), ("script", "."), ("module", "nowhere"), ("module", "xml")]
)
def test_a_program_that_is_not_there_is_reported_as_python_does(tmp_path: Path, how: str, what: str) -> None:
    without, _ = run(plain([], how, what), tmp_path, channel=False)
    through, _ = run(through_boot([], how, what), tmp_path)
    assert through.returncode == without.returncode
    assert through.stderr.decode() == without.stderr.decode()


SPAWNS = """
import multiprocessing, os, sys
class Thing:
    def __init__(self, n): self.n = n
def work(thing):
    return Thing(thing.n + 1), __name__, "DEVSTACK_CHANNEL" in os.environ, [f for f in sys.meta_path if type(f).__name__ == "Finder"]
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        thing, *rest = pool.apply(work, (Thing(1),))
        print(type(thing) is Thing, thing.n, rest)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("how", ["script", "module"])
def test_multiprocessing_finds_the_main_module_again(tmp_path: Path, how: str, method: str) -> None:
    (tmp_path / "program.py").write_text(SPAWNS)
    done, _ = run(through_boot([], how, "program.py" if how == "script" else "program", method), tmp_path)
    assert done.stdout.decode() == "True 2 ['__mp_main__', False, []]\n", done.stderr.decode()


def test_it_says_hello_and_the_line_ends_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import os; print(os.getpid(), 'DEVSTACK_CHANNEL' in os.environ)")
    done, said = run(through_boot([], "script", "program.py"), tmp_path)
    pid, seen = done.stdout.split()
    assert seen == b"False"
    [hello] = map(json.loads, said)
    version = ".".join(map(str, sys.version_info[:3]))
    assert hello == {"type": "hello", "pid": int(pid), "python": version, "program": "program.py"}


def test_over_tcp_the_token_comes_first_and_children_do_not_inherit_the_line(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)\n"
    )
    with booted_program(tmp_path, "script", "program.py", tcp=True) as child:
        child.message("hello")
        child.end_of_line(within=20)
        assert child.garbage == [b"secret-token\n"]


def test_a_fork_keeps_neither_the_line_nor_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os, time, celery.signals\n"
        "if os.fork() == 0:\n    celery.signals.celeryd_init.send(sender='child'); time.sleep(60)\n"
        "celery.signals.celeryd_init.send(sender='parent')\n"
    )
    with booted_program(tmp_path, "script", "program.py") as child:
        assert child.message("worker_starting")["node"] == "parent"
        child.end_of_line(within=20)
        assert [message["type"] for message in child.messages] == ["hello", "worker_starting"]


@pytest.mark.parametrize("channel", ["fd:987", "fd:0", "fd:x", "tcp:1:t", "tcp:", "nonsense", "fd:-1", "tcp:99999:t"])
def test_a_broken_channel_costs_the_program_nothing(tmp_path: Path, channel: str) -> None:
    (tmp_path / "program.py").write_text("import celery.signals as s; s.celeryd_init.send(sender='x'); print('fine')")
    done = subprocess.run(
        through_boot([], "script", "program.py"),
        cwd=tmp_path,
        env={**os.environ, "DEVSTACK_CHANNEL": channel},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"fine\n", b"")


FLOOD = """
import signal, sys, time, celery.signals as s
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for n in range(20000):
    s.celeryd_init.send(sender="n" * (n % 970))
print("done", flush=True)
sys.stdin.readline()
for n in range(30):
    s.celeryd_init.send(sender="after")
    time.sleep(0.01)
print("alive", flush=True)
"""


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("reader", ["sleeps", "dies"])
def test_a_reader_that_sleeps_or_dies_never_stops_the_program(tmp_path: Path, reader: str, tcp: bool) -> None:
    """What it could not say is dropped, never cut: with the reader awake again, whole lines arrive."""
    (tmp_path / "program.py").write_text(FLOOD)
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "DEVSTACK_CHANNEL": f"fd:{theirs.fileno()}"}
    server = socket.create_server(("127.0.0.1", 0))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if tcp:
        environment["DEVSTACK_CHANNEL"] = f"tcp:{server.getsockname()[1]}:token"
    with (
        server,
        subprocess.Popen(
            through_boot([], "script", "program.py"),
            cwd=tmp_path,
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child,
    ):
        assert child.stdout
        assert child.stdin
        theirs.close()
        if tcp:
            ours.close()
            ours, _ = server.accept()
        with ours:
            assert child.stdout.readline() == b"done\n"  # Nobody has read a byte.
            said = b""
            if reader == "dies":
                ours.close()  # As when devstack is gone; SIGPIPE would kill now.
            else:
                ours.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    while chunk := ours.recv(1 << 20):
                        said += chunk
                ours.settimeout(30)
            child.stdin.write(b"\n")
            child.stdin.flush()
            if reader == "sleeps":
                while chunk := ours.recv(1 << 20):
                    said += chunk
                lines = said.splitlines()[tcp:]
                assert len(lines) < 20000
                assert [json.loads(line)["type"] for line in lines][:2] == ["hello", "worker_starting"]
                assert json.loads(lines[-1])["node"] == "after"
            assert child.stdout.readline() == b"alive\n"
            assert child.wait(30) == 0


REUSES = """
import os, socket, celery.signals as s
os.closerange(3, 256)
pairs = [socket.socketpair() for n in range(10)]
s.celeryd_init.send(sender="x")
for pair in pairs:
    for end in pair:
        end.setblocking(False)
        try:
            print(end.recv(100))
        except BlockingIOError:
            pass
print("clean")
"""


def test_a_socket_that_got_the_number_of_a_closed_channel_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(REUSES)
    done, said = run(through_boot([], "script", "program.py"), tmp_path)
    assert (done.stdout, done.stderr) == (b"clean\n", b"")
    assert [json.loads(line)["type"] for line in said] == ["hello"]


def test_an_interrupted_program_ends_as_if_interrupted(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import time; print(1, flush=True); time.sleep(60)")
    child = subprocess.Popen(
        through_boot([], "script", "program.py"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout
    assert child.stderr
    with child.stdout, child.stderr:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == -signal.SIGINT
        assert child.stderr.read().decode().splitlines()[1:2] == [
            f'  File "{tmp_path}/program.py", line 1, in <module>'
        ]
