"""`devstack` as a person runs it: a process of its own, its output line by line, its leftovers counted by an independent look."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

DEADLINE = 60.0
MARK = "DEVSTACK_TEST_MARK"


class Up:
    """`with Up(directory, "up", "-f", "Procfile") as up: up.until("all ready")`. Leaves nothing behind, whatever happens."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        state: Path | None = None,
        env: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.state = state or directory.parent / f"state-{self.mark[:6]}"
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("CELERY", "REDIS", "DJANGO", "PORT", "DEVSTACK"))
        }
        self.env = {**clean, "DEVSTACK_STATE_DIR": str(self.state), MARK: self.mark, **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devstack", *arguments],
            cwd=directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=before,
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
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        kill_all(self.left())
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
        self.process.send_signal(signal.SIGINT)

    def ends(self, within: float = 30.0) -> int:
        """The exit code, once it has ended by itself."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {within} s:\n{self.text}") from None
        self._reader.join(5)
        return code

    def left(self) -> list[int]:
        """Processes that carry our mark in their environment, except devstack itself: what it started and did not end."""
        return [pid for pid in marked(self.mark) if pid != self.process.pid]

    def _read(self) -> None:
        assert self.process.stdout
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self._changed:
                self.text += chunk.decode(errors="replace")
                self._changed.notify_all()


def marked(mark: str) -> list[int]:
    """Ids of the live processes whose environment holds `mark`, read from the process table."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
        except OSError:
            continue
    return found


def kill_all(pids: Iterable[int]) -> None:
    """Those that are still there: one may have been on its way out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def devstack(directory: Path, *arguments: str, env: Sequence[tuple[str, str]] = ()) -> subprocess.CompletedProcess[str]:
    """One short command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "devstack", *arguments],
        cwd=directory,
        env={**os.environ, "DEVSTACK_STATE_DIR": str(directory / ".state"), **dict(env)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
