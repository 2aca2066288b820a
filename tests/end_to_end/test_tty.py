"""A process with a terminal of its own (`tty = true`), and a person who sits at it with `devstack attach`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control import SLEEPS, Driven

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="devstack gives no terminals there")

ASKS = """\
import os, sys, time
print("terminal", sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty())
while True:
    try:
        name = input("name? ")
        print("hello", name, *os.get_terminal_size())
    except KeyboardInterrupt:
        print("interrupted")
    except EOFError:
        break
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Driven]:
    place = tmp_path / "project"
    place.mkdir()
    (place / "asks.py").write_text(ASKS)
    (place / "devstack.toml").write_text("[processes.asks]\ntty = true\n")
    with Driven(place, {"asks": f"{shlex.quote(sys.executable)} asks.py", "other": SLEEPS}) as stack:
        stack.until(r"asks\.1 +\| name\? ")
        yield stack


def at(stack: Driven) -> pexpect.spawn:  # type: ignore[type-arg,unused-ignore]
    return pexpect.spawn(
        sys.executable,
        ["-m", "devstack", "attach", "asks"],
        cwd=str(stack.directory),
        env={**stack.env, "TERM": "xterm"},
        timeout=30,
        dimensions=(33, 101),
    )


def test_keys_go_there_and_what_it_writes_comes_here_and_into_the_stream(stack: Driven) -> None:
    stack.until(r"terminal True True True\n")
    terminal = at(stack)
    try:
        terminal.expect("Ctrl-] leaves it")
        terminal.send("ada\r")
        terminal.expect("hello ada 101 33")
        terminal.sendintr()
        terminal.expect("interrupted")
        terminal.send("\x1d")
        terminal.expect("left asks.1, which goes on")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    assert terminal.exitstatus == 0
    stack.until(r"asks\.1 +\| .*hello ada 101 33\n")
    assert "\r" not in stack.text
    assert stack.rows()["asks.1"]["phase"] == "ready", "Ctrl-C was its own matter"


def test_its_end_is_the_end_of_the_session_and_nothing_is_left(stack: Driven) -> None:
    terminal = at(stack)
    try:
        terminal.expect("Ctrl-] leaves it")
        terminal.send("\x04")
        terminal.expect("asks.1 has ended")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close()
    stack.until(r"asks\.1 (is done|ended|stopped)")
    stack.process.send_signal(signal.SIGTERM)
    stack.ends()
    assert stack.left() == []


def test_a_script_is_no_terminal(stack: Driven) -> None:
    done = stack.do("attach", "asks", stdin="ada\n")
    assert done.returncode == 2
    assert done.stderr == "error: asks.1 has a terminal, and this is none\n  try: type it in a terminal\n"


def test_a_stop_ends_what_has_a_terminal(stack: Driven) -> None:
    stack.ctrl_c()
    assert stack.ends() == 130
    assert stack.left() == []
