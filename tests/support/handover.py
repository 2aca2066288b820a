"""Runs of a web server through `inside/boot`, each of which lends its sockets to the next, as the supervisor has it.

with Succession(tmp_path, "module", "uvicorn", "app:asgi", "--port", "PORT") as succession:
    old = succession.next()         # the new run serves beside the old one
    old.leave()
    old.gone()
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tests.support.celery_project import BOOT
from tests.support.ports import free_port

WITHIN = 30.0


class Run:
    """One run: its messages (newest by type in `beacon`), and copies of its sockets in `listeners`."""

    def __init__(self, words: list[str], cwd: Path, listeners: list[int], env: dict[str, str], output: Path) -> None:
        self.beacon: dict[str, dict[str, object]] = {}
        self.listeners: list[int] = []
        self.ended = False
        self._output = output
        self._line, theirs = socket.socketpair()
        self._news = threading.Condition()
        lent = {"DEVSTACK_LISTEN": ",".join(f"fd:{each}" for each in listeners)} if listeners else {}
        with theirs, output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(BOOT), *words],
                cwd=cwd,
                env={**env, **lent, "DEVSTACK_CHANNEL": f"fd:{theirs.fileno()}", "DEVSTACK_ROOTS": str(cwd)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno(), *listeners],
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._line, 65536, 16)
                if not data:
                    break
                *whole, rest = (rest + data).split(b"\n")
                with self._news:
                    self.listeners += descriptors
                    for line in whole:
                        message = json.loads(line)
                        self.beacon[message["type"]] = message
                    self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def says(self, text: str) -> None:
        """Until that is in its output."""
        deadline = time.monotonic() + WITHIN
        while text not in self.output():
            assert time.monotonic() < deadline, f"no {text!r}; output:\n{self.output()}"
            time.sleep(0.01)

    def hang_up(self) -> None:
        """As if the supervisor were gone."""
        self._line.shutdown(socket.SHUT_RDWR)

    def message(self, kind: str) -> dict[str, object]:
        with self._news:
            self._news.wait_for(lambda: kind in self.beacon or self.ended, WITHIN)
        assert kind in self.beacon, f"no {kind}; {self.beacon}; output:\n{self.output()}"
        return self.beacon[kind]

    def leave(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """As its `listening` says."""
        if self.message("listening")["leave"] == "order":
            self._line.sendall(b"leave\n")
        else:
            self.process.send_signal(signal_number)

    def gone(self) -> int:
        """Its exit code; all of its group are gone then."""
        try:
            code = self.process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it is still there; output:\n{self.output()}") from None
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return code
        raise AssertionError("its children are still there")

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with self._news:
            self._news.wait_for(lambda: self.ended, 10)
        self._line.close()
        while self.listeners:
            os.close(self.listeners.pop())


class Succession:
    """Runs of `words` one after the other in `directory`; PORT in them is a free one."""

    def __init__(self, directory: Path, *words: str, **env: str) -> None:
        self.port = free_port()
        self.words = [word.replace("PORT", str(self.port)) for word in words]
        self.url = f"http://127.0.0.1:{self.port}"
        self.runs: list[Run] = []
        self._directory = directory
        self._env = {"PATH": os.defpath, "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1", **env}

    def __enter__(self) -> Succession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run in self.runs:
            run.close()

    def start(self) -> Run:
        """One more run, beside the last one if that lives."""
        listeners = self.runs[-1].listeners if self.runs else []
        number = len(self.runs)
        self.runs.append(Run(self.words, self._directory, listeners, self._env, self._directory / f"output{number}"))
        return self.runs[-1]

    def next(self) -> Run:
        """A run that serves takes over; the one before it."""
        old = self.runs[-1]
        self.start().message("listening")
        return old
