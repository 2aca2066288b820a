"""Those who restart a worker or a web server after a save, each started as its documentation does; and what one costs while it runs.

Rule 1: all get the same project, environment and interpreter, and nobody is told what the others are not.
Rule 2: all that a contender starts carries a mark in its environment. By it memory and CPU time are counted, and what is left is ended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.support.reload_project import Project
from tests.support.up import MARK, marked

BIN = Path(sys.executable).parent
LEAVES_WITHIN = 30.0
WORKER = "celery -A config worker --loglevel=INFO --concurrency=2"
COMMANDS = {
    "devstack": ["devstack", "up", "worker", "--no-color"],
    "watchfiles": ["watchfiles", "--filter", "python", WORKER, "."],
    # Most tutorials have `-p '*.py'`, which matches nothing in watchdog 7.
    "watchmedo": ["watchmedo", "auto-restart", "-d", ".", "-p", "**/*.py", "-R", "--", *WORKER.split()],
    "devstack web": ["devstack", "up", "web", "--no-color"],
    "runserver": ["python", "manage.py", "runserver", "127.0.0.1:{port}"],
}

FORMS: dict[str, dict[str, str]] = {"forked": {}, "spawned": {"DEVSTACK_SPARES": "spawned"}}
"""What a reload of ours comes out of: a fork of the spare, the spare itself."""


class Contender:
    """One of `COMMANDS` at work in a project. `output()` is what it printed last."""

    def __init__(self, name: str, project: Project, log: Path, form: str) -> None:
        self.name = name
        self._log = log
        self._mark = uuid.uuid4().hex
        theirs = ("CELERY", "DJANGO", "DEVSTACK", "PORT")
        # Nobody starts fast who may not keep what he compiled.
        env = {k: v for k, v in os.environ.items() if not k.startswith(theirs) and k != "PYTHONDONTWRITEBYTECODE"}
        env |= (
            project.env()
            | {
                "PATH": f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}",
                "PYTHONUNBUFFERED": "1",
                "DEVSTACK_STATE_DIR": str(log.parent / "state"),
                MARK: self._mark,
            }
            | FORMS[form]
        )
        words = [word.replace("{port}", str(project.web_port)) for word in COMMANDS[name]]
        words[0] = shutil.which(words[0], path=env["PATH"]) or words[0]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                words,
                cwd=project.path,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-40:])

    def memory(self) -> float:
        """MiB of everything that it runs; a page that several share counts once."""
        total = 0
        for pid in marked(self._mark):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total / 1024

    def cpu(self) -> float:
        """Seconds that everything has used so far, with those that have ended and were waited for."""
        ticks = 0
        for pid in marked(self._mark):
            with contextlib.suppress(OSError):
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def leave(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVES_WITHIN)
        for pid in marked(self._mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        end = time.monotonic() + 5
        while marked(self._mark) and time.monotonic() < end:
            time.sleep(0.05)


@contextlib.contextmanager
def running(name: str, project: Project, log: Path, form: str) -> Iterator[Contender]:
    contender = Contender(name, project, log, form)
    try:
        yield contender
    except AssertionError as error:
        raise OSError(f"{name}: {error}\n{contender.output()}") from error
    finally:
        contender.leave()
