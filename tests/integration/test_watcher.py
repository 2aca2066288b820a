"""The watcher on real files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from devstack.core import events as e
from devstack.core.model import Phase, Service, Stack
from devstack.runtime import watcher
from devstack.runtime.watched import Watched
from tests.support.watching import Watching, watching

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on POSIX")


@pytest.fixture(autouse=True, params=["a bell", "no bell"])
def ring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux, and as elsewhere."""
    if request.param == "no bell":
        monkeypatch.setattr(watcher, "bell", lambda places, ring: None)


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


def test_a_save_before_the_watch_is_up_is_seen(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("x = 1")
    os.utime(tmp_path / "old.py", (1e9, 1e9))
    (tmp_path / "tasks.py").write_text("x = 1")
    os.utime(tmp_path / "tasks.py", (1e9, 1e9))
    seen: list[str] = []

    async def script(watched: Watching) -> None:
        seen.extend(watched.early)

    watching(tmp_path, script, early=lambda: (tmp_path / "tasks.py").write_text("x = 2"))
    assert seen == ["tasks.py"]


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
        for milliseconds in (0, 5, 10, 20, 40, 80, 130):
            (tmp_path / f"new{milliseconds}").mkdir()
            await asyncio.sleep(milliseconds / 1000)
            (tmp_path / "shop" / "tasks.py").write_text(f"x = {milliseconds}")
            assert await watched.hears(), f"saved after {milliseconds} ms"
            while await watched.hears(within=0.2):
                pass

    assert {event.saved for event in watching(tmp_path, script)} == {"shop/tasks.py"}


def test_a_directory_in_a_directory_that_appeared_is_watched_whenever_it_comes(tmp_path: Path) -> None:
    async def script(watched: Watching) -> None:
        for milliseconds in (0, 10, 20, 40, 120):
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
        watched, failure = Watching(tmp_path, stack), asyncio.Event()
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


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True)


def test_a_checkout_of_a_thousand_files_is_one_reload(tmp_path: Path) -> None:
    names = [f"p{n % 20}/m{n}.py" for n in range(1000)]
    for version in ("1", "2"):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"version = {version}")
        if version == "1":
            git(tmp_path, "init")
        else:
            git(tmp_path, "checkout", "-b", "other")
        git(tmp_path, "add", *{name.split("/")[0] for name in names})
        git(tmp_path, "commit", "-m", version)

    async def script(watched: Watching) -> None:
        await asyncio.to_thread(git, tmp_path, "checkout", "main")
        assert await watched.hears()
        await watched.quiet()

    assert [event.saved for event in watching(tmp_path, script)] == ["p0/m0.py and 999 more"]


def test_a_stream_of_saves_is_told_when_it_ends(tmp_path: Path) -> None:
    """A formatter that goes through the project; no Git that says when it is over."""

    async def script(watched: Watching) -> None:
        def format_all() -> None:
            for n in range(500):
                (tmp_path / f"m{n}.py").write_text("x = 1")

        await asyncio.to_thread(format_all)
        assert await watched.hears()
        await watched.quiet()

    sizes = [size(event) for event in watching(tmp_path, script)]
    assert sum(sizes) == 500
    assert len(sizes) == 1 or (len(sizes) == 2 and sizes[0] <= watcher.FEW)


def test_what_the_system_drops_in_a_storm_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = watcher.Watcher._report

    def forgetful(self: watcher.Watcher, paths: Iterable[str]) -> None:
        real(self, [path for path in paths if len(self._seen) > watcher.MANY or not path.endswith("lost.py")])

    monkeypatch.setattr(watcher.Watcher, "_report", forgetful)
    monkeypatch.setattr(watcher, "MANY", 100)
    monkeypatch.setattr(watcher, "QUIET", 0.5)

    async def script(watched: Watching) -> None:
        def storm() -> None:
            watched.save("lost.py", "x = 1")
            for n in range(500):
                watched.save(f"m{n}.py", "x = 1")

        await asyncio.to_thread(storm)
        await watched.until(lambda: watched.heard)
        while await watched.hears(within=1):
            pass
        watched.save("last.py", "x = 1")
        await watched.until(lambda: watched.heard[-1].saved == "last.py")

    assert sum(size(event) for event in watching(tmp_path, script)) == 502


def size(event: e.ReloadAsked) -> int:
    return int(event.saved.split()[2]) + 1 if " and " in event.saved else 1


def test_a_lock_that_git_left_behind_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    lock = tmp_path / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (1, 1))

    async def script(watched: Watching) -> None:
        watched.save("a.py", "x = 1")
        assert await watched.hears(within=watcher.LONGEST_CHECKOUT / 2)

    assert watching(tmp_path, script)


def test_half_of_a_save_is_not_told(tmp_path: Path) -> None:
    """vim moves the old file away first, others truncate it."""

    async def script(watched: Watching) -> None:
        watched.save("a.py", "x = 1")
        await watched.until(lambda: watched.heard)
        await watched.rests()
        (tmp_path / "a.py").rename(tmp_path / "a.py~")
        await asyncio.sleep(0.03)
        watched.save("a.py", "")
        await asyncio.sleep(0.03)
        watched.save("a.py", "x = 1")
        assert not await watched.hears(within=0.5)

    assert not watching(tmp_path, script)


def test_a_root_that_goes_and_comes_back_is_watched_again(tmp_path: Path) -> None:
    """As when a branch does not have that directory."""
    (tmp_path / "deep" / "shop").mkdir(parents=True)
    services = [Service("worker", watch=(str(tmp_path / "deep" / "shop"), str(tmp_path)))]
    services += [Service("beat", watch=(str(tmp_path / "deep" / "shop"),))]

    async def script(watched: Watching) -> None:
        watched.save("deep/shop/a.py", "x = 1")
        await watched.until(lambda: watched.heard)
        await watched.rests()
        (tmp_path / "deep").rename(tmp_path / "gone")
        await watched.until(lambda: any("beat.1" in event.names for event in watched.heard))
        await watched.rests()
        (tmp_path / "gone").rename(tmp_path / "deep")
        await watched.until(lambda: any("beat.1" in event.names for event in watched.heard))
        await watched.rests()
        watched.save("deep/shop/a.py", "x = 2")
        await watched.until(lambda: watched.heard)

    (event,) = watching(tmp_path, script, services)
    assert (event.names, event.saved) == (("worker.1", "beat.1"), "deep/shop/a.py")


def test_the_only_root_may_go_and_come_back(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()

    async def script(watched: Watching) -> None:
        root.rename(tmp_path / "gone")
        await watched.until(lambda: watched.heard)
        await watched.rests()
        (tmp_path / "elsewhere.py").write_text("x = 1")
        assert not await watched.hears(within=0.3)
        (tmp_path / "gone").rename(root)
        await watched.until(lambda: watched.heard)
        await watched.rests()
        watched.save("a.py", "x = 2")
        await watched.until(lambda: watched.heard)

    assert [event.saved for event in watching(root, script)] == ["a.py"]


def test_a_project_behind_a_link_and_a_linked_package_are_watched(tmp_path: Path) -> None:
    for name in ("real", "libs/common", "libs/bare"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "libs" / "common" / "__init__.py").touch()
    (tmp_path / "real" / "common").symlink_to(tmp_path / "libs" / "common")
    (tmp_path / "real" / "bare").symlink_to(tmp_path / "libs" / "bare")
    (tmp_path / "real" / "round").symlink_to(tmp_path / "real")
    (tmp_path / "project").symlink_to(tmp_path / "real")

    async def script(watched: Watching) -> None:
        watched.uses("worker.1", ["common/__init__.py", "common/tools.py", "bare/x.py", "tasks.py"])
        for name in ("tasks.py", "common/tools.py"):
            watched.save(name, "x = 1")
            await watched.until(lambda: watched.heard)
            (event,) = watched.heard
            assert event.names == ("worker.1",)
            await watched.rests()

    watching(tmp_path / "project", script)


def test_other_files_are_watched_by_pattern(tmp_path: Path) -> None:
    (tmp_path / "templates" / "shop").mkdir(parents=True)
    files = ((str(tmp_path / "templates"), "**/*.html"), (str(tmp_path), "prices.yaml"))
    services = [Service("web", watch=(str(tmp_path),), watch_files=files), Service("worker", watch=(str(tmp_path),))]

    async def script(watched: Watching) -> None:
        for name in ("web.1", "worker.1"):
            watched.uses(name, ["shop.py"])
        for name in ("templates/shop/a.html", "prices.yaml", "templates/b.html"):
            watched.save(name, "1")
            await watched.until(lambda: watched.heard)
            assert [(event.names, event.saved) for event in watched.heard] == [(("web.1",), name)]
            await watched.rests()
        for name in ("templates/a.css", "other.yaml", "shop/prices.yaml", "a.html"):
            watched.save(name, "1")
        assert not await watched.hears(within=0.5)

    watching(tmp_path, script, services)


@pytest.mark.parametrize(("limit", "words"), [("watches", "max_user_watches"), ("instances", "max_user_instances")])
def test_without_watches_left_it_looks_by_itself_and_says_so(tmp_path: Path, limit: str, words: str) -> None:
    """In a user namespace, which has limits of its own."""
    shrink = f"echo 1 > /proc/sys/user/max_inotify_{limit} && exec "
    script = f'{shrink} "$0" "$@"'
    if subprocess.run(["unshare", "-Ur", "sh", "-c", f"{shrink} true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    (tmp_path / "shop").mkdir()
    words_of_program = [sys.executable, "-c", POLLED, str(tmp_path), limit]
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, *words_of_program], capture_output=True, text=True, timeout=60
    )
    assert not done.returncode, done.stderr
    said, *told = done.stdout.splitlines()
    assert f"sudo sysctl fs.inotify.{words}=" in said
    assert told == ["shop/a.py", "shop/a.py", "shop/new/b.py", "shop/a.py"]


POLLED = """
import asyncio, sys
from pathlib import Path
from devstack.core.model import Service, Stack
from tests.support.watching import Watching, watching

async def script(watched):
    for name, text in (("shop/a.py", "x = 1"), ("shop/a.py", "x = 2"), ("shop/new/b.py", "x = 1"), ("shop/a.py", None)):
        if text:
            watched.save(name, text)
        else:
            (watched.root / name).unlink()
        await watched.until(lambda: watched.heard)
        print(watched.heard[0].saved)
        await watched.rests()

class Saying(Watching):
    def say(self, text):
        print(text)

if sys.argv[2] == "instances":  # one is all there is
    from watchfiles._rust_notify import RustNotify
    other = RustNotify([sys.argv[1]], False, False, 300, False, False)
import tests.support.watching
tests.support.watching.Watching = Saying
watching(Path(sys.argv[1]), script, silent=False)
"""


def test_where_the_file_system_does_not_tell_it_looks_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "silent", lambda directory: "9p")
    said = []

    async def script(watched: Watching) -> None:
        watched.save("a.py", "x = 1")
        await watched.until(lambda: watched.heard)

    monkeypatch.setattr(Watching, "say", lambda self, text: said.append(text))
    assert [event.saved for event in watching(tmp_path, script)] == ["a.py"]
    assert said == [f"{tmp_path} lies on 9p: nobody tells when a file changes, so devstack looks every 300 ms or so"]


def test_whoever_wants_polling_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    said = []
    monkeypatch.setattr(Watching, "say", lambda self, text: said.append(text))

    async def script(watched: Watching) -> None:
        for n in range(3):  # within one second, which a file's time in seconds would not show
            watched.save("a.py", f"x = {n}")
            await watched.until(lambda n=n: len(watched.heard) > n)

    assert [event.saved for event in watching(tmp_path, script)] == ["a.py"] * 3
    assert said[0].startswith("WATCHFILES_FORCE_POLLING is set")
