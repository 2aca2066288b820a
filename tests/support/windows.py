"""`devstack` on Windows as a person runs it: in a console of its own, where Ctrl-C reaches it alone."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

import psutil

from devstack.host import interrupt

DEADLINE = 240.0  # a whole stack starts in 25 s on a machine that does nothing else
MARK = "DEVSTACK_TEST_MARK"
NO_WINDOW = 0x08000000  # subprocess.CREATE_NO_WINDOW


class Up:
    """`with Up(directory, "up") as up: up.until("all ready")`. Leaves nothing behind, whatever happens."""

    def __init__(self, directory: Path, *arguments: str, env: dict[str, str] | None = None, python: str = "") -> None:
        self.mark = uuid.uuid4().hex
        unwanted = ("CELERY", "REDIS", "DJANGO", "PORT", "DEVSTACK")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        state = directory.parent / f"state-{self.mark[:6]}"
        programs = os.pathsep.join([*pythons(), os.environ.get("PATH", "")])
        self.env = {**clean, "PATH": programs, "DEVSTACK_STATE_DIR": str(state), MARK: self.mark, **(env or {})}
        self.process = subprocess.Popen(
            [python or sys.executable, "-m", "devstack", *arguments],
            cwd=directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            creationflags=NO_WINDOW,
        )
        self.text = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Up:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self.left():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._reader.join(5)
        assert self.process.stdout
        self.process.stdout.close()

    def until(self, pattern: str, times: int = 1, within: float = DEADLINE) -> re.Match[str]:
        """The so-manieth match of `pattern` in the output; fails with the whole output when it does not come, or when we end first."""
        deadline = time.monotonic() + within
        with self._changed:
            while len(found := list(re.finditer(pattern, self.text, re.MULTILINE))) < times:
                over = self.process.poll() is not None and not self._reader.is_alive()
                left = deadline - time.monotonic()
                if left <= 0 or over:
                    raise AssertionError(f"{pattern!r} did not come {times} times within {within:.0f} s:\n{self.text}")
                self._changed.wait(min(left, 0.5))
        return found[times - 1]

    def ctrl_c(self) -> None:
        """As typed in its console."""
        sent = subprocess.run(
            [sys.executable, "-I", "-S", interrupt.__file__, str(self.process.pid)],
            stdin=subprocess.DEVNULL,
            creationflags=NO_WINDOW,
            timeout=20,
        )
        assert sent.returncode == 0

    def ends(self, within: float = 40.0) -> int:
        """The exit code, once it has ended by itself."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {within} s:\n{self.text}") from None
        self._reader.join(5)
        return code

    def left(self) -> list[psutil.Process]:
        """What carries our mark in its environment, except devstack itself: what it started and did not end."""
        return [each for each in marked(self.mark) if each.pid != self.process.pid]

    def leaves_nothing(self, within: float = 20.0) -> None:
        """Once it is gone, so is everything else. The system ends a job at its own pace."""
        deadline = time.monotonic() + within
        while left := self.left():
            assert time.monotonic() < deadline, f"left behind: {left}\n{self.text}"
            time.sleep(0.05)

    def _read(self) -> None:
        assert self.process.stdout
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self._changed:
                self.text += chunk.decode(errors="replace")
                self._changed.notify_all()


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def pythons() -> list[str]:
    """Directories of this Python and of its scripts."""
    home = os.path.dirname(sys.executable)
    return [home, os.path.join(home, "Scripts")]
