"""However a stack ends, nothing stays open: asyncio warns of a transport that nobody closed, later, in another test."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Iterator

import pytest

from devstack.core import events as e
from devstack.core.health import Answer, Health, Subject
from devstack.core.model import Launch, ProbeSpec
from devstack.probes import told
from devstack.runtime import prober
from tests.support.stage import Stage, child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signal.pause")

FOREVER = "import signal; print('up', flush=True); signal.pause()"
MOMENTS = (0.0, 0.003, 0.02, 0.1, 0.3)


@contextlib.contextmanager
def nothing_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    left: list[object] = []
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda found: left.append(found.exc_value))
    yield
    gc.collect()
    assert left == []


def two() -> Stage:
    asked = ProbeSpec("exec", {"command": ["true"]}, every=0.01)
    return Stage(child("a", FOREVER), child("b", FOREVER, probe=asked))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_bug_of_ours_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    async def script(stage: Stage) -> None:
        await asyncio.sleep(moment)
        stage.supervisor.tell("not an event")  # type: ignore[arg-type]

    with nothing_left_open(monkeypatch), pytest.raises(AttributeError):
        two().play(script)


# Twice in the moment of a spawn is more than asyncio's own subprocess_exec can clean up after.
@pytest.mark.parametrize(("moment", "times"), [*((moment, 1) for moment in MOMENTS), (0.1, 2), (0.3, 2)])
def test_whoever_does_not_wait_for_the_end_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, moment: float, times: int
) -> None:
    async def play() -> None:
        playing = asyncio.ensure_future(two()._play(None))
        for _ in range(times):
            await asyncio.sleep(moment)
            playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing

    with nothing_left_open(monkeypatch):
        asyncio.run(play())


def test_a_prober_that_is_cancelled_as_the_answer_comes_ends() -> None:
    """`asyncio.wait_for` of Python 3.11 gives the answer and forgets that it was cancelled."""

    async def play() -> None:
        asked = asyncio.get_running_loop().create_future()
        heard: list[e.Event] = []

        async def answer() -> Answer:
            return await asked

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(told, "ask", lambda subject: answer())
            subject = Subject("web.1", 1, None, Launch(("x",), {}, "."), time.monotonic())
            task = asyncio.ensure_future(
                prober.watch(subject, ProbeSpec("told", {}, 3600), asyncio.Event(), heard.append)
            )
            await asyncio.sleep(0.05)
            asked.set_result(Answer(Health.READY, "it is"))
            await asyncio.sleep(0)  # The answer is there, and nobody has looked at it.
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=5)
            assert done, "it asks on"
            assert task.cancelled()

    asyncio.run(play())
