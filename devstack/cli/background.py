"""`devstack up -d`: the same `up` in the background, watched until everything is ready or something is not going to be.

Rule 1: it has no terminal, and no pipe of ours: closing this terminal does not concern it.
Rule 2: what it says before there is a stack to ask (the Procfile is wrong, say) is said here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from devstack import host
from devstack.config.load import Project
from devstack.control import client
from devstack.control.desk import STOPPING
from devstack.core.names import seconds
from devstack.errors import FAILED

BACKGROUND = "DEVSTACK_IN_BACKGROUND"
"""Set for the one in the background, and for nobody else: it takes it away before it starts anything."""
LOOK = 0.02


def here() -> bool:
    """Whether we are the one in the background."""
    return os.environ.pop(BACKGROUND, None) == "1"


def detach(project: Project) -> NoReturn:
    """The exit code: 0 once all is ready, its own when it ended, 1 when a process will not be ready by itself."""
    project.make_directories()
    began, complaints = time.monotonic(), project.runtime_dir / "background.err"
    with open(os.open(complaints, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", "devstack", *sys.argv[1:]],
            env={**os.environ, BACKGROUND: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            # Windows: no window, and not our console, whose Ctrl-C it would share.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    try:
        failed = _watch(project, child)
    finally:
        said = _read(complaints)
    if said:
        click.echo(said, err=True, nl=False)
    if failed is None:
        code = child.wait()
        if not said:
            click.echo(f"error: the stack ended with exit code {code}; devstack logs shows what it said", err=True)
        sys.exit(code or FAILED)
    if STOPPING in failed.values():
        code = child.wait()
        click.echo(
            f"nothing runs on: the stack ended with exit code {code}; devstack logs shows what it said", err=True
        )
        sys.exit(code or FAILED)
    if failed:
        click.echo(f"the others run on in the background (pid {child.pid}): devstack ps, devstack down", err=True)
        sys.exit(FAILED)
    took = seconds(time.monotonic() - began)
    click.echo(
        f"all ready in {took}, in the background (pid {child.pid}): devstack ps, devstack logs -f, devstack down"
    )
    child.returncode = 0  # it lives on, and is not ours to wait for
    sys.exit(0)


def _watch(project: Project, child: subprocess.Popen[bytes]) -> dict[str, str] | None:
    """The reasons of those that are not ready; None when it has ended."""
    while child.poll() is None:
        try:
            return _ready(project, child)
        except (client.NotRunning, client.Lost):
            time.sleep(LOOK)
    return None


def _ready(project: Project, child: subprocess.Popen[bytes]) -> dict[str, str]:
    hello = client.one(str(project.runtime_dir), "hello")
    if not _is(hello.get("pid"), child):
        raise client.NotRunning  # another one: ours is just about to say so
    for answer in client.ask(str(project.runtime_dir), "wait", None):
        match answer:
            case {"name": str(name), "phase": "ready" | "failed" | "backoff" as phase, "why": str(why)}:
                click.echo(f"{name} {phase}" + (f": {why}" if why else ""), err=True)
            case {"settled": dict(), "failed": dict(failed)}:
                if failed:
                    _explain(project, failed)
                return failed
    raise client.Lost


def _is(pid: object, child: subprocess.Popen[bytes]) -> bool:
    """On Windows the python.exe of an environment starts another one, which then is the one that runs."""
    if pid == child.pid or host.system() != "win32":
        return pid == child.pid
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return pid in [each.pid for each in psutil.Process(child.pid).children(recursive=True)]
    return False


def _explain(project: Project, failed: dict[str, str]) -> None:
    failed = {name: why for name, why in failed.items() if why != STOPPING} or failed
    for name, why in failed.items():
        click.echo(f"error: {name} is not ready: {why}", err=True)
    for answer in client.ask(str(project.runtime_dir), "why", 15.0, names=list(failed)):
        if lines := answer.get("last_lines"):
            name = answer["row"]["name"]  # type: ignore[index]
            click.echo(f"  last lines of {name}:", err=True)
            for line in lines:  # type: ignore[attr-defined]
                click.echo(f"    {name} | {line}", err=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    finally:
        with contextlib.suppress(PermissionError):  # on Windows, where the one in the background still has it open
            path.unlink(missing_ok=True)
