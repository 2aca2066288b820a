"""Listening sockets outlive the code behind them: the next run gets the very socket of this one, so nobody is ever refused.

`boot` runs this file when the program has imported `socket` (or gevent's). `bind` and `listen` of that class are wrapped. The sockets of a
program that listens at a port it names are lent to the supervisor, and what an older run lent stands in for a `bind` to the same address.

Rule 1: only TCP, only ports that the program names, only its main process. All else is as without us: it says no `listening`, and then a
        reload stops the old run before it starts the new one.
Rule 2: what goes wrong in here leaves these methods what they are.
Rule 3: a socket that two processes have in common is never blocking: `accept` may find that the other one was faster.

How one server takes over from another (the supervisor's part in brackets):
  1. The new run comes up [beside the old one, with its sockets]. Its `bind` to an address that the old one has gets that socket.
  2. When it serves, its code loaded, it says `listening`. From the call of `listen` to here both may answer. If it dies before, the
     old one has never noticed.
  3. [That message is what makes it ready: an answer could come from either. At a first start the first answer is, as ever.]
  4. [`leave` to the old one.] It accepts nothing any more from the moment it reads that; what waits in the common queue is the new
     one's. A request on an open connection is answered; a connection that was accepted and has sent nothing has FRESH seconds to
     do so; one that is kept alive between two requests is closed. Streams and WebSockets go on for as long as the supervisor has patience.

Messages (type: fields):
  bound: address, port, and a copy of the descriptor; for each port, those of a metrics exporter in a thread too.
  listening: address, port, leave: "order" when it obeys `leave`, "signal" when its own polite end does all that is said above (gunicorn).
    Once for each port: a program may serve its figures at one of its own before it serves. A fork may say it: gunicorn's workers load the
    code after their master listens.
  taken: place (a port, or the path of a Unix socket): somebody has what the program wanted to bind, or to debug at. Forks say so too.
  holds: place, what a child that left its tree (the adapter of debugpy) listens at on its behalf.
Order (answer):
  leave (leaving): as above, then the end the program has for SIGTERM, or SIGINT if it has none, or the return of `serve_forever`.
"""

import _thread
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FRESH = 0.1
"""Seconds from the order on in which a connection may still send its first request."""
MOST = 8
"""Sockets that are lent. A program with more of them is none that we know how to follow."""


def attach(channel: "Any", module: "Any") -> None:
    """`module` has the class `socket`."""
    if sys.platform != "win32":
        if not hasattr(channel, "listening"):
            channel.listening = Listening(channel)
        wrap(channel.listening, module.socket)


def wrap(listening: "Listening", kind: "Any") -> None:
    plain_bind, plain_listen = kind.bind, kind.listen

    def bind(self: "Any", address: "Any") -> "Any":
        try:
            adopted = listening.adopt(self, address)
        except Exception:
            adopted = False
        if adopted:
            return None
        try:
            return plain_bind(self, address)
        except OSError as error:
            listening.refused(error, address)
            raise

    def listen(self: "Any", *backlog: "Any") -> "Any":
        done = plain_listen(self, *backlog)
        try:
            listening.listened(self)
        except Exception:  # The program comes first.
            return done
        return done

    for ours, plain in ((bind, plain_bind), (listen, plain_listen)):
        ours.__doc__, ours.__qualname__, ours.__module__ = plain.__doc__, plain.__qualname__, kind.__module__
    kind.bind, kind.listen = bind, listen


class Listening:
    """`asked` are the ports that the program named itself, `lent` what is lent, by inode. `stops` stop accepting at once."""

    def __init__(self, channel: "Any") -> None:
        self.channel = channel
        self.asked: set[int] = set()
        self.lent: set[int] = set()
        self.stops: list[Callable[[], object]] = []
        self.finish: Callable[[], object] | None = None
        self.said: set[int] = set()

    def ours(self) -> bool:
        return bool(os.getpid() == self.channel.pid)

    # Taking over

    def adopt(self, sock: "Any", address: "Any") -> bool:
        """Whether a socket that an older run has lent us stands in for this `bind`."""
        import _socket

        if not self.ours() or not is_tcp(sock) or not address[1]:
            return False
        self.asked.add(address[1])
        if not self.channel.listeners:
            return False
        place = resolved(sock, address)
        for descriptor in self.channel.listeners:
            other = _socket.socket(fileno=descriptor)
            try:
                same = is_tcp(other) and other.family == sock.family and other.getsockname()[:2] == place
                if same and dual(other, place[0]) == dual(sock, place[0]):
                    take_place(sock, other)
                    self.lend(sock)  # Now: gunicorn does not call `listen` for a socket that does.
                    return True
            finally:
                other.detach()
        return False

    def refused(self, error: OSError, address: "Any") -> None:
        try:
            import errno

            if error.errno == errno.EADDRINUSE:
                self.taken(address[1] if isinstance(address, tuple) else os.fsdecode(address))
        except Exception:
            return

    def taken(self, place: "int | str") -> None:
        self.channel.note("taken", place=place)

    # Lending

    def listened(self, sock: "Any") -> None:
        """It listens. In the main thread's event loop that means that it serves."""
        if not self.knows(sock):
            return
        self.lend(sock)
        self.forget(os.fstat(sock.fileno()).st_ino)
        loop = running_loop()
        if loop is not None and in_main_thread():
            self.serve(loop, sock, lambda: loop.remove_reader(sock.fileno()))

    def forget(self, inode: int) -> None:
        """Now, and not in `bind`: a program may first try whether it can bind, with a socket that it throws away."""
        for descriptor in list(self.channel.listeners) if self.ours() else ():
            if os.fstat(descriptor).st_ino == inode:
                self.channel.listeners.remove(descriptor)
                os.close(descriptor)

    def knows(self, sock: "Any") -> bool:
        return is_tcp(sock) and sock.getsockname()[1] in self.asked

    def lend(self, sock: "Any") -> None:
        inode = os.fstat(sock.fileno()).st_ino
        if self.ours() and inode not in self.lent and len(self.lent) < MOST:
            self.lent.add(inode)
            address, port = sock.getsockname()[:2]
            self.channel.say_with([sock.fileno()], "bound", address=address, port=port)

    def has_lent(self, sock: "Any") -> bool:
        return bool(self.lent) and os.fstat(sock.fileno()).st_ino in self.lent

    def say(self, sock: "Any", leave: str) -> None:
        """New code answers there from now on."""
        address, port = sock.getsockname()[:2]
        if port not in self.said:
            self.said.add(port)
            self.channel.note("listening", address=address, port=port, leave=leave)

    def told_to_leave(self) -> bool:
        """To be asked when the channel is readable. EOFError when nobody can tell us any more."""
        told = "leave" in [words[0] for words, _ in self.channel.receive() if words]
        if told:
            self.channel.say("leaving")
        return told

    # In an event loop

    def serve(
        self, loop: "Any", sock: "Any", stop: "Callable[[], object]", finish: "Callable[[], object] | None" = None
    ) -> None:
        """A server in `loop`. `stop()` ends accepting, `finish()` the program, once what is under way is done."""
        if not self.ours():
            self.say(sock, "signal")  # A fork of gunicorn's, who sees to its end.
            return
        if not self.stops:
            loop.add_reader(self.channel.descriptor, self.read, loop)
        self.stops.append(stop)
        self.finish = finish or self.finish
        self.say(sock, "order")

    def read(self, loop: "Any") -> None:
        try:
            if not self.told_to_leave():
                return
        except Exception:  # The supervisor is gone: an end that is readable for ever.
            loop.remove_reader(self.channel.descriptor)
            return
        loop.remove_reader(self.channel.descriptor)
        for stop in self.stops:
            try:
                stop()
            except Exception:  # It has stopped by itself.
                continue
        loop.call_later(FRESH, self.finish or end)


def end() -> None:
    """As if somebody had asked the program to end."""
    _signal: Any = __import__("_signal")
    number = _signal.SIGTERM if callable(_signal.getsignal(_signal.SIGTERM)) else _signal.SIGINT
    os.kill(os.getpid(), number)


def is_tcp(sock: "Any") -> bool:
    import _socket

    return sock.family in (_socket.AF_INET, _socket.AF_INET6) and sock.type == _socket.SOCK_STREAM


def resolved(sock: "Any", address: "Any") -> "tuple[str, int]":
    """What `bind` makes of an address."""
    import _socket

    found = _socket.getaddrinfo(address[0] or None, address[1], sock.family, sock.type, 0, _socket.AI_PASSIVE)
    host, port = found[0][4][:2]
    return str(host), int(port)


def dual(sock: "Any", host: str) -> bool:
    """Whether an IPv6 socket at all addresses takes IPv4 too, which cannot be changed any more. At one address the system says no."""
    import _socket

    if sock.family != _socket.AF_INET6 or host != "::":
        return False
    return not sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY)


def take_place(sock: "Any", other: "Any") -> None:
    """`other` becomes what `sock` is, with the options that the program has set on `sock` so far."""
    import _socket

    options = [
        (_socket.SOL_SOCKET, _socket.SO_REUSEADDR),
        (_socket.SOL_SOCKET, _socket.SO_KEEPALIVE),
        (_socket.IPPROTO_TCP, _socket.TCP_NODELAY),
    ]
    for level, option in options:
        other.setsockopt(level, option, sock.getsockopt(level, option))
    os.dup2(other.fileno(), sock.fileno(), inheritable=os.get_inheritable(sock.fileno()))


def running_loop() -> "Any":
    events: Any = sys.modules.get("asyncio.events")
    return events._get_running_loop() if events else None


def in_main_thread() -> bool:
    threading: Any = sys.modules.get("threading")
    return threading is None or threading.main_thread().ident == _thread.get_ident()
