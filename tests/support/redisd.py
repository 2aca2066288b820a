"""The embedded server for a test: `with embedded() as server:` and then `server.url`, `server.port`, `server.pid`. And a plain client.

`Wire` speaks RESP2 and 3 and says exactly what came: `Said("ERR …", kind="-")` for an error, lists for lists, and so on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support.ports import free_port
from tests.support.redis_server import Server, eventually

READY_WITHIN = 20.0


@contextlib.contextmanager
def embedded(
    *words: str, password: str = "", directory: Path | None = None, port: int | None = None, stop: bool = False
) -> Iterator[Server]:
    """A running `python -m devstack.redisd`; `words` are more options. `stop`: it ends politely, which saves its data."""
    with contextlib.ExitStack() as stack:
        directory = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="devstack-redisd-")))
        port = port or free_port()
        log = directory / "server.log"
        process = subprocess.Popen(
            [sys.executable, "-m", "devstack.redisd", "-", "--port", f"{port}", "--dir", str(directory), *words],
            stdin=subprocess.PIPE,
            stdout=stack.enter_context(log.open("ab")),
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

        def end() -> None:
            process.terminate() if stop else process.kill()
            try:
                process.wait(READY_WITHIN)
            finally:
                process.kill()
                process.wait()

        stack.callback(end)
        assert process.stdin
        escaped = password.replace("\\", "\\\\").replace('"', '\\"')
        process.stdin.write(f'requirepass "{escaped}"\n'.encode())
        process.stdin.close()
        login = f":{quote(password, safe='')}@" if password else ""
        server = Server(port, process.pid, f"redis://{login}127.0.0.1:{port}/0", directory, process, log)
        eventually(lambda: server.command("PING") != "", f"an embedded server on port {port}", log, READY_WITHIN)
        yield server


@dataclass(frozen=True)
class Said:
    """A status ("+"), an error ("-"), or another scalar of RESP3."""

    kind: str
    text: str


class Map(dict[object, object]):
    """A map of RESP3."""


class Wire:
    """A connection that sends what it is told and reads whole replies."""

    def __init__(self, port: int, within: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), within)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *words: bytes | str | int) -> None:
        self.socket.sendall(packed(*words))

    def ask(self, *words: bytes | str | int) -> object:
        self.send(*words)
        return self.read()

    def read(self) -> object:
        """The next reply. EOFError when the server has closed the connection."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = chr(line[0]), line[1:-2]
        if kind in "+-,#(":
            return Said(kind, rest.decode("utf-8", "replace"))
        if kind == ":":
            return int(rest)
        if kind == "_":
            return None
        if kind in "$=":
            length = int(rest)
            return None if length < 0 else self._file.read(length + 2)[:-2]
        count = int(rest)
        if kind == "%":
            return Map({_hashable(self.read()): self.read() for _ in range(count)})
        assert kind in "*~>", line
        items = [self.read() for _ in range(max(count, 0))]
        if count < 0:
            return Said("*", "-1")
        return items if kind == "*" else (kind, items)


def _hashable(value: object) -> object:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def packed(*words: bytes | str | int) -> bytes:
    parts = [word if isinstance(word, bytes) else f"{word}".encode() for word in words]
    return b"*%d\r\n%b" % (len(parts), b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
