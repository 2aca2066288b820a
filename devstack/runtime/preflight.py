"""What is checked right before a spawn: whether a stranger already answers on the port the process is about to open.

Rule 1: a probe can be answered by a stranger on the port, so the stranger is found, and named, before the spawn.
Rule 2: it is looked for exactly where the probe will ask (`tcp.connect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from devstack.core.causes import Cause
from devstack.core.model import ProbeSpec
from devstack.host import orphans
from devstack.host import ports as system
from devstack.probes import ports, tcp

CONNECT_WITHIN = 0.5
LET_GO_WITHIN = 5.0


async def port_taken(spec: ProbeSpec, name: str, take_over: bool = False) -> Cause | None:
    """Why `name` cannot open the port that its probe will ask on; None when the port is free or not known.

    With `take_over` what a killed devstack left there is ended.
    """
    port, host = spec.options.get("port"), str(spec.options.get("host", "127.0.0.1"))
    if spec.how not in ("tcp", "http") or not isinstance(port, int):
        return None
    # Taken may also mean that connections of the last run have not expired: who answers is what counts.
    state = system.state(host, port)
    if state == system.FREE or not await _answers(host, port):
        return _kept(port, name) if state == system.KEPT else None
    deadline, waited = time.monotonic() + LET_GO_WITHIN, False
    while time.monotonic() < deadline and await asyncio.to_thread(_ours, port):
        # Copies of the sockets of a run that is still winding up: where nobody tells zombies from others, that takes a moment.
        waited = True
        await asyncio.sleep(0.05)
    if waited and not await _answers(host, port):
        return None
    owner = await asyncio.to_thread(ports.owner_of, port)
    if owner and owner.pid and (left := await asyncio.to_thread(orphans.of_the_run_of, owner.pid)):
        if take_over and not await asyncio.to_thread(orphans.end, left) and not await _answers(host, port):
            return None
        was = next((each.process for each in left if each.pid == owner.pid), owner.program)
        fix = "devstack up --take-over ends it, as does devstack doctor --orphans --end"
        return Cause(f"port {port} is held by {was} (pid {owner.pid}), which a killed devstack left behind", True, fix)
    holder = f"held by {owner}" if owner else "in use"
    fix = f"stop it and run devstack again, or give {name} another port in the Procfile or with -p"
    return Cause(f"port {port} is {holder}, not ours", True, fix)


def _ours(port: int) -> bool:
    """Whether devstack itself has a socket that listens there; whose the others are, nobody says on macOS."""
    import psutil

    process = psutil.Process()
    look = getattr(process, "net_connections", None) or process.connections  # before psutil 6
    with contextlib.suppress(psutil.Error, OSError):
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in look("tcp"))
    return False


def _kept(port: int, name: str) -> Cause:
    fix = f"give {name} another port; netsh interface ipv4 show excludedportrange tcp lists those that cannot be had"
    return Cause(f"Windows keeps port {port} to itself: nobody listens there, and nobody may", True, fix)


async def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        _, writer = await asyncio.wait_for(tcp.connect(host, port), CONNECT_WITHIN)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
    return False
