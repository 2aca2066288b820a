"""Does new code fail beside the old because the old has what it needs: a port, or the path of a socket, that cannot be handed on?

Most can (`inside/listen`). Not those that a fork has bound, a child that goes its own way (debugpy), or a library that is no Python (grpc).

Rule 1: it is only said to be so when the old run has that very place: one that a stranger has would fail without the old run, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Iterable

from devstack.core.health import Subject
from devstack.core.names import listing

# Compiled when something has ended beside its predecessor, not at each start.
IN_USE = r"(?i)address already in use|EADDRINUSE|Errno (?:98|48)\b|failed to bind"
_PORT = r"(?::|\bport )(\d{2,5})\b"
FREE_WITHIN = 3.0
"""Seconds that the last of an old run gets to let its port go: debugpy's adapter ends a moment after the program does."""
_LOOK_EVERY = 0.05

Place = int | str


def wanted(subject: Subject, ended: bool) -> set[Place]:
    """What the run could not have, as far as it, or once it has `ended` its last output, tells."""
    places: set[Place] = set(subject.taken)
    text = subject.tail().decode(errors="replace") if ended else ""
    for line in text.splitlines():
        if re.search(IN_USE, line):
            places |= {int(port) for port in re.findall(_PORT, line)}
    return places


async def of(new: Subject, old: Subject, ended: bool) -> tuple[Place, ...]:
    """The places that `new` needs and `old` has. Of one that lives, only if it has found no others instead."""
    places = wanted(new, ended)
    if not places:
        return ()
    theirs = await asyncio.to_thread(_held, old)
    if not ended and len(await asyncio.to_thread(_held, new)) >= len(theirs):
        return ()
    return tuple(sorted(places & theirs, key=str))


async def free(places: Iterable[Place]) -> None:
    """Wait until these ports can be bound, or for long enough."""
    deadline = time.monotonic() + FREE_WITHIN
    for port in places:
        while isinstance(port, int) and not _can_bind(port) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY)


def sentence(places: Iterable[Place]) -> str:
    named = listing([f"port {each}" if isinstance(each, int) else each for each in places])
    return f"the new code needs {named}, which the old code has: from now on the old ends before the new starts"


def _held(subject: Subject) -> set[Place]:
    import psutil

    found: set[Place] = set(subject.holds)
    for pid in subject.pids():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            # psutil 6 renamed connections() and warns about the old name.
            ask = getattr(process, "net_connections", None) or process.connections
            for each in ask(kind="all"):
                if isinstance(each.laddr, str):
                    found |= {each.laddr} if each.laddr else set()
                elif each.laddr and (each.status == "LISTEN" or each.type == socket.SOCK_DGRAM):
                    found.add(each.laddr.port)
    return found


def _can_bind(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
        return True
    return False
