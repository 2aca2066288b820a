"""A task that takes longer than the grace of a stop: nobody can finish it, so it is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import celery_project
from tests.support.redis_server import redis_server
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.mark.parametrize("how", ["ctrl-c", "restart", "stop", "down"])
def test_a_task_that_a_stop_cuts_off_is_named(tmp_path: Path, how: str) -> None:
    with redis_server() as server:
        project = celery_project.make(tmp_path / "project", server.url)
        (project / "Procfile").write_text(f"worker: '{sys.executable}' -m celery -A shop worker -c 1 -l info\n")
        (project / "devstack.toml").write_text("grace = 4\n")
        with Up(project, "up", "--no-color") as up:
            up.until("all ready")
            subprocess.run([sys.executable, "-c", "import shop; shop.sleep.delay(300)"], cwd=project, check=True)
            up.until(r"shop\.sleep\S* received")
            if how == "ctrl-c":
                up.ctrl_c()
                up.until(r"waiting for worker\.1 \(finishing shop\.sleep, \d")
            else:
                words = [how] if how == "down" else [how, "worker"]
                done = subprocess.run(
                    [sys.executable, "-m", "devstack", *words], cwd=project, env=up.env, capture_output=True, text=True
                )
                assert re.search(r"shop\.sleep is cut off after [4-9]\S* s", done.stderr + done.stdout), done.stderr
            up.until(r"worker\.1: shop\.sleep is cut off after [4-9]\S* s; grace says how long a stop waits")
            if how in ("ctrl-c", "down"):
                assert up.ends() == (130 if how == "ctrl-c" else 0)
                assert up.left() == []
