"""Ports for servers that a test starts."""

from __future__ import annotations

import random
import socket

FROM, TO = 10_000, 32_000
"""Where no system takes the ports that nobody asked for by number: those of clients, and of servers on port 0."""
MOST = 64
"""More than one test needs."""
_claims: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that no other test gets for a while, in this process or beside it.

    To the others a datagram socket on the port of that number says so: no server is in its way, and the system forgets it with us.
    """
    while True:
        port = random.SystemRandom().randrange(FROM, TO)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            if len(_claims) > MOST:
                _claims.pop(0).close()
            return port
