"""The bell of host/inotify on real directories."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.host.inotify import bell
from devstack.runtime import watcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has it")
WITHIN = 10.0


def rung(places: list[Path], act: Callable[[], object]) -> bool:
    """Whether `act` rings the bell of these places."""

    async def run() -> bool:
        ringing = asyncio.Event()
        end = bell([str(place) for place in places], ringing.set)
        assert end
        try:
            act()
            await asyncio.wait_for(ringing.wait(), WITHIN)
            return True
        finally:
            end()

    return asyncio.run(run())


@pytest.mark.parametrize("how", ["new", "changed", "renamed", "removed", "made"])
def test_it_rings_for_whatever_happens_in_a_place(tmp_path: Path, how: str) -> None:
    (tmp_path / "other").mkdir()
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    acts: dict[str, Callable[[], object]] = {
        "new": lambda: (tmp_path / "b.py").touch(),
        "changed": lambda: file.write_text("x = 2"),
        "renamed": lambda: file.rename(tmp_path / "c.py"),
        "removed": file.unlink,
        "made": (tmp_path / "d").mkdir,
    }
    assert rung([tmp_path / "other", tmp_path], acts[how])


def test_there_is_none_for_a_place_that_is_not_there(tmp_path: Path) -> None:
    async def run() -> bool:
        return bell([str(tmp_path / "nowhere")], lambda: None) is None

    assert asyncio.run(run())


def test_nobody_looks_before_it_rings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    aside = asyncio.to_thread

    async def to_thread(call: Callable[..., object], *arguments: object) -> object:
        looks.append(call.__name__)
        return await aside(call, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)

    async def run() -> set[str]:
        stop = asyncio.Event()
        found = watcher.changes([str(tmp_path)], lambda change, path: True, stop)
        first = asyncio.ensure_future(anext(found))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not looks
        (tmp_path / "a.py").touch()
        paths = await asyncio.wait_for(first, WITHIN)
        await found.aclose()
        return paths

    assert asyncio.run(run()) == {str(tmp_path / "a.py")}
    assert looks == ["watch"]
