"""The thread that writes to the terminal, with a reader of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from devstack.runtime import output
from devstack.runtime.output import Look, Output
from tests.support.stage import Stage, child

LINES = b"".join(b"%099d\n" % n for n in range(10_000))
PACE = 0.01
"""Seconds between two reads of 8 KB."""


@pytest.mark.skipif(os.name == "nt", reason="written for the pipes of POSIX, not tried on Windows")
def test_who_reads_slowly_gets_all_of_it_also_when_somebody_wants_us_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE", 0.25)  # the largest portion takes longer
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        while chunk := os.read(reading, 8192):
            got.append(chunk)
            threading.Event().wait(PACE)

    async def play() -> int:
        stream = Output(["web.1"], look=Look(prefix=False))
        slow = asyncio.Event()
        stream.open(writing, lambda: None, slow.set, lambda error: None)
        source = stream.source("web.1")
        for _ in range(3):
            source.feed(LINES)
        reader.start()
        await asyncio.wait_for(slow.wait(), 30)  # most is read: by now it is known for what it is
        return await stream.close(hurried=lambda: True)

    reader = threading.Thread(target=read)
    try:
        assert asyncio.run(play()) == 0
    finally:
        os.close(writing)
        reader.join(30)
        os.close(reading)
    assert b"".join(got) == LINES * 3


SHARE = """
import fcntl, os
from devstack.host import here
here().prepare({processes})
reading, writing = os.pipe()
before = fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ)
here().widen(reading)
print(fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) // before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of one size")
@pytest.mark.parametrize(("processes", "times"), [(64, 4), (65, 1)])
def test_a_full_pipe_is_made_larger_while_the_processes_are_few(processes: int, times: int) -> None:
    program = SHARE.format(processes=processes)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(ran.stdout) == times


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of one size")
def test_a_process_that_fills_its_pipe_gets_a_larger_one() -> None:
    flood = """
        import fcntl, os
        small = fcntl.fcntl(1, fcntl.F_GETPIPE_SZ)
        for _ in range(20_000):
            os.write(1, b"x" * 4095 + b"\\n")
            if fcntl.fcntl(1, fcntl.F_GETPIPE_SZ) > small:
                print("enlarged")
                break
    """
    stage = Stage(child("web", textwrap.dedent(flood)))
    assert stage.play() == 0
    assert stage.lines("web.1")[-1] == "enlarged"
