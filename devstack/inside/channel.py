"""The private line from a program to devstack: JSON objects, one a line, each with a "type"; `beacon.py` says most of them. What comes
back are orders: plain lines of words.

Its address is `fd:N` (one end of a socket pair) or `tcp:PORT:TOKEN` (loopback).

Rule 1: nothing in here raises into the program or blocks it: what goes wrong costs the line.
Rule 2: import nothing that the program may want to patch first; `_socket` is loaded when more than hello is said.
"""

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_WAITING = 256
LONGEST_ORDER = 1 << 20
MOST_DESCRIPTORS = 16
READY = ("worker_ready", "beat_ready", "listening")
"""Before one of these is said, so is what else there is to say about imports."""


class Channel:
    """The line to the supervisor: `say` never blocks and never raises.

    Only the process that opened it speaks; its forks (a prefork pool) leave a `note`. A program may close descriptors that it does not know
    (daemons do): before each use we look whether ours is still the same socket, so that a file which got its number is never written to.
    """

    def __init__(self, descriptor: int, program: str, node: str = "", listen: str = "") -> None:
        self.descriptor = descriptor
        self.program = program
        self.identity = self.look()
        self.pid = os.getpid()
        self.waiting: list[bytes] = []
        self.unread = b""
        self.arrived: list[int] = []
        """Descriptors that came with the first part of an order."""
        self.shared = False
        """Whether forks have something to say."""
        self.before_ready: Callable[[], None] | None = None
        self.node = node
        self.listeners = [int(each[3:]) for each in listen.split(",") if each.startswith("fd:")]
        for each in self.listeners:
            os.set_inheritable(each, False)
        self.lock = _thread.allocate_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def look(self) -> "tuple[int, int] | None":
        if sys.platform == "win32":  # A socket is no descriptor there, and nobody closes what is not his.
            return None
        found = os.fstat(self.descriptor)
        return found.st_dev, found.st_ino

    def forget(self) -> None:
        """In a fork: the line belongs to the process that opened it; what others may say is a `note`."""
        self.pid = -1
        self.waiting = []
        try:
            if not self.shared and self.look() == self.identity:
                os.close(self.descriptor)
        except Exception:
            pass

    def adopt(self, descriptor: int) -> None:
        """Speak on another line from now on: a fork of a spare has got one of its own."""
        os.dup2(descriptor, self.descriptor, inheritable=False)
        os.close(descriptor)
        self.identity = self.look()
        self.pid = os.getpid()
        self.waiting = []
        self.unread = b""
        self.arrived = []

    def greet(self) -> None:
        """Say hello. A fresh socket has room, and Python ignores SIGPIPE until somebody says otherwise: plain `write` will do."""
        os.write(self.descriptor, greeting(self.program))

    def note(self, type: str, **fields: object) -> bool:
        """One short message, sent whole and at once, or not at all: False. Forks may send such ones too."""
        if os.getpid() == self.pid:
            return self.say(type, **fields)
        try:
            if type in READY and self.before_ready:
                self.before_ready()
            if self.look() != self.identity:
                return False
            line, flags = self.line()
            try:
                line.send(as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n", flags)
                return True
            finally:
                line.detach()
        except Exception:
            return False

    def say(self, type: str, **fields: object) -> bool:
        """Hand over one message; dropped when nobody reads for long: False. Callable from any thread and from signal handlers."""
        try:
            if os.getpid() != self.pid:
                return False
            if type in READY and self.before_ready:
                self.before_ready()
            if len(self.waiting) >= MAX_WAITING:
                self.send_waiting()  # The reader may be awake again.
            if len(self.waiting) < MAX_WAITING:
                self.waiting.append(as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n")
                self.send_waiting()
                return True
        except Exception:
            self.pid = -1
        return False

    def say_with(self, descriptors: "list[int]", type: str, **fields: object) -> None:
        """Hand over one message with copies of descriptors, where the line can carry any; it is sent at once or not at all."""
        try:
            import _socket

            if sys.platform == "win32" or os.getpid() != self.pid or self.look() != self.identity:
                return
            if type in READY and self.before_ready:
                self.before_ready()
            self.send_waiting()
            if self.waiting:
                return
            data = as_json(dict(fields, type=type)).encode("utf-8", "replace") + b"\n"
            packed = b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors)
            line, flags = self.line()
            try:
                line.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)], flags)
            finally:
                line.detach()
        except Exception:
            pass

    def receive(self, block: bool = False) -> "list[tuple[list[str], list[int]]]":
        """The orders that have come, each as its words and the descriptors that came with it. EOFError when the supervisor is gone."""
        import _socket

        if os.getpid() != self.pid or self.look() != self.identity:
            raise EOFError
        line, _ = self.line()
        try:
            if block:
                line.settimeout(None)
            if sys.platform == "win32":
                data = line.recv(LONGEST_ORDER)
            else:
                data, extra, _, _ = line.recvmsg(LONGEST_ORDER, _socket.CMSG_SPACE(4 * MOST_DESCRIPTORS))
                for _, _, packed in extra:
                    found = [packed[at : at + 4] for at in range(0, len(packed) - 3, 4)]
                    self.arrived += [int.from_bytes(each, sys.byteorder) for each in found]
        except (BlockingIOError, InterruptedError):
            return []
        except ConnectionError:
            raise EOFError from None
        finally:
            line.detach()
        if not data:
            raise EOFError
        for each in self.arrived:
            os.set_inheritable(each, False)
        *whole, self.unread = (self.unread + data).split(b"\n")
        orders: list[tuple[list[str], list[int]]] = [(each.decode("utf-8", "replace").split(), []) for each in whole]
        if orders:  # The system does not join what comes after descriptors to what came with them.
            orders[-1] = (orders[-1][0], self.arrived)
            self.arrived = []
        return orders

    def line(self) -> "tuple[Any, int]":
        """Our descriptor as a socket that does not block, whatever the program's default is, to be detached; and flags to send with."""
        import _socket

        line = _socket.socket(fileno=self.descriptor)
        line.settimeout(0)
        # MSG_NOSIGNAL: a program may have given SIGPIPE its deadly default back.
        return line, getattr(_socket, "MSG_DONTWAIT", 0) | getattr(_socket, "MSG_NOSIGNAL", 0)

    def send_waiting(self) -> None:
        while self.waiting and self.lock.acquire(False):  # Whoever holds the lock sends ours too.
            try:
                drained = self.drain()
            finally:
                self.lock.release()
            if not drained:
                return

    def drain(self) -> bool:
        if self.look() != self.identity:
            raise OSError("the program closed the channel")
        line, flags = self.line()
        try:
            while self.waiting:
                sent = line.send(self.waiting[0], flags)
                rest = self.waiting[0][sent:]
                if rest:
                    self.waiting[0] = rest
                    return False
                del self.waiting[0]
            return True
        except (BlockingIOError, InterruptedError):
            return False
        finally:
            line.detach()


def as_json(value: object) -> str:
    """JSON without the json module, which the program may never load."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value) if value - value == 0 else "null"
    if isinstance(value, dict):
        return "{" + ",".join(as_json(str(key)) + ":" + as_json(item) for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ",".join(map(as_json, value)) + "]"
    if type(value) is str and value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
        return '"' + value + '"'  # Nearly all of them.
    plain = (c if c >= " " and c not in '"\\' else f"\\u{ord(c):04x}" for c in str(value))
    return '"' + "".join(plain) + '"'


def greeting(program: str) -> bytes:
    version = ".".join(map(str, sys.version_info[:3]))
    said = {"type": "hello", "pid": os.getpid(), "python": version, "program": program}
    return as_json(said).encode("utf-8", "replace") + b"\n"


def is_socket(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o140000


def open_channel(program: str, address: str, node: str, listen: str) -> "Channel | None":
    try:
        how, _, rest = address.partition(":")
        if how == "fd":
            if not is_socket(int(rest)):
                return None
            channel = Channel(int(rest), program, node, listen)
            os.set_inheritable(channel.descriptor, False)
            channel.greet()
            return channel
        if how == "tcp":
            import _socket

            port, _, token = rest.partition(":")
            line = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            line.settimeout(2)
            line.connect(("127.0.0.1", int(port)))
            line.send(token.encode() + b"\n" + greeting(program))
            line.setblocking(False)
            return Channel(line.detach(), program, node, listen)
    except Exception:
        pass
    return None
