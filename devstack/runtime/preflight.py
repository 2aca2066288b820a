"""What is checked right before a spawn: whether a stranger already answers on the port the process is about to open.

Rule 1: a probe can be answered by a stranger on the port, so the stranger is found, and named, before the spawn.
Rule 2: it is looked for exactly where the probe will ask (`tcp.connect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
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
    owner = await asyncio.to_thread(ports.owner_of, port)
    deadline = time.monotonic() + LET_GO_WITHIN
    while owner and owner.pid == os.getpid() and time.monotonic() < deadline:
        # Copies of the sockets of a run that is still winding up: where nobody tells zombies from others, that takes a moment.
        await asyncio.sleep(0.02)
        if not await _answers(host, port):
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
