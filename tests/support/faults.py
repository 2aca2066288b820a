"""A stack of children that behave as badly as real ones do, and the look at what is left of it."""

from __future__ import annotations

import os
import random
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.redis_server import eventually
from tests.support.up import Up

CHILDREN = {
    "forever": "import signal; print('up', flush=True); signal.pause()",
    "stubborn": """
import signal
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
print('up', flush=True)
while True: signal.pause()
""",
    # Two forks and a session of its own; it has closed its output.
    "daemon": """
import os, signal
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        os.close(1); os.close(2)
        signal.pause()
    os._exit(0)
os.wait()
print('up', flush=True)
signal.pause()
""",
    # The same, but it keeps the pipe open.
    "holder": """
import os, signal
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('up', flush=True)
    while True: signal.pause()
signal.pause()
""",
    "silent": "import os, signal; print('up', flush=True); os.close(1); os.close(2); signal.pause()",
}
SHELL = "sleep 1000 & sleep 1000 & echo up; wait"
KINDS = len(CHILDREN) + 1
BOUND = 15.0
"""Seconds within which any stop of this stack is over: the grace of one second, a second for leftovers, a slow machine."""


def nasty(directory: Path, *more: str) -> Path:
    """A project of them all, with a grace of one second; `more` are lines of the Procfile."""
    rows = [f"shell: {SHELL}", *more]
    for name, code in CHILDREN.items():
        (directory / f"{name}.py").write_text(code)
        rows.append(f"{name}: {shlex.quote(sys.executable)} -S {name}.py")
    (directory / "Procfile").write_text("\n".join(rows) + "\n")
    (directory / "devstack.toml").write_text("grace = 1\n")
    return directory


@contextmanager
def running(project: Path, *arguments: str, state: Path | None = None) -> Iterator[Up]:
    """The stack with everybody up. Afterwards nothing may be left."""
    with Up(project, "up", "--no-color", "--no-watch", *arguments, state=state) as up:
        up.until("up$", KINDS)
        yield up
        nothing_is_left(up)


def nothing_is_left(up: Up, within: float = BOUND) -> None:
    eventually(lambda: not up.left(), f"end of {up.left()}", within=within)


def children(up: Up) -> list[int]:
    """All that it runs but its guardians."""
    found = []
    for pid in up.left():
        with suppress(OSError):
            if b"guardian.py" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def harm(up: Up, dice: random.Random) -> None:
    """A random signal to a random process of the stack: devstack, a guardian, a child."""
    numbers = (
        signal.SIGKILL,
        signal.SIGKILL,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGSTOP,
        signal.SIGCONT,
        signal.SIGHUP,
    )
    targets = [up.process.pid, *up.left()] if up.process.poll() is None else up.left()
    if targets:
        with suppress(ProcessLookupError):
            # devstack and its guardians are few among many, so they get a half of it.
            few = [pid for pid in targets if pid not in children(up)]
            os.kill(dice.choice(few if few and dice.random() < 0.5 else targets), dice.choice(numbers))
