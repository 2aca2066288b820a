"""One run of a process as the supervisor sees it: the child, who probes it, how it is asked to leave, and why it ended.

Rule 1: what can be ordered through its channel is ordered to finish first; the signal is for everything else, and for one that is too busy
to listen.
Rule 2: a worker whose grace is over gives back to the broker what it can before it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from devstack.core import events as e
from devstack.core.causes import Cause
from devstack.core.health import Subject
from devstack.core.model import ProbeSpec, Process
from devstack.runtime import clash, prober
from devstack.runtime.child import Child
from devstack.runtime.output import Source

ANSWERS = {"quiesced", "drained", "leaving"}
"""Messages that say that an order to leave was heard."""
HEARD_WITHIN = 2.0
"""Seconds within which an order is heard, unless the program is busy."""
GIVEN_BACK_WITHIN = 5.0


class Run:
    """`child` and `source`, its output, are set before anything else is asked of it. `ended(run, code)` is called when it is gone.

    Until `alive` is False it may have a process, which may have begun to retire at `retired_at` (monotonic). `node` is what sets its Celery
    node name apart from those of older runs that still live.
    """

    child: Child
    source: Source

    def __init__(
        self,
        process: Process,
        subject: Subject,
        tell: Callable[[e.Event], None],
        task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        ended: Callable[[Run, int], None],
    ) -> None:
        self.process = process
        self.subject = subject
        self._tell = tell
        self._task = task
        self._ended = ended
        self._news = asyncio.Event()
        self._prober: asyncio.Task[None] | None = None
        self.ending = ""
        """How it is being ended: "polite", "hard"."""
        self.cause = Cause("")
        self.cut_off = ""
        """What it was killed in the middle of, in words."""
        self.node: str | None = None
        self.alive = True
        self.retired_at = 0.0

    @property
    def question(self) -> ProbeSpec:
        return self.subject.launch.probe or self.process.service.probe

    def retiring_for(self) -> float:
        return time.monotonic() - self.retired_at

    def last_words(self) -> str:
        """What it said last, as we may quote it."""
        from devstack.core.secrets import concealed

        return concealed(self.subject.tail().decode(errors="replace"), self.subject.launch.env)

    def exited(self, code: int) -> None:
        """For the child."""
        self._ended(self, code)

    def told(self) -> None:
        """For the child: its channel has news."""
        self._news.set()
        if self.ending == "polite" and self.subject.beacon.get("cannot", {}).get("order") == "leave":
            self._signal()

    # ---- probing

    def probe(self) -> None:
        self._prober = self._task(prober.watch(self.subject, self.question, self._news, self._tell))

    def probe_beside(self, old: Subject | None) -> None:
        """Beside an older run it is ready when it says so itself: a server shares the other's port, a worker takes tasks from then on."""
        self._prober = self._task(self._takes_over(old))

    def stop_probing(self) -> None:
        if self._prober:
            self._prober.cancel()

    async def _takes_over(self, old: Subject | None) -> None:
        name, number = self.subject.process, self.subject.run
        if self.process.service.role == "web":
            # Where the old one serves: figures may have a port of their own, and an earlier one.
            port = self.question.options.get("port")
            while port not in self.subject.served if old and port in old.served else not self.subject.served:
                await self._told()
            if old and (places := await clash.of(self.subject, old, ended=False)):
                self.source.release(show=False)
                self._tell(e.Clashed(name, number, places, clash.sentence(places)))
                return
            why = "listens at the same socket"
        else:
            while "worker_ready" not in self.subject.beacon:
                await self._told()
            why = "takes tasks"
        self._tell(e.BecameReady(name, number, why))
        await prober.watch(self.subject, self.question, self._news, self._tell)

    # ---- orders

    def hold(self) -> None:
        """Take no more work."""
        self.child.order("quiesce")
        self.stop_probing()

    def go_on(self) -> None:
        self.child.order("resume")
        if self._prober is None or self._prober.done() or self._prober.cancelling():
            self.probe()

    def see_off(self) -> None:
        """Ask it to leave."""
        beacon = self.subject.beacon
        # A server obeys when new code has taken over; when all is to stop, a stream shall not hold that up.
        serves = self.retired_at and beacon.get("listening", {}).get("leave") == "order" and "leaving" not in beacon
        if "worker_ready" not in beacon and not serves:
            self._signal()
            return
        # One that is quiet already says so no more; one that was resumed since is not.
        if beacon.pop("resumed", None):
            beacon.pop("quiesced", None)
        self.child.order("leave")
        self._task(self._remind())

    def ask_what_it_does(self) -> None:
        """A worker tells its tasks, as `active`."""
        if self.alive and "worker_ready" in self.subject.beacon:
            self.child.order("status")

    def end(self) -> None:
        """Its grace is over."""
        if "worker_ready" in self.subject.beacon:
            self._task(self._give_back())
        else:
            self.child.kill()

    async def _remind(self) -> None:
        await asyncio.sleep(HEARD_WITHIN)
        if self.alive and not self.subject.beacon.keys() & ANSWERS:
            self._signal()

    async def _give_back(self) -> None:
        with contextlib.suppress(TimeoutError):
            self.child.order("requeue")
            async with asyncio.timeout(HEARD_WITHIN):
                await self._until("requeued")
            if self.subject.beacon["requeued"].get("exits"):
                await self.child.wait(GIVEN_BACK_WITHIN)
        self.child.kill()

    def _signal(self) -> None:
        self.child.leave(self.process.service.stop_signal, self.process.service.signal_group)

    async def _until(self, message: str) -> None:
        while message not in self.subject.beacon:
            await self._told()

    async def _told(self) -> None:
        self._news.clear()
        await self._news.wait()


def modules(directory: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [
            entry.name.removesuffix(".py")
            for entry in os.scandir(directory)
            if entry.is_dir() or entry.name.endswith(".py")
        ]
    return []
