"""`devstack logs`, of a running stack and of one that is over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.control import PYTHON, SLEEPS, Driven
from tests.support.up import Up, devstack

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tests of Windows have their own folder")

SPEAKS = """
import logging, sys, time, threading
logging.basicConfig(format="%(levelname)s %(message)s")
print("INFO enqueued 3f2a-11")
logging.warning("disk nearly full")
print("Task shop.pay[3f2a-11] received")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("Task shop.pay[3f2a-11] failed")
print("last words", flush=True)
sys.stdin.read() if len(sys.argv) > 1 else time.sleep(600)
"""


def test_logs_are_filtered_by_name_text_level_task_and_number(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "speaks.py").write_text(SPEAKS)
    lines = {"web": f"{PYTHON} -u speaks.py", "worker": SLEEPS}
    with Driven(tmp_path / "p", lines, state=tmp_path / "s") as stack:
        stack.settled()
        stack.until("last words")

        def shown(*arguments: str) -> list[str]:
            done = stack.do("logs", "--no-prefix", *arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        assert shown("worker") == ["up"]
        assert shown("web", "-n", "1") == ["last words"]
        warnings = shown("--level", "warning")
        assert warnings[:3] == [
            "WARNING disk nearly full",
            "ERROR Task shop.pay[3f2a-11] failed",
            "Traceback (most recent call last):",
        ]
        assert warnings[-1] == "ZeroDivisionError: division by zero"
        task = shown("--task", "3f2a-11")
        assert task[0] == "INFO enqueued 3f2a-11"
        assert task[-1] == "ZeroDivisionError: division by zero"
        assert "WARNING disk nearly full" not in task
        assert shown("web", "--grep", "last w.rds") == ["last words"]
        assert shown("web", "--since", "1h")[0] == "INFO enqueued 3f2a-11"
        (row,) = [json.loads(line) for line in shown("worker", "--json")]
        assert (row["process"], row["text"]) == ("worker.1", "up")
        assert any("all ready" in line for line in shown("devstack"))
        for wrong in (["--grep", "("], ["--since", "soon"], ["-n", "few"], ["nobody"]):
            assert stack.do("logs", *wrong).returncode == 2
        assert stack.do("down").returncode == 0
        assert shown("worker") == ["up"], "also of a stack that is over"
        over = stack.do("logs", "-f", "--no-prefix", "worker")
        assert (over.stdout, over.stderr) == ("up\n", "nothing runs here: this is what the last stack has said\n")


@pytest.mark.parametrize("words", [[], ["-f"]])
def test_before_anything_has_run_it_says_so(tmp_path: Path, words: list[str]) -> None:
    done = devstack(tmp_path, "logs", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing has run here yet: devstack up\n")


def test_a_follower_sees_each_line_once_and_ends_with_the_stack(tmp_path: Path) -> None:
    counts = (
        f"{PYTHON} -uc \"import time; [(print('count', n), time.sleep(0.001)) for n in range(2000)]; time.sleep(600)\""
    )
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "devstack.toml").write_text("log_size = 20000\nlog_count = 50\n")
    with Driven(tmp_path / "p", {"web": counts, "worker": SLEEPS}, state=tmp_path / "s") as stack:
        stack.answers()
        stack.until("count 20\n")
        follower = Up(stack.directory, "logs", "-f", "-n", "all", "web", "--no-prefix", state=stack.state)
        with follower:
            follower.until("^count 1999$")
            assert stack.do("restart", "worker").returncode == 0
            assert stack.do("down").returncode == 0
            follower.until("the stack has ended")
            assert follower.ends() == 0
        assert [line for line in follower.text.splitlines() if line.startswith("count")] == [
            f"count {n}" for n in range(2000)
        ]


def test_a_follower_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    counts = f"{PYTHON} -uc \"import time; [print('count', n, 'z' * 1000) for n in range(20000)]; time.sleep(600)\""
    with Driven(tmp_path / "p", {"web": counts}, "up", "--quiet", "web", state=tmp_path / "s") as stack:
        stack.answers()
        stuck = subprocess.Popen(
            [sys.executable, "-m", "devstack", "logs", "-f", "-n", "all"],
            cwd=stack.directory,
            env=stack.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            stack.settled()
            with Up(stack.directory, "logs", "-f", "-n", "5", "--no-prefix", state=stack.state) as other:
                other.until("count 19999 ")
            assert stack.do("down").returncode == 0
            assert stack.ends() == 0
        finally:
            stuck.kill()
            stuck.communicate()
