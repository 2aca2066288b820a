"""A small Celery project in a directory, and `python -m celery` on it, plain or through `inside/boot`.

project = celery_project.make(tmp_path, broker="redis://127.0.0.1:6380/0", beat_every=1)
with celery_project.booted(project, "worker", "-n", "w@%h") as run:
    run.message("worker_ready")
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BOOT = Path(__file__).parents[2] / "devstack" / "inside" / "boot.py"

TASKS = """
import os, time
from celery import Celery
app = Celery("shop", broker={broker!r}, backend={broker!r})
app.conf.update(
    broker_connection_retry_on_startup=True, task_default_queue="celery", worker_cancel_long_running_tasks_on_connection_loss=False,
    {extra}
)
if {beat_every!r}:
    app.conf.beat_schedule = {{
        "tick": {{"task": "shop.add", "schedule": {beat_every!r}, "args": (1, 2)}},
        "rarely": {{"task": "shop.add", "schedule": 3600.0, "args": (1, 2)}},
    }}

@app.task(name="shop.add")
def add(a, b):
    return a + b

@app.task(name="shop.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()
"""


def make(directory: Path, broker: str, *, beat_every: float = 0, extra: str = "", module: str = "shop") -> Path:
    """Write `shop.py` (app `shop`, tasks shop.add and shop.sleep) for that broker. `extra` are more settings, as Python keywords."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{module}.py").write_text(TASKS.format(broker=broker, beat_every=beat_every, extra=extra))
    return directory


class Booted:
    """A running child: its messages (each with `seen`), newest by type in `beacon`, and its output."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, output: Path, cwd: Path) -> None:
        self.process = process
        self.beacon: dict[str, dict[str, object]] = {}
        self.messages: list[dict[str, object]] = []
        self.garbage: list[bytes] = []
        self._output = output
        self._line = line
        self.cwd = cwd
        self._news = threading.Condition()
        self.ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self._line, self._line.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    self.garbage.append(line)
                    continue
                with self._news:
                    message["seen"] = time.monotonic()
                    self.messages.append(message)
                    self.beacon[message["type"]] = message
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def output(self) -> bytes:
        return self._output.read_bytes()

    def message(
        self, kind: str, when: Callable[[dict[str, object]], bool] = lambda message: True, within: float = 30
    ) -> dict[str, object]:
        """The first message of that type for which `when` holds; fails with the output when none comes in time."""
        found: list[dict[str, object]] = []

        def look() -> bool:
            found[:] = [message for message in self.messages if message["type"] == kind and when(message)]
            return bool(found) or self.ended

        with self._news:
            self._news.wait_for(look, within)
        assert found, f"no {kind} within {within} s; messages {self.messages}; output:\n{self.output().decode()}"
        return found[0]

    def said(self, kind: str) -> list[dict[str, object]]:
        return [message for message in list(self.messages) if message["type"] == kind]

    def order(self, words: str) -> None:
        """Send an order to the child."""
        self._line.sendall(words.encode() + b"\n")

    def end_of_line(self, within: float = 30) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.ended, within), "the channel is still open"

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 30) -> int:
        """Asks again when it did not listen: of a signal that comes right before `time.sleep`, CPython tells when that is over, and beat
        sleeps for minutes."""
        for patience in (within / 2, within / 2):
            if self.process.poll() is None:
                self.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(patience)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        raise AssertionError(f"it did not leave within {within} s:\n{self.output().decode()}")


@contextlib.contextmanager
def booted_program(
    cwd: Path, *words: str, env: dict[str, str] | None = None, python: str = sys.executable, tcp: bool = False
) -> Iterator[Booted]:
    """`python boot.py words…` with a channel; killed with its whole group at the end."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
    environment.pop("PYTHONPATH", None)
    inherited: tuple[int, ...] = ()
    theirs: socket.socket | None = None
    server: socket.socket | None = None
    if tcp:
        server = socket.create_server(("127.0.0.1", 0))
        environment["DEVSTACK_CHANNEL"] = f"tcp:{server.getsockname()[1]}:secret-token"
    else:
        ours, theirs = socket.socketpair()
        environment["DEVSTACK_CHANNEL"] = f"fd:{theirs.fileno()}"
        inherited = (theirs.fileno(),)
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [python, str(BOOT), *words],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                start_new_session=True,
            )
        if theirs is not None:
            theirs.close()
        if server is not None:
            server.settimeout(10)
            ours, _ = server.accept()
            server.close()
        run = Booted(process, ours, output, cwd)
        try:
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            run.end_of_line(within=10)


def booted(
    project: Path, *words: str, env: dict[str, str] | None = None, python: str = sys.executable, tcp: bool = False
) -> contextlib.AbstractContextManager[Booted]:
    """`celery -A shop words…` through boot."""
    return booted_program(project, "module", "celery", "-A", "shop", *words, env=env, python=python, tcp=tcp)
