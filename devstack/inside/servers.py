"""What `listen.py` has to know of servers that do not call Python's `listen`, or load their code after it.

`boot` runs this file when the program has imported one of the modules in SERVERS.

    uvloop     binds with Python's sockets and listens with its own: what its `create_server` returns is lent
    gunicorn   its master listens before its workers load the code: they say when they have; its reloader is off, whatever its
               configuration file says (see `reloaders.py`)
    gthread    drops connections that have sent nothing yet, until version 23: here it lets them
    uvicorn    drops connections that have sent nothing yet, as a worker of gunicorn: here it lets them
    daphne     ends all requests when it is asked to end: here it waits for them
    debugpy    is none, but has a child that listens and leaves the tree: what that could get, and what not, is told
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FRESH = 0.1
"""As in listen.py."""
LOOK_EVERY = 0.05


def attach(channel: "Any", module: "Any") -> None:
    listening = getattr(channel, "listening", None)
    if listening is not None:
        SERVERS[module.__name__](listening, module)


def uvloop(listening: "Any", module: "Any") -> None:
    create = module.Loop.create_server
    threading: Any = sys.modules["threading"]

    async def create_server(self: "Any", *words: "Any", **named: "Any") -> "Any":
        server = await create(self, *words, **named)
        try:
            known = [sock for sock in server.sockets if listening.knows(sock)]
            for sock in known:
                listening.lend(sock)
            if known and threading.current_thread() is threading.main_thread():
                listening.serve(self, known[0], server.close)
        except Exception:  # It serves without us.
            return server
        return server

    module.Loop.create_server = create_server


def gunicorn(listening: "Any", module: "Any") -> None:
    load, init = module.Worker.load_wsgi, module.Worker.init_process

    def init_process(self: "Any") -> "Any":
        try:
            self.cfg.set("reload", False)
        except Exception:  # Another version's.
            return init(self)
        return init(self)

    def load_wsgi(self: "Any") -> None:
        load(self)
        try:
            # uvicorn's workers have an event loop, and more to load: they are heard when they serve.
            known = [] if hasattr(self, "CONFIG_KWARGS") else [each for each in self.sockets if listening.knows(each)]
            if known:
                listening.say(known[0], "signal")
        except Exception:  # It serves without us.
            return

    module.Worker.init_process, module.Worker.load_wsgi = init_process, load_wsgi


def gthread(listening: "Any", module: "Any") -> None:
    leave = module.ThreadWorker.handle_exit
    told: list[Any] = []

    def handle_exit(self: "Any", number: int, frame: "Any") -> None:
        first = not told
        told.append(self)
        try:
            if first and self.alive:
                for each in self.sockets:
                    self.poller.unregister(each)
                threading: Any = sys.modules["threading"]
                threading.Timer(FRESH, os.kill, (os.getpid(), number)).start()
                return
        except Exception:  # As without us.
            pass
        leave(self, number, frame)

    if not hasattr(module, "PollableMethodQueue"):  # Newer ones wait by themselves.
        module.ThreadWorker.handle_exit = handle_exit


def uvicorn(listening: "Any", module: "Any") -> None:
    plain = module.Server.shutdown

    async def shutdown(self: "Any", *words: "Any", **named: "Any") -> None:
        try:
            if not listening.ours():  # Where it is ours, it was told to leave before.
                for each in self.servers:
                    each.close()
                asyncio: Any = sys.modules["asyncio"]
                await asyncio.sleep(FRESH)
        except Exception:  # As without us.
            pass
        await plain(self, *words, **named)

    module.Server.shutdown = shutdown


def daphne(listening: "Any", module: "Any") -> None:
    success = module.Server.listen_success

    def listen_success(self: "Any", port: "Any") -> None:
        success(self, port)
        try:
            # Twisted's word for a socket that others have too, and for which `shutdown` would end it.
            port._shouldShutdown = False
            loop = module.reactor._asyncioEventloop
            if listening.knows(port.socket):
                listening.serve(loop, port.socket, port.stopReading, lambda: finish(loop, self))
        except Exception:  # It serves without us.
            return

    module.Server.listen_success = listen_success


def finish(loop: "Any", server: "Any") -> None:
    """Stop it once every request is answered; the supervisor says when that takes too long."""
    if all(each.get("disconnected") for each in server.connections.values()):
        server.stop()
    else:
        loop.call_later(LOOK_EVERY, finish, loop, server)


def debugpy(listening: "Any", module: "Any") -> None:
    listen = module.listen

    def told(address: "Any", *words: "Any", **named: "Any") -> "Any":
        place = address if isinstance(address, int) else address[1]
        try:
            found = listen(address, *words, **named)
        except RuntimeError as error:
            if "in use" in str(error):
                listening.taken(place)
            raise
        listening.channel.note("holds", place=place)
        return found

    module.listen = told


SERVERS: "dict[str, Callable[[Any, Any], None]]" = {
    "uvloop": uvloop,
    "gunicorn.workers.base": gunicorn,
    "gunicorn.workers.gthread": gthread,
    "uvicorn.server": uvicorn,
    "daphne.server": daphne,
    "debugpy.public_api": debugpy,
}
