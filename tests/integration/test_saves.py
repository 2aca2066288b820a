"""What a save means for whom, on real files: contents, uses, code that does not compile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from devstack.core.model import Phase, Service
from devstack.core.record import replace
from tests.support.stage import Stage, child
from tests.support.watching import Watching, watching

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on POSIX")
WORKER_AND_BEAT = (Service("worker", watch=(".",)), Service("beat", watch=(".",)))


def names_and_files(watched: Watching) -> list[tuple[tuple[str, ...], str]]:
    return [(event.names, event.saved) for event in watched.heard]


async def told(watched: Watching) -> list[tuple[tuple[str, ...], str]]:
    """What comes of the last save, all of it."""
    await watched.until(lambda: watched.heard)
    await watched.quiet()
    heard = names_and_files(watched)
    watched.heard.clear()
    return heard


async def nothing(watched: Watching) -> None:
    """Nothing came of what was saved before: a save that must be told is the only one that is."""
    await watched.quiet()
    assert (watched.heard, watched.said) == ([], [])


def test_a_save_concerns_exactly_those_who_imported_the_file(tmp_path: Path) -> None:
    for name in ("shop/tasks.py", "shop/beat.py", "shop/both.py", "shop/nobody.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["shop/tasks.py", "shop/both.py"])
        watched.uses("beat.1", ["shop/beat.py", "shop/both.py"])
        for name, names in (("tasks", ("worker.1",)), ("beat", ("beat.1",)), ("both", ("worker.1", "beat.1"))):
            watched.save(f"shop/{name}.py", "x = 2")
            assert await told(watched) == [(names, f"shop/{name}.py")]
        watched.save("shop/nobody.py", "x = 2")
        watched.save("shop/new.py", "x = 2")
        await nothing(watched)

    watching(tmp_path, script, WORKER_AND_BEAT)


def test_a_module_that_was_looked_for_and_one_that_goes_count(tmp_path: Path) -> None:
    watched_files = ("shop/models.py", "space/part/a.py", "shop/old.py")
    for name in watched_files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x = 1")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", watched_files, ["shop/local_settings", "shop/plugins", "shop/bare"])
        for name in (
            "shop/local_settings.py",
            "shop/plugins/__init__.py",
            "shop/bare/deep/a.py",  # a package without __init__.py
            "shop/models/__init__.py",  # goes before shop/models.py
            "space/__init__.py",  # makes a package of it
        ):
            watched.save(name, "x = 1")
            assert await told(watched) == [(("worker.1",), name)]
        (tmp_path / "shop" / "old.py").unlink()
        assert await told(watched) == [(("worker.1",), "shop/old.py")]
        watched.save("shop/plugin.py", "x = 1")
        watched.save("models/__init__.py", "x = 1")
        await nothing(watched)

    watching(tmp_path, script, WORKER_AND_BEAT[:1])


def test_who_does_not_tell_is_concerned_by_its_directories_and_what_failed_by_everything(tmp_path: Path) -> None:
    services = [Service("script", watch=("bot",)), Service("worker", watch=(".",)), Service("other", watch=("bot",))]

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["shop.py"])
        watched.uses("other.1", [])
        watched.stack.processes["worker.1"].phase = Phase.FAILED
        watched.save("bot/a.py", "x = 1")
        assert await told(watched) == [(("script.1", "worker.1", "other.1"), "bot/a.py")]
        watched.save("elsewhere.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "elsewhere.py")]

    watching(tmp_path, script, services)


def test_who_reloads_itself_is_left_alone_while_it_lives(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("first.1", ["first.py"])
        process = watched.stack.processes["web.1"]
        process.phase = Phase.READY
        watched.save("a.py", "x = 1")
        await nothing(watched)
        process.phase = Phase.FAILED
        watched.save("a.py", "x = 2")
        assert await told(watched) == [(("web.1",), "a.py")]

    watching(tmp_path, script, [Service("web", watch=(".",), reload="own"), Service("first", watch=(".",))])


def test_while_a_process_starts_it_uses_what_its_last_run_did(tmp_path: Path) -> None:
    """It may have read a file and not told so yet."""

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["shop.py", "tasks.py"])
        watched.save("tasks.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "tasks.py")]
        watched.uses("worker.1", ["shop.py"])
        watched.stack.processes["worker.1"].phase = Phase.RELOADING
        watched.save("tasks.py", "x = 2")
        assert await told(watched) == [(("worker.1",), "tasks.py")]
        watched.stack.processes["worker.1"].phase = Phase.READY
        watched.save("tasks.py", "x = 3")
        await nothing(watched)

    watching(tmp_path, script)


def test_while_a_process_starts_for_the_first_time_its_directories_count(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["shop.py"])
        watched.stack.processes["worker.1"].phase = Phase.STARTING
        watched.save("tasks.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "tasks.py")]

    watching(tmp_path, script)


def test_the_same_bytes_a_touch_and_editors_own_files_are_no_save(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("x = 1")

    async def script(watched: Watching) -> None:
        watched.save("old.py", "x = 1")  # never told, but known
        os.utime(tmp_path / "old.py", (1, 1))
        (tmp_path / "old.py").chmod(0o600)
        (tmp_path / "copy.tmp").write_text("x = 1")
        (tmp_path / "copy.tmp").rename(tmp_path / "old.py")
        for name in (
            *("old.pyc", ".old.py.swp", "old.py~", "4913", "#old.py#", "old.py___jb_tmp___", "db.sqlite3"),
            *(".#old.py", "flycheck_old.py", ".git/hooks/a.py", "__pycache__/old.cpython-311.pyc", "old.pyi"),
        ):
            watched.save(name, "anything")
        (tmp_path / "temporary.py").write_text("x = 1")
        (tmp_path / "temporary.py").unlink()
        await nothing(watched)
        watched.save("old.py", "x = 2")
        assert await told(watched) == [(("worker.1",), "old.py")]

    watching(tmp_path, script)


def test_code_that_does_not_compile_is_shown_and_the_next_good_save_tells_of_everything(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["shop/tasks.py", "shop/models.py"])
        watched.uses("beat.1", ["shop/models.py"])
        watched.save("shop/tasks.py", "def add(a, b):\n\treturn sum((a, b)\n")
        await watched.until(lambda: watched.said)
        assert watched.said == [
            "error: worker.1 not reloaded: shop/tasks.py does not compile  (shop/tasks.py:2)\n"
            "  why: SyntaxError: '(' was never closed\n"
            "    2 | return sum((a, b)\n"
            "      |           ^\n"
            "  the old code keeps running; the next save tries again"
        ]
        watched.said.clear()
        watched.save("shop/models.py", "x = 1")
        await watched.until(lambda: watched.heard and watched.said)
        assert names_and_files(watched) == [(("beat.1",), "shop/models.py")]
        assert watched.said == ["shop/tasks.py:2 still does not compile: worker.1 not reloaded"]
        await watched.rests()
        watched.save("shop/tasks.py", "def add(a, b):\n\treturn sum((a, b))\n")
        assert await told(watched) == [(("worker.1",), "shop/tasks.py and 1 more")]

    watching(tmp_path, script, WORKER_AND_BEAT)


def test_an_error_that_is_taken_back_reloads_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("x = 1")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        watched.save("tasks.py", "x = ")
        await watched.until(lambda: watched.said)
        watched.said.clear()
        watched.save("tasks.py", "x = 1")
        await watched.until(lambda: watched.said)
        assert watched.said == ["tasks.py is as it was: nothing to reload"]
        watched.said.clear()
        await nothing(watched)

    watching(tmp_path, script)


def test_what_was_taken_back_is_told_to_one_whose_last_reload_failed(tmp_path: Path) -> None:
    """It runs older code than that."""
    (tmp_path / "tasks.py").write_text("x = 1")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        process = watched.stack.processes["worker.1"]
        process.run, process.starts = 1, 2
        watched.save("tasks.py", "x = ")
        await watched.until(lambda: watched.said)
        watched.said.clear()
        watched.save("tasks.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "tasks.py")]
        process.run = 2
        process.phase = Phase.RELOADING  # it may have read what was broken
        watched.save("tasks.py", "x = ")
        await watched.until(lambda: watched.said)
        watched.said.clear()
        watched.save("tasks.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "tasks.py")]

    watching(tmp_path, script)


def test_several_errors_are_one_frame_and_a_line(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["a.py", "b.py", "c.py"])
        for name in "abc":
            watched.save(f"{name}.py", "x = ")
        await watched.until(lambda: len(watched.said) == 2)
        assert watched.said[0].startswith("error: worker.1 not reloaded: a.py does not compile")
        assert watched.said[1] == "b.py:1 and c.py:1 do not compile either"
        watched.said.clear()
        assert not watched.heard

    watching(tmp_path, script)


NASTY = {
    "null": b"x = 1\0\n",
    "encoding": b"x = '\xff'\n",
    "unknown encoding": b"# coding: klingon\nx = 1\n",
    "bom in the middle": "x = 1\n\ufeffy = 2\n".encode(),
    "utf-16": "x = 1\n".encode("utf-16"),
    "indentation": b"if x:\npass\n",
    "nested": b"x = " + b"(" * 500 + b"\n",
    "escape": b"x = 1 \x1b[2J\n",
    "return": b"return 1\n",
}


@pytest.mark.parametrize("name", NASTY)
def test_whatever_was_saved_becomes_an_error_that_can_be_read(tmp_path: Path, name: str) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        watched.save("tasks.py", NASTY[name])
        await watched.until(lambda: watched.said)
        assert watched.said[0].startswith("error: worker.1 not reloaded: tasks.py does not compile  (tasks.py")
        assert "Error: " in watched.said[0]
        assert "\x1b" not in watched.said[0]
        assert "devstack-saved" not in watched.said[0]
        watched.save("tasks.py", "x = 2")
        await watched.until(lambda: watched.heard)
        watched.said.clear()

    watching(tmp_path, script)


def test_what_cannot_be_judged_is_left_to_the_new_process(tmp_path: Path) -> None:
    deep = b"x = " + b"-" * 50_000 + b"1\n"
    large = b"x = 1\n" * 2_000_000

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        for source in (large, large + b"y", deep, b"x = 'a\\d' is 1\n"):
            watched.save("tasks.py", source)
            assert await told(watched) == [(("worker.1",), "tasks.py")]
        (tmp_path / "tasks.py").unlink()
        os.mkfifo(tmp_path / "tasks.py")
        assert await told(watched) == [(("worker.1",), "tasks.py")]

    watching(tmp_path, script)


def test_another_python_judges_for_itself_and_who_does_not_tell_may_not_use_it_at_all(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"], python="3.8.20")
        watched.save("tasks.py", "x = ")
        assert await told(watched) == [(("worker.1",), "tasks.py")]
        watched.uses("worker.1", [])
        watched.save("tasks.py", "y = ")
        assert await told(watched) == [(("worker.1",), "tasks.py")]

    watching(tmp_path, script)


def test_a_name_with_control_characters_is_shown_without_them(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.save("a\x1b[2J\n.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "a\ufffd[2J\ufffd.py")]

    watching(tmp_path, script)


def test_what_failed_is_not_tried_while_its_own_code_does_not_compile(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        watched.stack.processes["worker.1"].phase = Phase.FAILED
        watched.save("tasks.py", "x = ")
        await watched.until(lambda: watched.said)
        assert watched.said[0].endswith("\n  the next save tries again")
        watched.said.clear()
        watched.save("tasks.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "tasks.py")]
        watched.save("unused.py", "x = ")
        assert await told(watched) == [(("worker.1",), "unused.py")]

    watching(tmp_path, script)


def test_a_file_that_vanishes_while_it_is_looked_at_ends_nothing(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        watched.uses("worker.1", [f"t{n}.py" for n in range(50)])

        def churn() -> None:
            for _ in range(20):
                for n in range(50):
                    (tmp_path / f"t{n}.py").write_text("x = 1")
                for n in range(50):
                    (tmp_path / f"t{n}.py").unlink()

        await asyncio.to_thread(churn)
        await watched.rests()
        watched.save("t1.py", "x = 1")
        assert await told(watched) == [(("worker.1",), "t1.py")]

    watching(tmp_path, script)


TELLS = """
import json, os, sys, time
channel = int(os.environ["DEVSTACK_CHANNEL"].split(":")[1])
for message in (
    {"type": "hello", "pid": os.getpid(), "python": ".".join(map(str, sys.version_info[:3]))},
    {"type": "imported", "files": [os.path.abspath("used.py")], "modules": [], "missing": []},
):
    os.write(channel, json.dumps(message).encode() + b"\\n")
print("up", flush=True)
time.sleep(60)
"""


def test_what_a_process_tells_through_its_channel_decides(tmp_path: Path) -> None:
    silent = child("worker", TELLS, cwd=str(tmp_path), watch=(str(tmp_path),))
    service = replace(silent, launch=lambda n: replace(silent.launch(n), channel=True))
    (tmp_path / "used.py").write_text("x = 0")

    async def script(stage: Stage) -> None:
        await stage.until(r"all ready")
        await stage.until(r"worker.1 +\| up")  # it has told by then
        ups = stage.lines("worker.1").count("up")
        (tmp_path / "unused.py").write_text("x = 1")
        for attempt in range(100):  # the watch comes up at its own pace
            (tmp_path / "used.py").write_text(f"x = {attempt} +")
            with contextlib.suppress(AssertionError):
                await stage.until("used.py does not compile", within=0.5)
                break
        assert stage.lines("worker.1").count("up") == ups
        (tmp_path / "used.py").write_text("x = 'good'")
        await stage.until(r"worker.1 +\| up", times=ups + 1)
        stage.supervisor.leave()

    stage = Stage(service, watch=tmp_path)
    stage.play(script)
    assert "the old code keeps running; the next save tries again" in stage.text
    assert "unused.py" not in stage.text


def test_a_change_to_the_configuration_gets_a_word_and_reloads_nobody(tmp_path: Path) -> None:
    read = [tmp_path / "Procfile", tmp_path / ".env", tmp_path / "devstack.toml"]
    (tmp_path / ".env").write_text("A=1")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["tasks.py"])
        for name, text in ((".env", "A=2"), ("devstack.toml", "port = 7000"), ("Procfile", "web: true")):
            watched.save(name, text)
            await watched.until(
                lambda name=name: watched.said == [f"{name} changed: that counts from the next devstack up"]
            )
            watched.said.clear()
        watched.save(".env.example", "A=2")
        watched.save(".env", "A=2")
        await watched.quiet()

    assert watching(tmp_path, script, read=read) == []
