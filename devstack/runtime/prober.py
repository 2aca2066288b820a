"""Asks one process's question until it is ready, and then goes on asking as often as its probe wants.

Rule 1: every question has a deadline.
Rule 2: only changes are told.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable

from devstack.core import events as e
from devstack.core.health import Answer, Health, Subject
from devstack.core.model import ProbeSpec

ANSWER_WITHIN = 5.0
FIRST_PAUSE, SHORT_PAUSE, LONG_PAUSE = 0.02, 0.08, 0.5
PATIENCE = 10.0
"""Seconds after the start from which LONG_PAUSE is good enough; before, somebody waits for every one of these pauses."""
RECHECK = 0.5
"""Seconds until a ready process that missed once is asked again; it is unready after MISSES in a row."""
MISSES = 3
LIVED = 0.5
"""Seconds that a process without a probe must have lived to count as ready: a command that cannot work has mostly ended by then."""


async def watch(subject: Subject, spec: ProbeSpec, news: asyncio.Event, tell: Callable[[e.Event], None]) -> None:
    """Tell BecameReady, BecameUnready and Remarked about `subject`. `news` is set when its beacon has something new.

    Returns when nothing more is to be asked.
    """
    name, run = subject.process, subject.run
    if spec.how == "none":
        await asyncio.sleep(LIVED)
        tell(e.BecameReady(name, run, "running"))
        return
    ready, misses, pause = False, 0, FIRST_PAUSE
    last: Answer | None = None
    while True:
        news.clear()
        began = time.monotonic()
        answer = await _ask(subject, spec)
        took = time.monotonic() - began
        changed = last is None or answer.health is not last.health or (not ready and answer.why != last.why)
        last = answer
        sentence = answer.why + (f"; {answer.fix}" if answer.fix else "")
        if answer.health is Health.READY and not ready:
            ready = True
            tell(e.BecameReady(name, run, sentence))
        elif answer.health is Health.NOT_YET and ready and misses + 1 >= MISSES:
            ready, pause = False, FIRST_PAUSE
            tell(e.BecameUnready(name, run, sentence))
        elif changed and not (ready and answer.health is Health.NOT_YET):
            tell(e.Remarked(name, run, sentence))
        misses = misses + 1 if answer.health is Health.NOT_YET and ready else 0
        if not ready:
            longest = SHORT_PAUSE if time.monotonic() - subject.started < PATIENCE else LONG_PAUSE
            with contextlib.suppress(TimeoutError):
                # A question that costs something is not asked most of the time.
                async with asyncio.timeout(max(pause, 2 * took)):
                    await news.wait()
            pause = min(pause * 1.5, longest)
        elif spec.every is None:
            return
        else:
            await asyncio.sleep(RECHECK if misses else spec.every)


async def _ask(subject: Subject, spec: ProbeSpec) -> Answer:
    probe = importlib.import_module(f"devstack.probes.{spec.how}")
    try:
        # Not wait_for: that of Python 3.11 forgets that it was cancelled when the answer comes at the same moment; we would ask for ever.
        async with asyncio.timeout(ANSWER_WITHIN):
            answer = await probe.ask(subject, **spec.options)
        assert isinstance(answer, Answer)
    except TimeoutError:
        return Answer(Health.NOT_YET, f"no answer within {ANSWER_WITHIN:.0f} s")
    except Exception as error:
        # A question that breaks is a bug, ours or a setting's, and no reason to end the stack.
        return Answer(Health.UNKNOWN, f"the probe failed: {type(error).__name__}: {error}")
    return answer
