"""A Python program that devstack knows nothing about, and that a save restarts (`watch = true`)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.support.control import Driven

PARTS = 20
"""One for each save: a file that is saved again and again by a script is taken for one that the program writes."""
PROGRAM = """\
import os, time
import parts
print("code", parts.VERSION, "child of", os.getppid(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_it_comes_out_of_its_spare_with_the_code_that_was_saved(tmp_path: Path) -> None:
    place = tmp_path / "project"
    place.mkdir()
    (place / "program.py").write_text(PROGRAM)
    names = [f"part{number}" for number in range(PARTS)]
    (place / "parts.py").write_text(
        f"import {', '.join(names)}\nVERSION = {' + '.join(f'{name}.N' for name in names)}\n"
    )
    for name in names:
        (place / f"{name}.py").write_text("N = 0\n")
    (place / "devstack.toml").write_text("[processes.job]\nwatch = true\n")
    with Driven(place, {"job": f"{shlex.quote(sys.executable)} program.py"}) as stack:
        stack.until(f"code 0 child of {stack.process.pid}\n")
        stack.settled()
        for version, name in enumerate(names, 1):
            (place / f"{name}.py").write_text("N = 1\n")
            parent = int(stack.until(rf"code {version} child of (\d+)\n")[1])
            if parent != stack.process.pid:
                return  # the spare takes a moment to be there
    raise AssertionError("it always started cold")
