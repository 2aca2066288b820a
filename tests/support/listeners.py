"""Programs on a port that are not what was hoped for: `with listener(b"SSH-2.0-OpenSSH_9.2\\r\\n") as port:`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def listener(
    greeting: bytes = b"", answer: Callable[[bytes], bytes | None] = lambda said: b"", host: str = "127.0.0.1"
) -> Iterator[int]:
    """Says `greeting` to whoever connects, then `answer(said)` to whatever is said; hangs up when that is None."""
    with socket.create_server((host, 0)) as server:
        open_sockets: list[socket.socket] = [server]

        def talk(wire: socket.socket) -> None:
            with wire, contextlib.suppress(OSError):
                wire.sendall(greeting)
                while said := wire.recv(65536):
                    reply = answer(said)
                    if reply is None:
                        return
                    wire.sendall(reply)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire, _ = server.accept()
                    open_sockets.append(wire)
                    threading.Thread(target=talk, args=(wire,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            for each in open_sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def old_redis(version: str = "5.0.10") -> Callable[[bytes], bytes]:
    """Answers as a Redis of that version does, as far as anybody asks."""
    info = f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\nprocess_id:1\r\n".encode()

    def answer(said: bytes) -> bytes:
        if b"PING" in said:
            return b"+PONG\r\n"
        if b"INFO" in said:
            return b"$%d\r\n%b\r\n" % (len(info), info)
        if b"HELLO" in said:
            return b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"
        return b"+OK\r\n"

    return answer
