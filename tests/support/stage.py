"""A stack of real children on a real host, with its merged output in the hands of the test. Every wait has a deadline."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from devstack import host
from devstack.core.model import Launch, ProbeSpec, Service, Stack
from devstack.runtime.logs import Logs
from devstack.runtime.output import Look, Output
from devstack.runtime.supervisor import Supervisor

DEADLINE = 60.0


def child(
    name: str, code: str, *needs: str, cwd: str = ".", shell: bool = False, stdin: bytes | None = None, **more: object
) -> Service:
    """A service that runs a piece of Python (or, with `shell`, of sh). Without a probe unless told otherwise."""
    argv = (code,) if shell else (sys.executable, "-u", "-c", code)
    launch = Launch(argv, dict(os.environ), os.path.abspath(cwd), shell=shell, stdin=stdin)
    more.setdefault("probe", ProbeSpec("none"))
    return Service(name, code, needs=needs, launch=lambda n: launch, **more)  # type: ignore[arg-type]


class Stage:
    """`await Stage(services).play(script)`: runs the stack, and `script(stage)` beside it; gives the exit code."""

    def __init__(
        self,
        *services: Service,
        colour: bool = False,
        watch: Path | None = None,
        stalled: bool = False,
        look: Look | None = None,
        logs: Path | None = None,
        **stack: object,
    ) -> None:
        self.stack = Stack.of(services, **stack)  # type: ignore[arg-type]
        self.look = look or Look(colour, timestamps=False)
        self.logs = Logs(logs, 100_000_000, 2, self._say) if logs else None
        self.watch = watch
        self.data = bytearray()
        self.full = asyncio.Event()
        """Set once the reader has fallen behind and the pipes are paused."""
        self.ended = asyncio.Event()
        self._may_read = threading.Event()
        if not stalled:
            self.read_on()
        self._changed = threading.Condition()

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")

    def read_on(self) -> None:
        """Let a stalled reader read."""
        self._may_read.set()

    def lines(self, name: str) -> list[str]:
        """What came from one process, without prefix."""
        return [line.partition("| ")[2] for line in self.text.splitlines() if line.partition(" |")[0].strip() == name]

    def play(self, script: Callable[[Stage], Awaitable[object]] | None = None) -> int:
        host.here().prepare(len(self.stack.processes))
        return asyncio.run(self._play(script))

    async def _play(self, script: Callable[[Stage], Awaitable[object]] | None) -> int:
        reading, writing = os.pipe()
        reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        reader.start()
        self.output = output = Output(self.stack.processes, look=self.look, logs=self.logs)
        self.supervisor = Supervisor(self.stack, host.here(), output)
        output.open(writing, self._pause, self.supervisor.resume, lambda error: self.supervisor.leave())
        companions = []
        if self.watch:
            from devstack.runtime import watcher

            told, failure = self.supervisor.saved, self.supervisor.failure
            companions.append(watcher.watch(self.stack, self.watch, told, output.say, failure, self.supervisor.subject))
        acting = asyncio.ensure_future(script(self)) if script else None
        try:
            code = await asyncio.wait_for(self.supervisor.run(*companions), DEADLINE)
        except TimeoutError:
            raise AssertionError(f"the stack did not end:\n{self.text}") from None
        finally:
            self.ended.set()
            if acting:
                await asyncio.wait([acting], timeout=1)
                acting.cancel()
            if self.logs:
                self.logs.close()
            await output.close(hurried=lambda: True)
            os.close(writing)
            reader.join(5)
        if acting and acting.done() and not acting.cancelled():
            acting.result()
        return code

    async def until(self, pattern: str, times: int = 1, within: float = DEADLINE) -> None:
        """Wait until the output has matched `pattern` so many times."""
        deadline = time.monotonic() + within
        while len(re.findall(pattern, self.text)) < times:
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come {times} times within {within} s:\n{self.text}"
            await asyncio.to_thread(self._wait, left, len(self.data))

    def _say(self, text: str) -> None:
        self.output.say(text)

    def _pause(self) -> None:
        self.supervisor.pause()
        self.full.set()

    def _wait(self, within: float, seen: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self.data) > seen, within)

    def _read(self, fd: int) -> None:
        self._may_read.wait(DEADLINE)
        while chunk := os.read(fd, 65536):
            with self._changed:
                self.data += chunk
                self._changed.notify_all()
        os.close(fd)


def gone(pid: int) -> bool:
    """Whether no process with this id runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
