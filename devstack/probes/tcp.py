"""Does it accept connections? On a port, on a Unix socket, or on whichever port the process has opened."""

from __future__ import annotations

import asyncio
import contextlib

from devstack.core.health import Answer, Health, Subject
from devstack.probes import ports


async def ask(subject: Subject, host: str = "127.0.0.1", port: int | None = None, path: str = "") -> Answer:
    """Ready when a connection is accepted. Without `port` and `path`: on any port that the process tree listens on."""
    if path:
        return await _socket(path)
    if port is not None:
        return await _port(host, port)
    open_ports = await asyncio.to_thread(lambda: ports.listening(subject.pids()))
    if not open_ports:
        return Answer(Health.NOT_YET, "has not opened a port yet")
    answers = [await _port(ports.reachable(address), number) for address, number in open_ports]
    return next((answer for answer in answers if answer.health is Health.READY), answers[0])


async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to host:port, or OSError. `localhost` is asked as IPv4 first, and `0.0.0.0` is this machine."""
    host = ports.reachable(host)
    try:
        if host != "localhost":
            return await asyncio.open_connection(host, port)
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            # Node's servers listen on ::1 alone where localhost resolves to it first.
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("::1", port)
            raise
    except (ValueError, OverflowError) as error:
        # A host such as "a..b" (UnicodeError), a port such as 70000.
        raise OSError("that is no address") from error


def refusal(error: OSError, place: str) -> Answer:
    """The sentence for a connection that failed."""
    if isinstance(error, ConnectionRefusedError):
        return Answer(Health.NOT_YET, f"connection refused on {place}")
    if isinstance(error, FileNotFoundError):
        return Answer(Health.NOT_YET, f"no socket at {place} yet")
    if isinstance(error, PermissionError):
        return Answer(Health.NOT_YET, f"no permission to connect to {place}")
    return Answer(Health.NOT_YET, f"no connection to {place}: {(error.strerror or str(error)).lower()}")


def place_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _port(host: str, port: int) -> Answer:
    place = place_of(ports.reachable(host), port)
    try:
        _, writer = await connect(host, port)
    except OSError as error:
        return refusal(error, place)
    await _close(writer)
    return Answer(Health.READY, f"listens on {place}")


async def _socket(path: str) -> Answer:
    # Absent on Windows, where CPython has no AF_UNIX.
    open_unix = getattr(asyncio, "open_unix_connection", None)
    if open_unix is None:
        return Answer(Health.UNKNOWN, "this system has no Unix sockets", "give the process a port")
    try:
        _, writer = await open_unix(path)
    except OSError as error:
        return refusal(error, path)
    await _close(writer)
    return Answer(Health.READY, f"listens on {path}")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
