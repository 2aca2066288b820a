"""Signals that ask devstack to leave, as the loop is told of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals; tests/windows has those of Windows")

BEGIN = """
import asyncio, os, signal, threading
from devstack.host import posix

loop, told = asyncio.new_event_loop(), []
all_told = asyncio.Event()

def tell(number):
    told.append(signal.Signals(number).name)
    if len(told) == 3:
        all_told.set()

def wait():
    loop.run_until_complete(asyncio.wait_for(all_told.wait(), 20))
"""


def run(program: str) -> list[str]:
    program = BEGIN + textwrap.dedent(program)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""
    return ran.stdout.split()


def test_one_that_comes_before_the_loop_runs_is_told_and_one_that_the_shell_ignores_is_not() -> None:
    told = run("""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with posix.signals(loop, tell):
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
                os.kill(os.getpid(), number)
            wait()
        print(*told)
    """)
    assert told == ["SIGTERM", "SIGQUIT", "SIGINT"]


def test_one_that_another_thread_gets_wakes_the_loop() -> None:
    told = run("""
        def other():
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.pthread_kill(threading.get_ident(), number)

        with posix.signals(loop, tell):
            loop.call_later(0.05, threading.Thread(target=other).start)
            wait()
        print(*told)
    """)
    assert told == ["SIGHUP", "SIGTERM", "SIGINT"]


def test_afterwards_everything_is_as_it_was() -> None:
    words = run("""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        before = [signal.getsignal(number) for number in posix.LEAVE]
        with posix.signals(loop, tell):
            # Ignored by us, but not by our children.
            print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
        print([signal.getsignal(number) for number in posix.LEAVE] == before, signal.set_wakeup_fd(-1))
    """)
    assert words == ["False", "True", "-1"]
