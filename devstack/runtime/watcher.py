"""Sees saves: which files of the project changed, and when somebody has finished changing them. `saves` judges them.

Rule 1: one save is told at once. Many at a time (`git checkout`, a formatter), half of a save, and what follows closely are told when it
has been quiet for a moment: one reload.
Rule 2: nothing is missed while the watch is set anew because a directory appeared or went: the files are compared with what is known.
Rule 3: where the system does not tell of changes, or no more of them, the files are looked at every now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devstack.core import events as e
from devstack.core.health import Subject
from devstack.core.model import Stack
from devstack.core.names import seconds
from devstack.host.inotify import bell
from devstack.host.mounts import silent
from devstack.runtime.saves import Saves
from devstack.runtime.watched import Watched

if TYPE_CHECKING:
    from watchfiles import Change

STEP, DEBOUNCE = 10, 50
"""Milliseconds between two looks, and the longest time a batch is collected: an event is seen after about 15 ms."""
LOOKED_FOR = 1000
"""Milliseconds after which the thread that looks comes back, whatever it has seen."""
STEP_RUNG, RUNG_FOR, UNRUNG = 5, 500, 5.0
"""The same two where a bell rings, and the seconds after which one looks although it has not rung."""
FEW = 8
"""Files in a batch that are told at once."""
MANY = 1000
"""Files after which the system may have dropped some news: its queue is bounded (fs.inotify.max_queued_events)."""
QUIET = 0.1
"""Seconds without a change after which many are told; more than DEBOUNCE, for that is the pause between two batches of one stream."""
LONGEST = 2.0
"""Seconds until they are told although it is not quiet."""
LONGEST_CHECKOUT = 10.0
"""The same while Git says that it is at work."""
POLL = 0.3
"""Seconds between two looks where the system tells nothing; longer in a large project, so that looking takes a fifth of the time."""

TICK = 20_000_000
"""Nanoseconds that the time of a save may lie behind our clock: file systems use one that is read now and then."""


async def watch(
    stack: Stack,
    root: Path,
    tell: Callable[[e.ReloadAsked], None],
    say: Callable[[str], None],
    failure: asyncio.Event,
    subject: Callable[[str], Subject | None] = lambda name: None,
    read: Collection[Path] = (),
    began: int | None = None,
) -> None:
    """Tell ReloadAsked for the processes that a saved file concerns; `subject` gives the newest run of one. Runs until cancelled.

    A change to one of the files in `read`, the configuration, gets a word. What was saved since `began` (time.time_ns) counts, too: it
    takes a while until a watch is up.

    A stack in which nothing wants to be reloaded costs nothing until a `failure`.
    """
    watched = Watched.of(stack, root, read)
    if not watched.roots:
        await failure.wait()
        watched = Watched([os.path.realpath(root)])
    # Both take a while, and the stack is starting: not in its loop.
    await asyncio.to_thread(importlib.import_module, "watchfiles")
    watcher = Watcher(watched, root, say, began)
    saves = Saves(stack, root, subject, tell, say, watcher.news.set, read)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watcher.see(saves))
        tasks.create_task(watcher.hand_on(saves))


class Watcher:
    """Collects in `seen` what changed, for `hand_on`; `news` says that there is something to do."""

    def __init__(self, watched: Watched, root: Path, say: Callable[[str], None], began: int | None) -> None:
        self.news = asyncio.Event()
        self._watched = watched
        self._say = say
        self._lock = git_lock(root)
        self._seen: set[str] = set()
        self._changed = asyncio.Event()
        """Something happened since `hand_on` looked last."""
        self._steady = asyncio.Event()
        """The watch is up and everything before it has been seen."""
        self._began = None if began is None else began - TICK
        self._learnt = False

    # ---- seeing

    async def see(self, saves: Saves) -> None:
        kinds = ((root, silent(root)) for root in sorted(self._watched.roots))
        why = next((f"{root} lies on {kind}: nobody tells" for root, kind in kinds if kind), "")
        if os.environ.get("WATCHFILES_FORCE_POLLING", "false").lower() not in ("false", "disable", "disabled", ""):
            why = "WATCHFILES_FORCE_POLLING is set: nobody is asked"
        while not why:
            try:
                # A directory that vanishes before it is watched: look again.
                with contextlib.suppress(FileNotFoundError):
                    await self._watch(saves)
                await asyncio.sleep(STEP / 1000)
            except (OSError, RuntimeError) as error:
                why = explain(error)
        self._say(f"{why} when a file changes, so devstack looks every {seconds(POLL)} or so")
        await self._poll(saves)

    async def _watch(self, saves: Saves) -> None:
        """Watch all directories until one appears or goes."""
        places = await asyncio.to_thread(self._watched.directories)
        known, stop = set(places), asyncio.Event()

        def counts(change: Change, path: str) -> bool:
            if change.name == "added" and os.path.isdir(path):
                return self._watched.leads_on(path)
            return path in known or (os.path.dirname(path) in known and self._watched.counts(path))

        async def compare() -> None:
            if await self._look(saves) <= known:
                self._steady.set()
                self._changed.set()
            else:
                stop.set()

        # It begins when this task first waits, and by then the watches are set.
        comparing = asyncio.create_task(compare())
        try:
            async for paths in changes(places, counts, stop):
                if any(path in known or os.path.isdir(path) for path in paths):
                    self._steady.clear()
                    stop.set()
                self._report(path for path in paths if self._watched.counts(path))
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)

    async def _poll(self, saves: Saves) -> None:
        while True:
            began = time.monotonic()
            await self._look(saves)
            self._steady.set()
            self._changed.set()
            await asyncio.sleep(max(POLL, 4 * (time.monotonic() - began)))

    async def _look(self, saves: Saves) -> set[str]:
        """Compare all files with what is known of them; the directories that are there now."""
        places = await asyncio.to_thread(self._watched.directories)
        now = await asyncio.to_thread(self._watched.snapshot, places)
        if self._learnt:
            self._report(saves.contents.differing(now))
        else:
            await asyncio.to_thread(saves.contents.learn, now)
            early = {path for path, (saved, *_) in now.items() if self._began is not None and saved >= self._began}
            self._report(early | saves.contents.differing(now))
            # What was saved meanwhile may have been learnt as it is now.
            saves.contents.forget(self._seen)
            self._learnt = True
        return set(places)

    def _report(self, paths: Iterable[str]) -> None:
        if found := set(paths):
            self._seen |= found
            self._changed.set()
            self.news.set()

    # ---- handing on

    async def hand_on(self, saves: Saves) -> None:
        """Have `saves` judge what was seen, when the time has come."""
        while True:
            await self.news.wait()
            await self._settle(saves)
            if len(self._seen) > MANY:
                await self._look(saves)
            self.news.clear()
            paths, self._seen = self._seen, set()
            await saves.judge(paths)

    async def _settle(self, saves: Saves) -> None:
        """Until whoever changes files has finished."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if not self._learnt:
            await self._steady.wait()
        elif self._steady.is_set() and not self._restless(saves, loop.time()):
            return
        while (waited := loop.time() - began) < (LONGEST_CHECKOUT if self._checking_out() else LONGEST):
            self._changed.clear()
            try:
                await asyncio.wait_for(
                    self._changed.wait(), min(QUIET, LONGEST - waited) if waited < LONGEST else QUIET
                )
            except TimeoutError:
                if self._steady.is_set() and not self._checking_out():
                    return

    def _restless(self, saves: Saves, now: float) -> bool:
        return (
            len(self._seen) > FEW
            or now - saves.told_at < QUIET
            or self._checking_out()
            or any(map(saves.contents.unfinished, self._seen))
        )

    def _checking_out(self) -> bool:
        """Git holds its lock while it changes files. One that is old was left behind."""
        try:
            return self._lock is not None and abs(time.time() - os.stat(self._lock).st_mtime) < LONGEST_CHECKOUT
        except OSError:
            return False


async def changes(
    places: Sequence[str], counts: Callable[[Change, str], bool], stop: asyncio.Event
) -> AsyncGenerator[set[str], None]:
    """The paths that changed in `places`, a batch at a time, until `stop`. OSError when they cannot be watched."""
    from watchfiles import Change
    from watchfiles._rust_notify import RustNotify  # "Rust backend direct usage" in watchfiles' manual

    # True would hide all errors, a limit of the system among them (watchfiles 1.3).
    hide = False
    with RustNotify(list(places), False, False, 0, False, hide) as notify:
        rung = asyncio.Event()
        silence = bell(places, rung.set)
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: rung.set())
        try:
            while not stop.is_set():
                step, within = STEP, LOOKED_FOR
                if silence:
                    step, within = STEP_RUNG, RUNG_FOR
                    try:
                        await asyncio.wait_for(rung.wait(), UNRUNG)
                    except TimeoutError:
                        within = step
                    rung.clear()
                looking = asyncio.ensure_future(asyncio.to_thread(notify.watch, DEBOUNCE, step, within, stop))
                try:
                    found = await asyncio.shield(looking)
                except asyncio.CancelledError:
                    stop.set()
                    await looking
                    raise
                if isinstance(found, set):
                    yield {path for kind, path in found if counts(Change(kind), path)}
        finally:
            stopping.cancel()
            if silence:
                silence()


def git_lock(directory: Path) -> str | None:
    """Where Git's lock is while it works on the files of `directory`; None outside of a checkout."""
    for place in (directory.resolve(), *directory.resolve().parents):
        git = place / ".git"
        if git.is_dir():
            return str(git / "index.lock")
        with contextlib.suppress(OSError):
            words = git.read_text("utf-8", "replace").strip()  # a worktree, a submodule
            if words.startswith("gitdir:"):
                return str(place / words.removeprefix("gitdir:").strip() / "index.lock")
    return None


def explain(error: Exception) -> str:
    """Why the system does not tell of changes. watchfiles has no numbers for its errors, only the words of inotify's."""
    text = str(error)
    limit = ""
    if "limit reached" in text or "os error 28" in text:
        limit = "watched directories is reached (raise it: sudo sysctl fs.inotify.max_user_watches=524288)"
    elif "Too many open files" in text or "os error 24" in text:
        limit = "watchers is reached (raise it: sudo sysctl fs.inotify.max_user_instances=512)"
    return (
        f"the system's limit of {limit}: nobody tells"
        if limit
        else f"the system cannot watch it ({text}): nobody tells"
    )
