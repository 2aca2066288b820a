"""What is checked right before a spawn: whether a stranger already answers on the port the process is about to open.

Rule 1: a probe can be answered by a stranger on the port, so the stranger is found, and named, before the spawn.
Rule 2: it is looked for exactly where the probe will ask (`tcp.connect`).
"""

from __future__ import annotations

import asyncio
import contextlib

from devstack.core.causes import Cause
from devstack.core.model import ProbeSpec
from devstack.probes import ports, tcp

CONNECT_WITHIN = 0.5


async def port_taken(spec: ProbeSpec, name: str) -> Cause | None:
    """Why `name` cannot open the port that its probe will ask on; None when the port is free or not known."""
    port, host = spec.options.get("port"), str(spec.options.get("host", "127.0.0.1"))
    if spec.how not in ("tcp", "http") or not isinstance(port, int):
        return None
    if not await _answers(host, port):
        return None
    owner = await asyncio.to_thread(ports.owner_of, port)
    holder = f"held by {owner}" if owner else "in use"
    fix = f"stop it and run devstack again, or give {name} another port in the Procfile or with -p"
    return Cause(f"port {port} is {holder}, not ours", True, fix)


async def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        _, writer = await asyncio.wait_for(tcp.connect(host, port), CONNECT_WITHIN)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
    return False
