"""`breakpoint()` on Windows: the session runs over loopback, with the token."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.windows import DEADLINE, Up

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="for Windows, or wine: scripts/test.py --wine")

JOB = """\
doubled = 2 * 35
breakpoint()
print("worked", doubled, flush=True)
"""


def test_another_terminal_is_the_debugger_of_what_has_stopped(tmp_path: Path) -> None:
    place = tmp_path / "my shop"
    place.mkdir()
    (place / "Procfile").write_text('job: python -u job.py\nother: python -c "import time; time.sleep(600)"\n')
    (place / "job.py").write_text(JOB)
    with Up(place, "up") as up:
        up.until(r"job\.1 stopped at job\.py:2, type: devstack attach job\.1")
        done = subprocess.run(
            [sys.executable, "-m", "devstack", "attach"],
            cwd=place,
            env=up.env,
            input="p doubled + 1\nc\n",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert "(Pdb) 71" in done.stdout, done.stdout + done.stderr
        assert "job.1 goes on" in done.stderr
        up.until("worked 70")
