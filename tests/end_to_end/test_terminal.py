"""What a person sees and types: `devstack up` in a real terminal."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import eventually
from tests.support.up import MARK, kill_all, marked

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals are POSIX")

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


class Terminal:
    """A person at a keyboard. `processes` are pieces of Python by their name."""

    def __init__(self, directory: Path, processes: dict[str, str], *arguments: str) -> None:
        lines = []
        for name, code in processes.items():
            (directory / f"{name}.py").write_text(code)
            lines.append(f"{name}: {shlex.quote(sys.executable)} {name}.py\n")
        (directory / "Procfile").write_text("".join(lines))
        self.mark = uuid.uuid4().hex
        env = {**os.environ, "DEVSTACK_STATE_DIR": str(directory / "state"), MARK: self.mark, "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "FORCE_COLOR"):
            env.pop(name, None)
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "devstack", "up", *arguments],
            cwd=str(directory),
            env=env,
            timeout=20,
            encoding="utf-8",
        )

    def sees(self, pattern: str) -> re.Match[str]:
        self.child.expect(pattern)
        assert isinstance(self.child.match, re.Match)
        return self.child.match

    def ends(self) -> int:
        self.child.expect(pexpect.EOF)
        self.child.close()
        code = self.child.exitstatus
        assert code is not None, f"killed by signal {self.child.signalstatus}"
        return int(code)

    def nothing_is_left(self) -> None:
        eventually(lambda: not marked(self.mark), "processes are left")


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.child.close(force=True)
        kill_all(marked(terminal.mark))


def test_ctrl_c_stops_everything_and_says_so(tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, {"web": FOREVER, "worker": FOREVER})
    terminals.append(terminal)
    terminal.sees("all ready in")
    terminal.child.sendintr()
    terminal.sees("SIGINT: stopping")
    terminal.sees("stopped")
    assert terminal.ends() == 130
    terminal.nothing_is_left()


def test_names_are_coloured_in_a_terminal_and_not_with_no_color(tmp_path: Path, terminals: list[Terminal]) -> None:
    for arguments, seen in (((), "\x1b\\[36mweb\\.1 +\\| \x1b\\[0mup"), (("--no-color",), "(?:^|\n)web\\.1 +\\| up")):
        terminal = Terminal(tmp_path, {"web": FOREVER}, "--no-timestamps", *arguments)
        terminals.append(terminal)
        terminal.sees(seen)
        terminal.child.sendintr()
        assert terminal.ends() == 130


def test_a_second_ctrl_c_does_not_wait_for_who_ignores_the_first(tmp_path: Path, terminals: list[Terminal]) -> None:
    (tmp_path / "devstack.toml").write_text("grace = 3600\n")
    terminal = Terminal(tmp_path, {"web": STUBBORN})
    terminals.append(terminal)
    terminal.sees("up\r?\n")
    terminal.child.sendintr()
    terminal.sees(r"waiting for web\.1 to stop, .*; Ctrl-C again to force")
    terminal.child.sendintr()
    assert terminal.ends() == 130
    terminal.nothing_is_left()


def test_a_closed_terminal_leaves_nothing(tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, {"web": FOREVER, "worker": FOREVER})
    terminals.append(terminal)
    terminal.sees("all ready in")
    terminal.child.close(force=False)  # the terminal goes; the kernel says HUP
    terminal.nothing_is_left()


def test_a_prompt_is_seen_before_its_newline(tmp_path: Path, terminals: list[Terminal]) -> None:
    asks = "import signal; print('Continue? [y/n] ', end='', flush=True); signal.pause()"
    terminal = Terminal(tmp_path, {"asks": asks, "web": FOREVER})
    terminals.append(terminal)
    terminal.sees(r"Continue\? \[y/n\] ")
    terminal.child.sendintr()
    assert terminal.ends() == 130


WARM = """
import pathlib, signal, sys, time
def leave(*_):
    time.sleep(1)
    pathlib.Path('finished').touch()
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print('up', flush=True)
while True: signal.pause()
"""


def test_a_closed_terminal_lets_a_warm_stop_finish(tmp_path: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(tmp_path, {"worker": WARM})
    terminals.append(terminal)
    terminal.sees("all ready in")
    with contextlib.suppress(pexpect.ExceptionPexpect):  # it does not wait for us
        terminal.child.close(force=False)
    terminal.nothing_is_left()
    assert (tmp_path / "finished").exists()


def test_ctrl_c_behind_a_pipe_lets_a_warm_stop_finish(tmp_path: Path) -> None:
    """Ctrl-C reaches tee as well; that our output breaks then is no second Ctrl-C."""
    (tmp_path / "worker.py").write_text(WARM)
    (tmp_path / "Procfile").write_text(f"worker: {shlex.quote(sys.executable)} worker.py\n")
    line = f"{shlex.quote(sys.executable)} -m devstack up | tee log"
    env = {**os.environ, "DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    shell = pexpect.spawn("/bin/sh", ["-c", line], cwd=str(tmp_path), env=env, timeout=20, encoding="utf-8")
    shell.expect("all ready in")
    shell.sendintr()
    eventually(lambda: (tmp_path / "finished").exists(), "the worker was cut off")
    shell.close(force=True)


def test_a_slow_reader_gets_every_line(tmp_path: Path) -> None:
    (tmp_path / "flood.py").write_text("for i in range(60000): print(i)")
    (tmp_path / "Procfile").write_text(f"flood: {shlex.quote(sys.executable)} flood.py\n")
    line = f"{shlex.quote(sys.executable)} -m devstack up --no-color | (sleep 3; grep -c 'flood.1 *|')"
    env = {**os.environ, "DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "60000", done.stderr


def test_a_migration_is_never_cut_off_by_a_time_limit(tmp_path: Path) -> None:
    (tmp_path / "migrate.py").write_text("import time; time.sleep(1.5); print('migrated')")
    (tmp_path / "Procfile").write_text(f"release: {shlex.quote(sys.executable)} migrate.py\n")
    words = [sys.executable, "-m", "devstack", "up", "--timeout", "0.5", "--exit-on-failure"]
    env = {**os.environ, "DEVSTACK_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "migrated" in done.stdout) == (0, True), done.stdout
