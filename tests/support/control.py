"""A running stack driven from the side: `Driven` is an `Up` whose commands are typed in another terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from devstack.config import dirs
from devstack.control import client
from tests.support.up import DEADLINE, Up

PYTHON = shlex.quote(sys.executable)
SLEEPS = f"{PYTHON} -uc \"import time; print('up'); time.sleep(600)\""


class Driven(Up):
    """`with Driven(directory, {"web": command}) as stack: stack.do("restart", "web")`. Without lines the directory has a Procfile."""

    def __init__(self, directory: Path, lines: dict[str, str] | None, *arguments: str, **more: Any) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        if lines is not None:
            (directory / "Procfile").write_text("".join(f"{name}: {command}\n" for name, command in lines.items()))
        super().__init__(directory, *(arguments or ("up",)), **more)

    @property
    def runtime(self) -> str:
        return dirs.state(os.path.realpath(self.directory), self.env)[1]

    def do(self, *arguments: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """A command in another terminal, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "devstack", *arguments],
            cwd=self.directory,
            env={**self.env, **env},
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        done = self.do("ps", "--json")
        assert done.returncode == 0, done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)}

    def answers(self) -> None:
        """Stay until it can be asked."""
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(client.NotRunning, client.Lost, OSError):
                client.one(self.runtime, "hello")
                return
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def settled(self) -> None:
        """Stay until everything is ready."""
        self.answers()
        done = self.do("wait")
        assert done.returncode == 0, done.stderr + self.text


def line_to(directory: str) -> tuple[socket.socket, dict[str, object]]:
    """A connection and the token, to say what one likes."""
    line, extra = client.connect(directory)
    line.settimeout(10)
    return line, extra


def heard(line: socket.socket) -> bytes:
    """All that it says until it hangs up."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while chunk := line.recv(65536):
            said += chunk
    return said
