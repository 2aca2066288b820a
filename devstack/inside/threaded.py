"""Lets a `socketserver` leave as `listen.py` says: runserver, Flask's and werkzeug's own, wsgiref.

`boot` runs this file when the program has imported `socketserver`. `serve_forever` waits with a selector of that module; ours looks at the
channel too, so it costs no thread and no time.

Rule 1: only the server that the main thread runs leaves by order. Others (a metrics exporter in a thread) share their socket, and go on.
Rule 2: a request that has come is answered, on daemon threads as well, which the interpreter would not wait for.
"""

import select
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRESH = 0.1
"""As in listen.py."""
LOOK_EVERY = 0.02
ACCEPT_WITHIN = 0.001
"""Seconds. Not 0: then accepted sockets would not be blocking where they inherit that from the listening one (macOS)."""
READING = ("handle", "handle_one_request")
"""The methods of the standard library, Django and werkzeug that read the first line of a request."""


def attach(channel: "Any", socketserver: "Any") -> None:
    listening = getattr(channel, "listening", None)
    if listening is not None:
        follow(Connections(), channel, listening, socketserver)


def follow(connections: "Connections", channel: "Any", listening: "Any", socketserver: "Any") -> None:
    class ServerSelector(socketserver._ServerSelector):  # type: ignore[misc]
        ours: "Any" = None
        """The server, if it is one that leaves by order."""

        def register(self, fileobj: "Any", *words: "Any", **named: "Any") -> "Any":
            key = super().register(fileobj, *words, **named)
            try:
                self.begin(fileobj)
            except Exception:  # It serves without us.
                return key
            return key

        def begin(self, server: "Any") -> None:
            if not isinstance(server, socketserver.BaseServer) or not listening.has_lent(server.socket):
                return
            server.socket.settimeout(ACCEPT_WITHIN)
            if listening.ours() and in_main_thread():
                super().register(channel.descriptor, select_read())
                self.ours = server
                listening.say(server.socket, "order")

        def select(self, timeout: "Any" = None) -> "Any":
            ready = super().select(timeout)
            rest = [pair for pair in ready if pair[0].fileobj != channel.descriptor]
            if self.ours is None or len(rest) == len(ready):
                return rest
            try:
                told = listening.told_to_leave()
            except Exception:  # The supervisor is gone: an end that is readable for ever.
                self.unregister(channel.descriptor)
                self.ours = None
                return rest
            if not told:
                return rest
            self.ours._BaseServer__shutdown_request = True  # `shutdown()` would wait for this very thread.
            self.ours.socket.close()
            connections.finish()
            return []

    socketserver._ServerSelector = ServerSelector
    connections.follow(socketserver)


def select_read() -> int:
    selectors: Any = sys.modules["selectors"]
    return int(selectors.EVENT_READ)


def in_main_thread() -> bool:
    threading: Any = sys.modules["threading"]
    return bool(threading.main_thread() is threading.current_thread())


class Connections:
    """Those with a thread of their own, from the moment they are accepted, each with its handler and thread as soon as that runs."""

    def __init__(self) -> None:
        self.open: dict[Any, tuple[Any, Any]] = {}

    def follow(self, socketserver: "Any") -> None:
        process, setup = socketserver.ThreadingMixIn.process_request, socketserver.StreamRequestHandler.setup
        shutdown = socketserver.TCPServer.shutdown_request
        threading: Any = sys.modules["threading"]

        def process_request(server: "Any", request: "Any", client_address: "Any") -> None:
            self.open[request] = None, None
            process(server, request, client_address)

        def setup_handler(handler: "Any") -> None:
            if handler.request in self.open:
                self.open[handler.request] = handler, threading.current_thread()
            setup(handler)

        def shutdown_request(server: "Any", request: "Any") -> None:
            try:
                shutdown(server, request)
            finally:
                self.open.pop(request, None)

        socketserver.ThreadingMixIn.process_request = process_request
        socketserver.StreamRequestHandler.setup = setup_handler
        socketserver.TCPServer.shutdown_request = shutdown_request

    def finish(self) -> None:
        """Until all have had their answer. The supervisor says when that takes too long."""
        late = time.monotonic() + FRESH
        while True:
            left = [request for request in list(self.open) if request.fileno() >= 0]
            if not left:
                return
            for request in left:
                handler, thread = self.open.get(request, (None, None))
                if handler is not None:
                    try:
                        hurry(handler, thread, request, fresh=time.monotonic() < late)
                    except Exception:  # It has ended meanwhile.
                        continue
            time.sleep(LOOK_EVERY)


def hurry(handler: "Any", thread: "Any", request: "Any", fresh: bool) -> None:
    if not waits_for_a_request(thread):
        handler.close_connection = True
    elif not (fresh and not hasattr(handler, "raw_requestline")) and not readable(request):
        # Its read ends. Not the method of an SSL socket, which would take its keys away as well.
        socket.socket.shutdown(request, socket.SHUT_RD)


def waits_for_a_request(thread: "Any") -> bool:
    """Whether it stands where the first line of a request is read, and not in an application that reads a body."""
    frame = sys._current_frames().get(thread.ident)
    names = []
    while frame is not None and frame.f_code.co_filename.endswith(("socket.py", "ssl.py")):
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "readinto" in names and frame is not None and frame.f_code.co_name in READING


def readable(request: "Any") -> bool:
    posix: Any = select
    poll = posix.poll()
    poll.register(request.fileno(), posix.POLLIN)
    return bool(poll.poll(0))
