"""Proves that `devstack up` runs the demo shop: everything ready, an order through both queues, the schedule, and a clean end.

Rule 1: devstack is a child process here, as it is for a person; all we know comes from its output, from the web and from the list of
processes of the system.
Rule 2: whatever happens, nothing that we started is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from devstack import host
from devstack.demo.customer import Customer, Disappointed
from devstack.errors import FAILED, INTERRUPTED, DevstackError

if TYPE_CHECKING:
    import psutil

READY_WITHIN = 180.0
"""Seconds. A machine that has never run this compiles everything first."""
GONE_WITHIN = 60.0
READY = re.compile(rb"devstack +\| all ready in ([\d.]+ \w+)")
MARK = "DEVSTACK_DEMO_CHECK"


def prove(arguments: Sequence[str], url: str, say: Callable[[str], None]) -> None:
    """Run `devstack up ARGUMENTS`, whose shop answers at `url`, to its end. DevstackError (code 1) when it is not proved."""
    up = Up(arguments)
    try:
        say(f"demo: everything is ready after {up.ready()}")
        customer = Customer(url)
        order = customer.order()
        say(f"demo: order {order.number} came back after {order.took:.1f} s, through two queues: {order.result}")
        customer.sees_restocking(times=2)
        say("demo: the scheduled task runs")
        began = time.monotonic()
        code = up.ctrl_c()
        if code != INTERRUPTED:
            raise Disappointed(f"devstack up exited {code} after Ctrl-C, not {INTERRUPTED}")
        if left := up.left():
            raise Disappointed(f"after Ctrl-C there was still {'; '.join(left)}")
        say(f"demo: Ctrl-C ended everything in {time.monotonic() - began:.1f} s, no process is left")
    except Disappointed as error:
        raise DevstackError("the demo did not pass", why=str(error), fix="see the output above", code=FAILED) from None
    finally:
        up.end()
    say("demo: passed")


class Up:
    """`devstack up` as a child process. Its output goes on to ours as it comes."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            # -P: a directory called devstack where somebody stands is not us.
            [sys.executable, "-P", "-m", "devstack", "up", "--exit-on-failure", *arguments],
            env={**os.environ, MARK: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **host.here().own_console(),
        )
        self._descendants: set[psutil.Process] = set()
        self._ready = ""
        self._news = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self) -> str:
        """Wait for the line that says so; how long it took by its own account."""
        if not self._news.wait(READY_WITHIN):
            raise Disappointed(f"not everything was ready after {READY_WITHIN:.0f} s")
        if not self._ready:
            raise Disappointed(f"devstack up ended with exit code {self._process.wait()} before everything was ready")
        return self._ready

    def ctrl_c(self) -> int:
        """Press it, and wait for the exit code."""
        self._remember()
        host.here().press_ctrl_c(self._process.pid)
        try:
            return self._process.wait(GONE_WITHIN)
        except subprocess.TimeoutExpired:
            raise Disappointed(f"devstack up did not end within {GONE_WITHIN:.0f} s after Ctrl-C") from None

    def left(self) -> list[str]:
        """What still runs of all that was started."""
        return [f"{' '.join(each.info['cmdline'] or ['?'])} (pid {each.pid})" for each in self._alive()]

    def end(self) -> None:
        """Politely at first, then by force. Finds nothing to do after a clean end."""
        import psutil

        if self._process.poll() is None:
            self._remember()
        for end in (self._process.terminate, self._process.kill):
            if self._process.poll() is None:
                end()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(GONE_WITHIN)
        for process in self._alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._reader.join(5)

    def _remember(self) -> None:
        """The descendants: Redis writes its title over its environment, so that the mark alone would miss it."""
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            self._descendants |= set(psutil.Process(self._process.pid).children(recursive=True))

    def _alive(self) -> list[psutil.Process]:
        import psutil

        every = psutil.process_iter(["cmdline", "environ", "status"])
        return [
            each
            for each in every
            if (each in self._descendants or (each.info["environ"] or {}).get(MARK) == self._mark)
            and each.pid != self._process.pid
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def _read(self) -> None:
        assert self._process.stdout
        last = b""
        # A reader of ours that hung up is found out by the next `say`.
        with contextlib.suppress(BrokenPipeError):
            while chunk := os.read(self._process.stdout.fileno(), 65536):
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
                last = last[-200:] + chunk
                if match := READY.search(last):
                    self._ready = match[1].decode()
                    self._news.set()
        self._news.set()
