"""A Python program that devstack knows nothing about, and that a save restarts (`watch = true`)."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.support.control import Driven

PROGRAM = """\
import os, time
import helper
print("code", helper.VERSION, "child of", os.getppid(), flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
def test_it_comes_out_of_its_spare_with_the_code_that_was_saved(tmp_path: Path) -> None:
    place = tmp_path / "project"
    place.mkdir()
    (place / "program.py").write_text(PROGRAM)
    (place / "helper.py").write_text("VERSION = 1\n")
    (place / "devstack.toml").write_text("[processes.job]\nwatch = true\n")
    with Driven(place, {"job": f"{shlex.quote(sys.executable)} program.py"}) as stack:
        stack.until(f"code 1 child of {stack.process.pid}\n")
        stack.settled()
        for version in range(2, 30):
            (place / "helper.py").write_text(f"VERSION = {version}\n")
            parent = int(stack.until(rf"code {version} child of (\d+)\n")[1])
            if parent != stack.process.pid:
                return  # the spare takes a moment to be there
    raise AssertionError("it always started cold")
