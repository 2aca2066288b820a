"""Spares as the supervisor keeps them: used when they are what a cold start would be, thrown away otherwise, and never in the way."""

from __future__ import annotations

import asyncio
import functools
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from devstack.core.model import Stack
from devstack.core.record import replace
from devstack.runtime import child, standby
from tests.support.celery_project import BOOT
from tests.support.spared import Scene, scene
from tests.support.stage import gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="spares are forked on Linux alone")

SERVES = """\
import os, signal, sys
import library, shop
print(shop.VERSION, library.VERSION, os.getpid(), flush=True)
signal.pause()
"""


def played(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def play(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 60))

    return play


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(standby, "SETTLE", 0.0)
    monkeypatch.setattr(standby, "SHORT_OF_MEMORY", 0)
    project = tmp_path / "project"
    project.mkdir()
    (project / "shop.py").write_text("VERSION = 'old'\n")
    (tmp_path / "site-packages").mkdir()
    write(tmp_path / "site-packages" / "library.py", "VERSION = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site-packages"))
    return project


def write(file: Path, text: str) -> None:
    """As if it had been there for long: what was saved while the spare was made counts as changed."""
    file.write_text(text)
    os.utime(file, (1_700_000_000, 1_700_000_000))


async def ready(scene: Scene) -> standby.Spare:
    """A run that serves, and its spare."""
    first = await scene.start()
    await first.prints("old 1")
    return await scene.ready(first)


@played
async def test_runs_come_out_of_one_spare_with_the_code_that_was_saved_last(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        assert "library" in it.standby._modules["it.1"]
        for version in ("new", "newer"):
            (project / "shop.py").write_text(f"VERSION = {version!r}\n")
            run = await it.start()
            await run.prints(f"{version} 1 {run.pid}")
            assert run.parent == spare.subject.pid
            assert await run.end() == -signal.SIGKILL
        assert it.spare is spare
        assert it.said == []


@played
async def test_a_spare_that_cannot_be_forked_becomes_the_run(project: Path) -> None:
    async with scene(project, SERVES, open_stdin=True) as it:
        spare = await ready(it)
        assert spare.use == "once"
        (project / "shop.py").write_text("VERSION = 'new'\n")
        run = await it.start()
        await run.prints(f"new 1 {run.pid}")
        assert run.pid == spare.subject.pid
        # The next one is made at once, and waited for by whoever comes before it is ready.
        await it.until(lambda: it.spare)
        coming = it.spare
        assert coming
        assert coming is not spare
        again = await it.start()
        assert again.pid == coming.subject.pid
        assert await run.end() == await again.end() == -signal.SIGKILL


@played
async def test_a_killed_spare_costs_nothing_but_time(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        assert spare.subject.pid
        os.kill(spare.subject.pid, signal.SIGKILL)
        run = await it.start()  # It may not even be known yet.
        await run.prints("old 1")
        assert run.parent == os.getpid()
        await it.until(lambda: it.spare is None)
        assert it.said == []
        await it.ready(run)


@played
async def test_a_fork_outlives_its_spare_and_its_end_is_seen(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        run = await it.start()
        await run.prints("old 1")
        spare.child.kill()
        await it.until(lambda: it.spare is None)
        assert not run.ended.done()
        os.kill(run.pid, signal.SIGTERM)
        assert await asyncio.wait_for(run.ended, 10) == 1
        assert gone(run.pid)


@played
async def test_a_spare_that_is_thrown_away_waits_for_its_forks_and_goes(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        run = await it.start()
        await run.prints("old 1")
        it.standby.drop("it.1")
        assert not gone(int(spare.subject.pid or 0))
        os.kill(run.pid, signal.SIGTERM)
        assert await asyncio.wait_for(run.ended, 10) == -signal.SIGTERM
        await it.until(lambda: spare.over)
        assert it.standby.children() == []


@played
async def test_a_spare_that_answers_nothing_is_ended_and_does_not_start_anything_later(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby.Spare.answer, "__defaults__", ("", 0.3))
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        assert spare.subject.pid
        os.kill(spare.subject.pid, signal.SIGSTOP)
        run = await it.start()
        await run.prints("old 1")
        assert run.parent == os.getpid()
        await it.until(lambda: spare.over)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
@played
async def test_one_that_stops_when_it_is_to_fork_costs_a_cold_start_with_its_whole_output(
    project: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(child, "FORKED_WITHIN", 0.3)
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        answer = spare.answer

        async def stop_then(message: str, order: str = "", within: float = 1) -> dict[str, object]:
            said = await answer(message, order, within)
            os.kill(spare.subject.pid or 0, how)
            return said

        monkeypatch.setattr(spare, "answer", stop_then)
        # What it leaves behind is heard for a moment, unless the end of what the spare would have said counts for its own.
        (project / "manage.py").write_text(
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(0.2)\n    print('the end')\n"
        )
        run = await it.start()
        assert await asyncio.wait_for(run.ended, 10) == 0
        assert run.said.data == b"the end\n"
        await it.until(lambda: spare.over)


@pytest.mark.parametrize("what", ["library", "shadow", "package", "replaced by a package", "path"])
@played
async def test_what_changed_besides_the_project_is_never_taken_from_a_spare(project: Path, what: str) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        if what == "library":
            write(project.parent / "site-packages" / "library.py", "VERSION = 22\n")
        if what == "shadow":
            (project / "library.py").write_text("VERSION = 22\n")
        if what == "package":
            (project.parent / "site-packages" / "library-22.dist-info").mkdir()
        if what == "replaced by a package":
            (project.parent / "site-packages" / "library.py").unlink()
            (project.parent / "site-packages" / "library").mkdir()
            (project.parent / "site-packages" / "library" / "__init__.py").write_text("VERSION = 22\n")
        if what == "path":
            (project.parent / "site-packages" / "more.pth").write_text("/nowhere")
        run = await it.start()
        await run.prints("old 1 " if what in ("package", "path") else "old 22")
        assert run.parent == os.getpid()
        assert it.said == []
        await it.until(lambda: spare.over)


@played
async def test_a_new_file_of_the_project_or_beside_packages_is_no_reason_to_start_cold(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        (project / "more.py").write_text("")
        (project.parent / "site-packages" / "__pycache__").mkdir(exist_ok=True)
        (project.parent / "site-packages" / "notes.txt").write_text("not a package")
        (project / "shop.py").write_text("import more\nVERSION = 'new'\n")
        run = await it.start()
        await run.prints("new 1")
        assert run.parent == spare.subject.pid


@played
async def test_another_launch_or_root_gets_no_old_spare(project: Path) -> None:
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        it.change(env={**it.launch.env, "MORE": "1"})
        run = await it.start()
        assert run.parent == os.getpid()
        await it.until(lambda: spare.over)
        again = await it.ready(run)
        it.process.service = replace(it.process.service, watch=(str(project / "elsewhere"),))
        run = await it.start()
        assert run.parent == os.getpid()
        await it.until(lambda: again.over)


@played
async def test_a_library_that_patches_others_means_no_spare_and_one_sentence(project: Path) -> None:
    write(project.parent / "site-packages" / "gevent.py", "")
    write(project.parent / "site-packages" / "tool.py", "import gevent\n" + SERVES)
    async with scene(project, "", argv=(sys.executable, str(BOOT), "module", "tool")) as it:
        for _ in range(3):
            run = await it.start()
            await run.prints("old 1")
            await it.prepared(run)
            assert it.spare is None
        assert it.said == [
            "it.1 starts cold at a reload: gevent is in it, which has to be loaded in its own order",
        ]


@pytest.mark.parametrize("patches", [False, True])
@played
async def test_nothing_is_warmed_for_a_program_that_patches_others(project: Path, patches: bool) -> None:
    (project.parent / "site-packages" / "gevent").mkdir()
    write(project.parent / "site-packages" / "gevent" / "__init__.py", "")
    write(
        project.parent / "site-packages" / "gevent" / "monkey.py", f"saved = {{'socket': {{}}}} if {patches} else {{}}"
    )
    async with scene(project, "import library, gevent.monkey, shop\n" + SERVES) as it:
        spare = await ready(it)
        warmed = spare.subject.beacon["warmed"]["modules"]
        assert (warmed == 0) is patches
        (project / "shop.py").write_text("VERSION = 'new'\n")
        run = await it.start()
        await run.prints("new 1")
        assert run.parent == spare.subject.pid
        assert it.said == []


@played
async def test_one_that_ends_before_it_comes_to_its_code_is_named_once(project: Path) -> None:
    async with scene(project, SERVES, argv=(sys.executable, str(BOOT), "module", "this")) as it:
        run = await it.start()
        assert await run.ended == 0
        await it.prepared(run)
        await it.prepared(run)
        assert it.spare is None
        assert it.said == ["it.1 starts cold at a reload: its spare ended before it came to the project's code"]


@played
async def test_one_that_hangs_while_it_is_prepared_is_ended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "PREPARED_WITHIN", 1.0)
    write(project.parent / "site-packages" / "slow.py", "import time\ntime.sleep(3600)\n")
    async with scene(project, SERVES) as it:
        run = await it.start()
        await run.prints("old 1")
        run.run.subject.uses.modules["slow"] = None
        await it.prepared(run)
        assert it.spare is None
        await it.until(lambda: not it.standby.children())
        assert it.said == ["it.1 starts cold at a reload: its spare was not ready within 1 s"]


@played
async def test_a_module_that_cannot_be_imported_early_is_left_out_of_this_and_later_spares(project: Path) -> None:
    write(project.parent / "site-packages" / "eager.py", "import shop\n")
    async with scene(project, "import eager\n" + SERVES) as it:
        await ready(it)
        assert it.standby._skipped["it.1"] == {"eager"}
        assert it.said == []
        (project / "shop.py").write_text("VERSION = 'new'\n")
        run = await it.start()
        await run.prints("new 1")


@played
async def test_what_a_library_lacks_is_no_reason_to_make_a_spare_anew(project: Path) -> None:
    write(project.parent / "site-packages" / "optional.py", "import not_installed\n")
    program = "try:\n    import optional\nexcept ImportError:\n    pass\n"
    async with scene(project, program + SERVES) as it:
        await ready(it)
        assert "optional" in it.standby._modules["it.1"]
        assert not it.standby._skipped["it.1"]


@played
async def test_one_that_is_killed_while_it_is_prepared_is_made_again_later(project: Path) -> None:
    slow = project.parent / "site-packages" / "slow.py"
    write(slow, f"import os, signal\nopen({str(project.parent / 'pid')!r}, 'w').close()\nsignal.pause()\n")
    async with scene(project, SERVES) as it:
        run = await it.start()
        await run.prints("old 1")
        run.run.subject.uses.modules["slow"] = None
        it.standby.prepare(it.process, run.run.subject)
        await it.until((project.parent / "pid").exists)
        assert it.spare is not None
        os.kill(it.spare.subject.pid or 0, signal.SIGKILL)
        await it.until(lambda: not it.standby._preparing)
        assert it.spare is None
        assert it.said == []
        write(slow, "")
        await it.ready(run)


@played
async def test_spares_are_not_kept_while_memory_is_short(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standby, "LOOK_AT_MEMORY", 0.05)
    async with scene(project, SERVES) as it:
        spare = await ready(it)
        monkeypatch.setattr(standby, "SHORT_OF_MEMORY", 1 << 60)
        await it.until(lambda: spare.over)
        run = await it.start()
        await run.prints("old 1")
        await it.prepared(run)
        assert it.spare is None


@pytest.mark.parametrize("change", [{"standby": False}, {"oneshot": True}])
@played
async def test_who_does_not_want_a_spare_has_none(project: Path, change: dict[str, bool]) -> None:
    async with scene(project, SERVES) as it:
        it.process = Stack.of([replace(it.service, **change)]).processes["it.1"]
        run = await it.start()
        await run.prints("old 1")
        await it.prepared(run)
        assert it.standby.children() == []
        assert it.said == []


@played
async def test_what_stands_before_a_program_is_not_run_once_more(project: Path) -> None:
    command = f"echo once >> done && exec {shlex.quote(sys.executable)} {shlex.quote(str(BOOT))} script manage.py"
    async with scene(project, SERVES, argv=(command,), shell=True) as it:
        for _ in range(2):
            run = await it.start()
            await run.prints("old 1")
            await it.prepared(run)
        assert (project / "done").read_text().splitlines() == ["once", "once"]
        assert it.said == ["it.1 starts cold at a reload: what stands before it in its command would run once more"]
