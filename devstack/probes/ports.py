"""Who listens where, seen from outside with psutil (imported when asked; all of it blocks for some milliseconds).

Rule 1: what the system hides (the programs of another user) is None, not a guess.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from devstack.core.record import Record

if TYPE_CHECKING:
    import psutil


class Owner(Record):
    """The program that listens on a port. `pid` is None when it belongs to another user."""

    pid: int | None
    program: str = ""
    command: str = ""

    def __str__(self) -> str:
        if self.pid is None:
            return "a program of another user"
        return f"{self.program or 'a program'} (pid {self.pid})"


def owner_of(port: int) -> Owner | None:
    """Who listens on TCP `port` of this machine; None when nobody seems to."""
    import psutil

    try:
        table: list[Any] = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        # macOS shows the whole table to root alone, and each process to its owner.
        return next((_owner(process.pid) for process in psutil.process_iter() if port in _ports(process)), None)
    listeners = [each for each in table if _listens(each) and each.laddr.port == port]
    if not listeners:
        return None
    pids = sorted(each.pid for each in listeners if each.pid)
    return _owner(pids[0]) if pids else Owner(None)


def listening(pids: Iterable[int]) -> list[tuple[str, int]]:
    """(address, port) pairs on which these processes accept TCP connections, lowest port first."""
    import psutil

    found: set[tuple[str, int]] = set()
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found |= {(each.laddr.ip, each.laddr.port) for each in _connections(psutil.Process(pid)) if _listens(each)}
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def connections(pid: int) -> dict[str, int] | None:
    """What a process is connected to over TCP: the port of the other end by its own end, written "127.0.0.1:40000"."""
    import psutil

    try:
        found = _connections(psutil.Process(pid))
    except psutil.Error:
        return None
    return {_place(each.laddr): each.raddr.port for each in found if each.raddr and each.status == "ESTABLISHED"}


def _place(address: Any) -> str:
    host = address.ip.removeprefix("::ffff:")
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def reachable(address: str) -> str:
    """The address to connect to for one that a program listens on: a wildcard is reached through loopback."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(address, address)


def _ports(process: psutil.Process) -> Iterator[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        yield from (each.laddr.port for each in _connections(process) if _listens(each))


def _connections(process: psutil.Process) -> list[Any]:
    # psutil 6 renamed connections() and warns about the old name.
    ask = getattr(process, "net_connections", None) or process.connections
    return list(ask(kind="tcp"))


def _listens(connection: Any) -> bool:
    return bool(connection.status == "LISTEN" and connection.laddr)


def _owner(pid: int) -> Owner:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Owner(pid, process.name(), " ".join(process.cmdline()))
    except psutil.Error:
        return Owner(pid)
