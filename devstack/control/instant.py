"""`devstack ps` without anything else: what a person does fifty times a day shall not wait for imports.

It answers when there is something to answer; in every other case the whole program does, which can explain.
"""

from __future__ import annotations

import os
import sys

PLAIN = (["ps"], ["ps", "--json"])


def ps(words: list[str]) -> bool:
    """Whether it has been answered."""
    if any(name in os.environ for name in ("DEVSTACK_DIRECTORY", "DEVSTACK_PROCFILE", "DEVSTACK_JSON")):
        return False
    from devstack.config import dirs
    from devstack.control import client, rows

    try:
        _, runtime = dirs.state(dirs.nearest(os.path.realpath(os.curdir)), os.environ)
        found = next(client.ask(runtime, "ps"))["rows"]
        assert isinstance(found, list)
    except (client.NotRunning, client.Refused, client.Lost, OSError):
        return False
    sys.stdout.write(rows.document(found) if "--json" in words else rows.text(found) + "\n")
    sys.stdout.flush()
    return True
