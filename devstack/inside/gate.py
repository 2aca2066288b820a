"""Where a spare waits: right before the program reads its first project file, so that all project code is read after the save.

`boot` calls `Gate.stop` there when DEVSTACK_STANDBY was set. Up to there the real program has run: the interpreter, Celery or Django.

Orders (answer: fields):
  (on arrival: gate: pid)
  warm NAME … (warmed: modules, skipped, seconds): import what the last run has imported besides its project, in that order. `skipped` are
    modules that cannot be imported before the project's code: they look for it, for settings, or start what does not belong here. A
    spare that had to skip one is not clean; the next one is made without it.
  go [KEY=VALUE …]: be the program.
  fork [KEY=VALUE …], with two descriptors, channel and output (forked: pid; when it has ended: ended: pid, code): a fork is the program, in
    a session of its own; the spare stays as it is, and waits for the next one.
  quit: end; with living forks once the last of them has ended, for nobody else could tell how.
  (unsafe: use, why: `use` is "once" when it must not be forked, "never" when it must not be used at all)
KEY=VALUE: `node=b` sets `channel.node`; `listen=2` means that two more descriptors come along, for `channel.listeners`.

Rule 1: while it waits it does nothing and costs no time. When the supervisor is gone it is gone too, without a word and without atexit.
Rule 2: it is forked only while it has one thread, and no socket, pipe or file for writing open: those cannot be shared.
Rule 3: with a library in it that patches others (gevent, ddtrace …) it is not used: their order is their own business.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PATCHING = ("gevent", "eventlet", "ddtrace", "newrelic", "opentelemetry", "elasticapm", "scout_apm")
ALWAYS_OPEN = 3


class Shut(BaseException):
    """Somebody asks for project code while a spare is being warmed. No Exception: a module that catches those must not go on."""


class Gate:
    """`greet(channel)` says hello on the line that a fork has been given."""

    def __init__(self, channel: "Any", greet: "Callable[[Any], None]") -> None:
        self.channel = channel
        self.greet = greet
        self.shut = False
        self.touched = False
        self.forks: set[int] = set()
        self.quitting = False
        self.frozen = False

    def stop(self) -> None:
        """Called right before a project file is read. Returns when this process is to be the program."""
        if self.shut:
            self.touched = True
            raise Shut
        self.channel.say("gate", pid=os.getpid())
        self.judge()
        try:
            while True:
                for words, descriptors in self.channel.receive(block=True):
                    if self.obey(words, descriptors):
                        return
        except EOFError:
            os._exit(0)

    def obey(self, words: "list[str]", descriptors: "list[int]") -> bool:
        """True when the program goes on in this process."""
        order = words[0] if words else ""
        if order == "go":
            self.take(words[1:], descriptors)
            return True
        if order == "fork":
            return self.fork(words[1:], descriptors)
        if order == "warm":
            self.warm(words[1:])
        if order == "quit":
            self.quitting = True
            self.leave_if_over()
        for each in descriptors:
            os.close(each)
        return False

    def take(self, words: "list[str]", descriptors: "list[int]") -> None:
        for word in words:
            key, _, value = word.partition("=")
            if key == "node":
                self.channel.node = value
            elif key == "listen":
                self.channel.listeners = descriptors[-int(value) :]

    # Is it fit for use

    def judge(self) -> bool:
        patching = [name for name in PATCHING if name in sys.modules]
        if patching:
            self.channel.say(
                "unsafe", use="never", why=f"{patching[0]} is in it, which has to be loaded in its own order"
            )
            return False
        why = self.unforkable()
        if why:
            self.channel.say("unsafe", use="once", why=why)
        return True

    def unforkable(self) -> str:
        import _thread

        if sys.platform == "win32" or sys.platform == "darwin" or not hasattr(os, "fork"):
            return "forks are not safe on this system"
        if _thread._count():
            return "it has started a thread"
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            if descriptor < ALWAYS_OPEN or descriptor == self.channel.descriptor:
                continue
            try:
                place = os.readlink("/proc/self/fd/" + name)
                with open("/proc/self/fdinfo/" + name) as file:
                    flags = int(file.read().split("flags:")[1].split()[0], 8)
            except OSError:
                continue  # The one that listed them.
            if place.startswith(("socket:", "pipe:", "anon_inode:")) or flags & os.O_ACCMODE != os.O_RDONLY:
                return f"it holds {place} open"
        return ""

    # Warming

    def warm(self, names: "list[str]") -> None:
        began, skipped, done = time.time(), [], 0
        if not any(name.partition(".")[0] in PATCHING for name in names):
            for name in names:
                if name not in sys.modules:
                    if self.imports(name):
                        done += 1
                    else:
                        skipped.append(name)
        if self.judge():
            self.channel.say("warmed", modules=done, skipped=skipped, seconds=round(time.time() - began, 3))

    def imports(self, name: str) -> bool:
        import _thread

        before, environment, known = _thread._count(), dict(os.environ), set(sys.modules)
        self.shut, self.touched = True, False
        try:
            __import__(name)
        except (Exception, Shut):
            return False
        finally:
            self.shut = False
            clean = not self.touched and _thread._count() == before and dict(os.environ) == environment
            if not clean:
                for each in set(sys.modules) - known:
                    sys.modules.pop(each, None)
        return clean

    # Forking

    def fork(self, words: "list[str]", descriptors: "list[int]") -> bool:
        import gc

        if sys.platform == "win32":
            return False
        signals: Any = __import__("_signal")
        if not self.frozen:
            self.frozen = True
            gc.collect()
            gc.freeze()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        pid = os.fork()
        if pid:
            self.forks.add(pid)
            for each in descriptors:
                os.close(each)
            signals.signal(signals.SIGCHLD, self.reap)
            self.channel.say("forked", pid=pid)
            self.reap()
            return False
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        os.setsid()
        channel, output = descriptors[:2]
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        self.channel.adopt(channel)
        self.take(words, descriptors[2:])
        self.greet(self.channel)
        return True

    def reap(self, *_: object) -> None:
        if sys.platform == "win32":
            return
        for pid in list(self.forks):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 256
            if ended:
                self.forks.discard(pid)
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self.channel.say("ended", pid=pid, code=code)
        self.leave_if_over()

    def leave_if_over(self) -> None:
        if self.quitting and not self.forks:
            os._exit(0)
