"""Where a spare waits: right before the program first uses its project, so that all project code is read after the save.

`boot` makes a Gate when DEVSTACK_STANDBY was set. Up to there the real program has run: the interpreter, Celery or Django. It stops before
the first project module or script is read, before any other file of the project is opened, and before it forks, connects or listens.

Orders (answer: fields):
  (on arrival: gate: pid, before: what it was about to read or do)
  warm NAME … (warmed: modules, skipped, reasons, seconds), once: import what the last run has imported besides its project, in order.
    `skipped` are modules that must not be imported before the project's code (see `warm.py`), `reasons` a sentence for each of them. A
    spare that had to skip one is not clean; the next one is made without it.
  check (checked: changed): whether the files that it was made from are still the same; `changed` is one that is not, or empty.
  go [KEY=VALUE …]: be the program. Not for a spare with living forks.
  fork [KEY=VALUE …], with two descriptors, channel and output (forked: pid; when it has ended: ended: pid, code): a fork is the program, in
    a session of its own, and says hello on its channel; the spare stays as it is, and waits for the next order.
  quit: end; with living forks once the last of them has ended, for nobody else could tell how.
  (unsafe: use, why: `use` is "once" when it must not be forked, "never" when it must not be used at all; after `gate` or before `warmed`)
KEY=VALUE: `node=b` sets `channel.node`; `listen=2` means that two more descriptors come along, for `channel.listeners`.
A spare may also end before it comes to its gate, or never come there: who made it sets a deadline, and kills it.

Rule 1: while it waits it does nothing and costs no time. When the supervisor is gone it is gone too, without a word and without atexit.
Rule 2: it is forked only while it has one thread, no socket, pipe or file for writing open, and no memory shared: all that is for one.
Rule 3: with a library in it that patches others (gevent, ddtrace …) it is not used: their order is their own business.

What a program out of a spare can see beyond boot's list: `_socket`, `gc` and `atexit` are loaded; what was warmed is in sys.modules before
project modules are, and has added its warning filters and finders before theirs; and objects that are older than it are frozen
(`gc.freeze`). A fork also: what was given to `os.register_at_fork` in time has run (so `random` is seeded anew; numpy's global generator
too, by us), strings have the hashes that they have in the spare's other forks, and its parent is the spare.
"""

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EARLY = ("uvicorn.loops.", "gunicorn.glogging", "daphne.server", "hypercorn.run", "granian.server")
"""Imported by servers right before they make an event loop, pipes, sockets or children, none of which a fork may have."""


class Shut(BaseException):
    """Somebody asks for project code while a spare is being warmed. No Exception: a module that catches those must not go on."""


class Gate:
    """`ours(file)` runs another file of ours."""

    def __init__(self, channel: "Any", finder: "Any", ours: "Callable[[str], dict[str, Any]]") -> None:
        self.channel, self.finder, self.ours = channel, finder, ours
        self.pid = os.getpid()
        self.warming: Any = None
        self.quitting = self.frozen = self.over = self.forkable_now = False
        self.waiting = 0
        """The thread that waits."""
        self.one_at_a_time = _thread.allocate_lock()
        self.forkable = ours("forkable.py")
        self.forks = ours("forks.py")["Forks"]()
        self.wires = ours("wires.py")["Wires"](finder)
        self.loaded = ours("loaded.py")["Loaded"](finder)

    def comes_before(self, name: str) -> bool:
        return not self.waiting and name.startswith(EARLY)

    def stop(self, before: str) -> None:
        """Called right before the project is used. Returns when this process is to be the program."""
        if self.over or os.getpid() != self.pid:
            return
        if self.warming:
            self.warming.refuse(f"it asks for {before}")
        if self.waiting == _thread.get_ident():  # A signal handler of the program's.
            return
        with self.one_at_a_time:
            if not self.over:
                self.waiting = _thread.get_ident()
                self.wait(before)

    def wait(self, before: str) -> None:
        try:
            self.channel.say("gate", pid=self.pid, before=before)
            self.judge()
            self.loaded.look()
            while not self.over:
                for words, descriptors in self.orders():
                    self.over = self.obey(words, descriptors)
            self.wires.lift()
        except EOFError:  # The supervisor is gone.
            os._exit(0)
        except BaseException:  # Whatever it is, this must not become a second program.
            os._exit(1)

    def obey(self, words: "list[str]", descriptors: "list[int]") -> bool:
        """True when the program goes on in this process."""
        order = words[0] if words else ""
        if order == "go" and not self.forks.alive:
            self.forks.forget()
            self.take(words[1:], descriptors)
            return True
        if order == "fork" and len(descriptors) >= 2:
            return self.fork(words[1:], descriptors)
        if order == "warm":
            self.warm(words[1:])
        if order == "check":
            self.channel.say("checked", changed=self.loaded.changed())
        if order == "quit":
            self.quitting = True
            self.leave_if_over()
        for each in descriptors:
            os.close(each)
        return False

    def orders(self) -> "list[tuple[list[str], list[int]]]":
        while self.forks.alive and not self.forks.wait(self.channel.descriptor):
            for pid, code in self.forks.ended():
                self.channel.say("ended", pid=pid, code=code)
            self.leave_if_over()
        orders: list[tuple[list[str], list[int]]] = self.channel.receive(block=True)
        return orders

    def take(self, words: "list[str]", descriptors: "list[int]") -> None:
        self.finder.untold["modules"].clear()  # Whoever had them warmed knows them.
        for word in words:
            key, _, value = word.partition("=")
            if key == "node":
                self.channel.node = value
            elif key == "listen":
                self.channel.listeners = descriptors[len(descriptors) - int(value) :]

    def warm(self, names: "list[str]") -> None:
        import time

        began = time.time()
        self.warming = self.ours("warm.py")["Warming"](self.wires, Shut, self.has_new_children)
        known = len(sys.modules)
        if not self.wires.lifted:
            self.warming.all([name for name in names if not self.finder.patching(name)])
        skipped, self.warming = self.warming.skipped, None
        self.loaded.look()
        if self.judge():
            if self.forkable_now:  # The next save must not wait for these two. Nobody else runs here who might trip.
                self.wires.lift()
            self.freeze()
            self.channel.say(
                "warmed",
                modules=len(sys.modules) - known,
                skipped=list(skipped),
                reasons=list(skipped.values()),
                seconds=round(time.time() - began, 3),
            )

    # Is it fit for use

    def judge(self) -> bool:
        patching = next(filter(self.finder.patching, list(sys.modules)), "")
        if patching:
            why = f"{patching} is in it, which has to be loaded in its own order"
            self.channel.say("unsafe", use="never", why=why)
            return False
        why = "" if self.forks.bell else self.forkable["why_not"](self.pid, self.channel.descriptor)
        self.forkable_now = not why
        if why:
            self.channel.say("unsafe", use="once", why=why)
        return True

    # Forking

    def fork(self, words: "list[str]", descriptors: "list[int]") -> bool:
        if sys.platform == "win32":
            return False
        self.freeze()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # Of the program's own making, or none at all.
                continue
        self.wires.lift()
        self.forks.expect()
        self.over = True
        try:
            pid = os.fork()
        except Exception as error:
            self.channel.say("unsafe", use="never", why=f"it could not be forked: {error}")
            pid = -1
        self.over = pid == 0
        if self.over:
            self.become(words, descriptors)
            return True
        for each in descriptors:
            os.close(each)
        if pid > 0:
            self.forks.alive.add(pid)
            self.channel.say("forked", pid=pid)
        return False

    def become(self, words: "list[str]", descriptors: "list[int]") -> None:
        """In the fork: what a process that was just started has of its own."""
        if sys.platform == "win32":
            return
        self.forks.forget()
        os.setsid()
        channel, output = descriptors[:2]
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        self.channel.adopt(channel)
        self.take(words, descriptors[2:])
        for name, renew in (
            ("threading", renew_main_thread),
            ("numpy.random", lambda numpy_random: numpy_random.seed()),
        ):
            if name in sys.modules:
                try:
                    renew(sys.modules[name])
                except Exception:  # Another version's.
                    continue
        self.channel.greet()

    def has_new_children(self) -> bool:
        return not self.forks.alive and bool(self.forkable["has_children"]())

    def freeze(self) -> None:
        """So that the collector neither writes to pages that all forks share nor looks through all of pandas at each `gc.collect()`: Celery
        has three while its pool starts."""
        if not self.frozen:
            import gc

            self.frozen = True
            gc.collect()
            gc.freeze()

    def leave_if_over(self) -> None:
        if self.quitting and not self.forks.alive:
            os._exit(0)


def renew_main_thread(threading: "Any") -> None:
    set_native_id = getattr(threading.main_thread(), "_set_native_id", None)
    if set_native_id:
        set_native_id()
