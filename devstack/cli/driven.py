"""Lets other terminals drive this `up`: the server, for as long as it lives.

Rule 1: nobody waits for it: it comes when the processes have been started.
Rule 2: without it (the directory cannot hold a socket, say) the stack runs all the same, and a word says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from devstack import __version__
from devstack.config.load import Project
from devstack.errors import DevstackError
from devstack.host import Host

if TYPE_CHECKING:
    from devstack.control.picture import Supervised
    from devstack.control.server import Server

UNDISTURBED = 0.05
"""Seconds that the processes have to be spawned before anything else is imported."""


@contextlib.asynccontextmanager
async def driven(
    project: Project,
    here: Host,
    there: Callable[[], Supervised | None],
    leave: Callable[[bool], None],
    listen: Callable[[Callable[[], None] | None], None],
    say: Callable[[str], None],
) -> AsyncIterator[None]:
    """`there` is asked for the stack whenever somebody wants something of it; the others are for the Desk."""
    servers: list[Server] = []

    async def serve() -> None:
        await asyncio.sleep(UNDISTURBED)
        await asyncio.to_thread(importlib.import_module, "devstack.control.desk")
        from devstack.control.desk import Desk
        from devstack.control.server import Server

        desk = Desk({"directory": str(project.directory), "version": __version__}, there, leave, listen, say)
        tcp = os.environ.get("DEVSTACK_CONTROL") == "tcp"
        server = Server(project.runtime_dir, desk.answer, here.ours, tcp=tcp)
        try:
            await server.open()
            servers.append(server)
        except (OSError, DevstackError) as error:
            say(f"other terminals cannot drive this stack: {error}")

    opening = asyncio.create_task(serve())
    try:
        yield
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        for server in servers:
            await server.close()
