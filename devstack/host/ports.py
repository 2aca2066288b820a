"""Whether a program of ours could listen at a port, asked of the system rather than of whoever listens.

Rule: only Windows is asked. There a connection to a port where nobody listens takes 2 seconds to be refused, some ports belong to nobody
and still cannot be had, and SO_REUSEADDR would share a port with its owner. Elsewhere who connects learns all that at once.
"""

from __future__ import annotations

import socket
import sys

UNKNOWN, FREE, TAKEN, KEPT = "unknown", "free", "taken", "kept"
ADDRESS_IN_USE, ACCESS_DENIED = 10048, 10013


def state(address: str, port: int) -> str:
    """FREE, TAKEN, KEPT (by Windows itself, or by one who shares with nobody), or UNKNOWN where only a connection tells."""
    if sys.platform == "win32":
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
                probe.bind((address, port))
        except OSError as error:
            return {ADDRESS_IN_USE: TAKEN, ACCESS_DENIED: KEPT}.get(error.winerror or 0, UNKNOWN)
        return FREE
    return UNKNOWN
