"""The forks of a spare, as its children: it is told when one ends, and how.

Nothing of it is left in a fork, nor in a spare that becomes the program: `forget()`.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Forks:
    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.was: Any = None
        """What the program has for SIGCHLD, while that is ours."""
        self.bell: Any = None
        """Two sockets. A signal that came right before we wait would wake nobody; the byte that Python writes for it does."""
        self.wakes = -1

    def expect(self) -> None:
        """Before the first fork."""
        if sys.platform == "win32" or self.bell is not None:
            return
        import _socket

        signals: Any = __import__("_signal")
        self.bell = _socket.socketpair()
        for each in self.bell:
            each.settimeout(0)
        self.was = signals.signal(signals.SIGCHLD, lambda *_: None)
        self.wakes = signals.set_wakeup_fd(self.bell[1].fileno(), warn_on_full_buffer=False)

    def wait(self, descriptor: int) -> bool:
        """Until it can be read: True. Or until a fork may have ended: False."""
        known = "select" in sys.modules
        import select

        if not known:  # The program may never load it.
            del sys.modules["select"]
        if sys.platform == "win32":
            return True
        waiter = select.poll()
        for each in (descriptor, self.bell[0].fileno()):
            waiter.register(each, select.POLLIN)
        ready = [each for each, _ in waiter.poll()]
        if self.bell[0].fileno() in ready:
            self.bell[0].recv(4096)
            return False
        return True

    def ended(self) -> "list[tuple[int, int]]":
        """Those that have, each with its exit code, or the negative number of the signal that ended it."""
        if sys.platform == "win32":
            return []
        found = []
        for pid in list(self.alive):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 256
            if ended:
                self.alive.discard(pid)
                found.append((pid, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)))
        return found

    def forget(self) -> None:
        self.alive = set()
        if sys.platform == "win32" or self.bell is None:
            return
        signals: Any = __import__("_signal")
        signals.set_wakeup_fd(self.wakes)
        signals.signal(signals.SIGCHLD, signals.SIG_DFL if self.was is None else self.was)
        for each in self.bell:
            each.close()
        self.bell = None
