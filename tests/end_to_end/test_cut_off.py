"""A task that takes longer than the grace of a stop: nobody can finish it, so it is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import celery_project
from tests.support.redis_server import redis_server
from tests.support.up import Up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def test_a_task_that_a_stop_cuts_off_is_named(tmp_path: Path) -> None:
    with redis_server() as server:
        project = celery_project.make(tmp_path / "project", server.url)
        (project / "Procfile").write_text(f"worker: '{sys.executable}' -m celery -A shop worker -c 1 -l info\n")
        (project / "devstack.toml").write_text("grace = 4\n")
        with Up(project, "up", "--no-color") as up:
            up.until("all ready")
            subprocess.run([sys.executable, "-c", "import shop; shop.sleep.delay(300)"], cwd=project, check=True)
            up.until(r"shop\.sleep\S* received")
            up.ctrl_c()
            up.until(r"waiting for worker\.1 \(finishing shop\.sleep, \d")
            up.until(r"worker\.1: shop\.sleep is cut off after [4-9]\S* s; grace says how long a stop waits")
            assert up.ends() == 130
            assert up.left() == []
