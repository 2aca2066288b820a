"""The address of a web server: what it says on a command line, the question that proves it, and where a person finds it.

Rule 1: any HTTP status is an answer. Behind TLS, and on a Unix socket, accepting a connection is.
Rule 2: a port that nobody can tell from the words is the one which the process is seen to open.
Rule 3: nothing is asked any more once it has answered: each question would be a line in its access log.
Rule 4: devstack reloads it, in place of a reloader of its own that can be left out: new code then takes over the listening socket
(`inside/listen`). Where that cannot be handed on, its own reloader stays; if it has none, the old code stops before the new one starts.
"""

from __future__ import annotations

import ntpath
import posixpath
from collections.abc import Callable
from typing import Any

from devstack.core.model import ProbeSpec
from devstack.core.record import Record, replace
from devstack.kinds import Context, Kind

_EVERYWHERE = {"": "127.0.0.1", "0": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}


class Address(Record):
    """`path` is a Unix socket. Without `path` and `port` it is not known."""

    host: str = "127.0.0.1"
    port: int | None = None
    path: str = ""

    @property
    def reached_at(self) -> str:
        return _EVERYWHERE.get(self.host, self.host)

    def url(self, scheme: str = "http") -> str:
        host = f"[{self.reached_at}]" if ":" in self.reached_at else self.reached_at
        return f"{scheme}://{host}:{self.port}" if self.port else ""


UNKNOWN = Address()


def at(host: str, port: str) -> Address:
    """From the values of two options. Port 0 lets the system choose, so it is not known."""
    valid = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    return Address(host.strip("[]"), int(port)) if valid else Address(host.strip("[]"))


def address(text: str, default_port: str = "8000", default_host: str = "127.0.0.1") -> Address:
    """`host:port`, `:port`, `[::1]:port`, `host`, `unix:path`, as gunicorn and hypercorn read them."""
    if text.startswith("unix:"):
        return Address(path=text.removeprefix("unix:").removeprefix("//"))
    if text.startswith("fd:"):
        return UNKNOWN
    text = text.removeprefix("tcp://")
    if text.startswith("["):
        host, _, port = text.partition("]")
        return at(host, port.removeprefix(":") or default_port)
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return at(host or ("0.0.0.0" if ":" in text else default_host), port or default_port)


def first(addresses: list[Address]) -> Address:
    """The one to ask: HTTP on a port says more than a socket."""
    return next((each for each in addresses if each.port), (addresses or [UNKNOWN])[0])


def server(
    name: str,
    where: Address,
    context: Context,
    *,
    tls: bool = False,
    guess: Address = UNKNOWN,
    reloads: bool = False,
    without: Callable[[list[str]], list[str]] | None = None,
    beside: bool = True,
    spawns: bool = False,
    **more: Any,
) -> Kind:
    """`guess` is where it probably is when `where` is not known; it is shown and not relied on. `more` are fields of Kind.

    reloads: as it is called it would reload itself, and does so unless we can do it better and `without` gives the words for that.
    beside: two of them can share a socket. spawns: its code runs in processes that it starts anew, where we are not.
    """
    scheme = "https" if tls else "http"
    if where.path:
        join = ntpath.join if context.system == "win32" else posixpath.join
        probe = ProbeSpec("tcp", {"path": join(context.cwd, where.path)})
    else:
        probe = ProbeSpec("tcp" if tls else "http", {"host": where.reached_at, "port": where.port})
    kind = Kind(name=name, role="web", probe=probe, url=where.url(scheme) or ("" if where.path else guess.url(scheme)))
    shares = beside and not spawns and not where.path
    if reloads and (context.own_reload or not shares or without is None):
        return replace(kind, reload="own", **more)
    reload = "beside" if shares and context.system != "win32" else "replace"
    kind = replace(kind, watch=True, channel=not spawns and not context.own_reload, reload=reload, **more)
    if without is None:
        return kind
    leave_out = without
    note = 'devstack reloads it in place of its own reloader (`reload = "own"` leaves that to it)'
    return replace(kind, arguments=lambda argv, context: leave_out(argv), notes=(note,) if reloads else ())
