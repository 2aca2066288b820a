"""A process that writes into the watched tree at each start: seen, named, and left alone. Real processes, real files."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import pytest

from devstack.core import events as e
from devstack.runtime import saves
from tests.support.stage import Stage, child
from tests.support.watching import Watching, watching

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on POSIX")

WRITES_ITS_VERSION = """
import time
print("started", flush=True)
time.sleep(0.3)
open("version.py", "w").write(f"built = {time.time()}")
time.sleep(60)
"""


def starts(stage: Stage) -> int:
    return stage.lines("bot.1").count("started")


def test_a_process_that_writes_a_module_at_each_start_is_named_and_its_file_left_alone(tmp_path: Path) -> None:
    async def script(stage: Stage) -> None:
        await stage.until(r"version.py is written whenever bot.1 starts \(\d+ times in .* s\)", within=30)
        before = starts(stage)
        # Another file still reloads it, once: what that start writes is left alone.
        version = (tmp_path / "version.py").read_text()
        (tmp_path / "bot.py").write_text("x = 1")
        await stage.until(r"bot.1 +\| started", times=before + 1)
        await asyncio.to_thread(changed, tmp_path / "version.py", version)
        with pytest.raises(AssertionError):
            await stage.until(r"bot.1 +\| started", times=before + 2, within=2.5)
        # Somebody else saves it while nothing has just started.
        (tmp_path / "version.py").write_text("built = 'by hand'")
        await stage.until(r"bot.1 +\| started", times=before + 2)
        stage.supervisor.leave()

    bot = child("bot", WRITES_ITS_VERSION, cwd=str(tmp_path), watch=(str(tmp_path),))
    stage = Stage(bot, watch=tmp_path)
    stage.play(script)
    assert len(re.findall("is written whenever", stage.text)) == 1


def test_new_code_that_writes_and_falls_while_the_old_goes_on_is_a_loop_too(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["version.py"])
        process, version = watched.stack.processes["worker.1"], 0

        def tell(event: e.ReloadAsked) -> None:
            nonlocal version
            version += 1
            watched.heard.append(event)
            process.starts += 1  # it writes, falls, and the run that was held back goes on
            asyncio.get_running_loop().call_later(0.1, watched.save, "version.py", f"version = {version}")
            watched.changed.set()

        watched.tell = tell  # type: ignore[method-assign]
        watched.save("version.py", "version = 0")
        await watched.until(lambda: watched.said, within=30)
        found = re.match(r"version.py is written whenever worker.1 starts \((\d+) times", watched.said[0])
        assert found, watched.said
        watched.said.clear()
        # Five, and more where a busy machine makes some of them late.
        assert 5 <= int(found[1]) == len(watched.heard)
        await watched.quiet()

    watching(tmp_path, script)


def test_somebody_who_saves_often_is_not_taken_for_a_process(tmp_path: Path) -> None:
    """Always about as long after the start, more often than not: each save is live in the end."""
    (tmp_path / "bot.py").write_text("x = 0")

    async def script(stage: Stage) -> None:
        for n in range(1, 8):
            (tmp_path / "bot.py").write_text(f"x = {n}")
            await asyncio.sleep(1)
        await stage.until("runs 7")
        assert "is written whenever" not in stage.text
        stage.supervisor.leave()

    code = "import time; print('started'); exec(open('bot.py').read()); print('runs', x, flush=True); time.sleep(60)"
    stage = Stage(child("bot", code, cwd=str(tmp_path), watch=(str(tmp_path),)), watch=tmp_path)
    stage.play(script)


@pytest.mark.parametrize("ready", ["worker_ready", "beat_ready", "listening"])
def test_saves_once_a_second_are_told_at_once_where_a_process_says_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: str
) -> None:
    monkeypatch.setattr(saves, "JUST_STARTED", 60.0)

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        subject, process = watched.subjects["worker.1"], watched.stack.processes["worker.1"]

        def tell(event: e.ReloadAsked) -> None:
            process.starts += 1
            process.run = process.starts
            subject.started = time.monotonic()
            subject.beacon[ready] = {"seen": subject.started}
            watched.heard.append(event)
            watched.changed.set()

        watched.tell = tell  # type: ignore[method-assign]
        for number in range(8):
            watched.save("tasks.py", f"version = {number}")
            await watched.until(lambda times=number + 1: len(watched.heard) == times)
            await asyncio.sleep(0.3)

    watching(tmp_path, script)


def changed(path: Path, text: str) -> None:
    """Wait until the file holds something else."""
    deadline = time.monotonic() + 10
    while path.read_text() == text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
