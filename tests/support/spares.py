"""A spare at its gate and what comes out of it: the smallest driver of `inside/gate`.

with spares.waiting(cwd, "script", "manage.py", "check", roots=[cwd]) as spare:
    spare.warm("json", "decimal")
    run = spare.fork("node=b")      # or spare.go()
    assert run.end() == 0
    assert spare.message("ended")["pid"] == run.pid
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.celery_project import BOOT, Booted


class Run(Booted):
    """A program that was let go: the fork of a spare, or the spare itself. Its channel, output and pid."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, output: Path, cwd: Path) -> None:
        super().__init__(process, line, output, cwd)
        self.pid = process.pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Spare(Run):
    """`use` as the gate tells it: "fork", "once" or "never"."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, output: Path, cwd: Path) -> None:
        super().__init__(process, line, output, cwd)
        self.runs: list[Run] = []

    @property
    def use(self) -> str:
        return str(self.beacon.get("unsafe", {}).get("use", "fork"))

    def warm(self, *names: str) -> dict[str, object]:
        self.order(" ".join(["warm", *names]))
        return self.message("warmed")

    def go(self, words: str = "", descriptors: Sequence[int] = ()) -> Run:
        self.send(f"go {words}".rstrip(), descriptors)
        return self

    def fork(self, words: str = "", descriptors: Sequence[int] = ()) -> Run:
        ours, theirs = socket.socketpair()
        output = self._output.with_name(f"output{len(self.runs)}")
        known = len(self.said("forked"))
        with theirs, output.open("wb") as file:
            self.send(f"fork {words}".rstrip(), [theirs.fileno(), file.fileno(), *descriptors])
        run = Run(self.process, ours, output, self.cwd)
        run.pid = int(str(run.message("hello")["pid"]))
        self.message("forked", lambda message: len(self.said("forked")) > known)
        self.runs.append(run)
        return run

    def send(self, order: str, descriptors: Sequence[int] = ()) -> None:
        if descriptors:
            socket.send_fds(self._line, [order.encode() + b"\n"], list(descriptors))
        else:
            self.order(order)

    def code_of(self, run: Run, within: float = 30) -> int:
        """How that fork has ended; waits for it."""
        return int(str(self.message("ended", lambda message: message["pid"] == run.pid, within)["code"]))

    def end_fork(self, run: Run) -> int:
        """Like `stop`."""
        for within in (15, 15):
            os.kill(run.pid, signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                return self.code_of(run, within)
        raise AssertionError(f"the fork did not leave:\n{run.output().decode()}")


@contextlib.contextmanager
def made(
    cwd: Path,
    *words: str,
    roots: Sequence[Path] = (),
    env: dict[str, str] | None = None,
    flags: Sequence[str] = (),
    python: str = sys.executable,
    standby: bool = True,
) -> Iterator[Spare]:
    """`python flags… boot.py words…` in the environment of a spare, or, without `standby`, of a cold start; killed at the end."""
    environment = {**os.environ, **(env or {}), "DEVSTACK_ROOTS": os.pathsep.join(map(str, roots or [cwd]))}
    environment.pop("PYTHONPATH", None)
    if standby:
        environment["DEVSTACK_STANDBY"] = "1"
    ours, theirs = socket.socketpair()
    environment["DEVSTACK_CHANNEL"] = f"fd:{theirs.fileno()}"
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "output"
        with theirs, output.open("wb") as file:
            process = subprocess.Popen(
                [python, *flags, str(BOOT), *words],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        spare = Spare(process, ours, output, cwd)
        try:
            yield spare
        finally:
            ended = [message["pid"] for message in spare.said("ended")]
            for run in [*spare.runs, spare]:
                if run.pid not in ended:  # It may be another one's number by now.
                    run.kill()
            process.wait()
            for run in [*spare.runs, spare]:
                run.end_of_line(within=10)


@contextlib.contextmanager
def waiting(cwd: Path, *words: str, roots: Sequence[Path] = (), **how: object) -> Iterator[Spare]:
    """The same, once it has come to its gate."""
    with made(cwd, *words, roots=roots, **how) as spare:  # type: ignore[arg-type]
        spare.message("gate")
        yield spare
