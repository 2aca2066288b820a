"""The watcher on real files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devstack.core import events as e
from devstack.core.model import Phase, Service, Stack
from devstack.runtime import watcher
from devstack.runtime.watched import Watched

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on POSIX")


class Watching:
    """A watcher of `root` that has begun to watch; `heard` are the events it told, `said` the sentences."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.heard: list[e.ReloadAsked] = []
        self.changed = asyncio.Event()

    def tell(self, event: e.Event) -> None:
        assert isinstance(event, e.ReloadAsked)
        self.heard.append(event)
        self.changed.set()

    async def begins(self) -> None:
        """Save until it has seen one: how soon a watch is up is not ours to know."""
        for attempt in range(200):
            (self.root / "warm.py").write_text(f"x = {attempt}")
            if await self.hears(within=0.2):
                break
        while await self.hears(within=0.3):
            pass
        self.heard.clear()

    async def hears(self, within: float = 5.0) -> bool:
        try:
            await asyncio.wait_for(self.changed.wait(), within)
        except TimeoutError:
            return False
        self.changed.clear()
        return True


def watching(root: Path, script: Callable[[Watching], Awaitable[None]]) -> list[e.ReloadAsked]:
    async def play() -> list[e.ReloadAsked]:
        stack = Stack.of([Service("worker", watch=(str(root),)), Service("web")])
        watched = Watching(root)
        said: list[str] = []
        task = asyncio.create_task(watcher.watch(stack, root, watched.tell, said.append, asyncio.Event()))
        try:
            await watched.begins()
            await script(watched)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not said
        return watched.heard

    return asyncio.run(play())


def test_a_save_an_editors_rename_and_a_new_file_are_seen(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    async def script(watched: Watching) -> None:
        (tmp_path / "shop" / "tasks.py").write_text("x = 1")
        assert await watched.hears()
        (tmp_path / "shop" / "tasks.py.tmp").write_text("x = 2")
        (tmp_path / "shop" / "tasks.py.tmp").rename(tmp_path / "shop" / "tasks.py")
        assert await watched.hears()

    heard = watching(tmp_path, script)
    assert {event.names for event in heard} == {("worker.1",)}
    assert {event.saved for event in heard} == {"shop/tasks.py"}


def test_a_directory_that_appears_is_watched_with_what_it_brought(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        (tmp_path / "new" / "deep").mkdir(parents=True)
        (tmp_path / "new" / "deep" / "a.py").write_text("x = 1")
        assert await watched.hears()
        for attempt in range(100):  # until the new watch is up
            (tmp_path / "new" / "deep" / "b.py").write_text(f"x = {attempt}")
            if await watched.hears(within=0.2):
                return
        raise AssertionError("the new directory is not watched")

    assert watching(tmp_path, script)


def test_a_save_at_any_moment_after_a_directory_appeared_is_seen(tmp_path: Path) -> None:
    """As `git checkout` does: the watch is set anew meanwhile."""
    (tmp_path / "shop").mkdir()

    async def script(watched: Watching) -> None:
        for milliseconds in (0, 5, 10, 15, 20, 30, 40, 80, 120, 130, 140):
            (tmp_path / f"new{milliseconds}").mkdir()
            await asyncio.sleep(milliseconds / 1000)
            (tmp_path / "shop" / "tasks.py").write_text(f"x = {milliseconds}")
            assert await watched.hears(), f"saved after {milliseconds} ms"
            while await watched.hears(within=0.2):
                pass

    assert {event.saved for event in watching(tmp_path, script)} == {"shop/tasks.py"}


def test_a_directory_in_a_directory_that_appeared_is_watched_whenever_it_comes(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        for milliseconds in (0, 10, 20, 40, 100, 120, 140):
            new = tmp_path / f"new{milliseconds}"
            new.mkdir()
            await asyncio.sleep(milliseconds / 1000)
            (new / "deep").mkdir()
            (new / "deep" / "a.py").write_text("x = 1")
            assert await watched.hears(), f"made after {milliseconds} ms"
            while await watched.hears(within=0.3):
                pass
            (new / "deep" / "a.py").write_text("x = 22")
            assert await watched.hears(), f"saved in what was made after {milliseconds} ms"
            while await watched.hears(within=0.2):
                pass

    watching(tmp_path, script)


def test_a_new_directory_and_a_save_beside_it_are_one_restart(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "a.py").write_text("x = 1")
        (tmp_path / "b.py").write_text("x = 1")
        assert await watched.hears()
        assert not await watched.hears(within=0.5)

    assert [event.saved for event in watching(tmp_path, script)] == ["b.py and 1 more"]


def test_a_directory_that_vanishes_before_it_is_watched_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = Watched.directories, iter([[str(tmp_path / "gone")]])
    monkeypatch.setattr(Watched, "directories", lambda self: real(self) + next(looks, []))

    async def script(watcher: Watching) -> None:
        (tmp_path / "a.py").write_text("x = 1")
        assert await watcher.hears()

    assert watching(tmp_path, script)
    assert Watched([str(tmp_path)]).snapshot([str(tmp_path / "gone")]) == {}


def test_caches_version_control_and_venvs_are_not_watched_and_other_files_do_not_count(tmp_path: Path) -> None:
    for name in (".git", "node_modules/x", "__pycache__", "env/lib"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()

    async def script(watched: Watching) -> None:
        for name in (
            ".git/a.py",
            "node_modules/x/a.py",
            "__pycache__/a.py",
            "env/lib/a.py",
            "notes.txt",
            "db.sqlite3",
            "a.pyc",
        ):
            (tmp_path / name).write_text("x = 1")
        (tmp_path / "last.py").write_text("x = 1")
        assert await watched.hears()

    assert [event.saved for event in watching(tmp_path, script)] == ["last.py"]
    assert Watched([str(tmp_path)]).directories() == [str(tmp_path)]


def test_what_failed_is_tried_again_after_a_save_although_nothing_else_is_watched(tmp_path: Path) -> None:
    async def play() -> list[e.Event]:
        stack = Stack.of([Service("web"), Service("worker")])
        stack.processes["web.1"].phase = Phase.FAILED
        watched, failure = Watching(tmp_path), asyncio.Event()
        task = asyncio.create_task(watcher.watch(stack, tmp_path, watched.tell, print, failure))
        failure.set()
        try:
            for attempt in range(200):
                (tmp_path / "settings.py").write_text(f"x = {attempt}")
                if await watched.hears(within=0.2):
                    break
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return list(watched.heard)

    assert asyncio.run(play())[0] == e.ReloadAsked(("web.1",), "settings.py")
