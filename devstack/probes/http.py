"""Does the web server answer? Any status is serving, unless one is asked for.

Rule 1: without a wanted status the question is HEAD: no body to render or to read (a body left unread makes Django's runserver print
"Broken pipe"), and in the access log the line does not look like a person's. A wanted status is asked for with GET, since a view may
answer HEAD with 405.
Rule 2: redirects are not followed: 302 is an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

from devstack.core.health import Answer, Health, Subject
from devstack.probes import ports, tcp

# Below the five seconds after which the prober stops waiting, so that the sentence is ours.
_WITHIN = 4.5
_MOST = 1 << 20
"""Bytes of a body that are read before we hang up."""


async def ask(
    subject: Subject, host: str = "127.0.0.1", port: int | None = None, path: str = "/", status: int | None = None
) -> Answer:
    """Ready when an HTTP response comes, with `status` if one is given. Without `port`: any port the process tree listens on."""
    if port is not None:
        return await _ask(host, port, path, status)
    open_ports = await asyncio.to_thread(lambda: ports.listening(subject.pids()))
    if not open_ports:
        return Answer(Health.NOT_YET, "has not opened a port yet")
    answer = Answer(Health.UNKNOWN, "")
    for address, number in open_ports:
        answer = await _ask(address, number, path, status)
        if answer.health is Health.READY:
            break
    return answer


async def _ask(host: str, port: int, path: str, status: int | None) -> Answer:
    place = tcp.place_of(ports.reachable(host), port)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_WITHIN):
            found = await _status(host, port, path, "HEAD" if status is None else "GET")
    except TimeoutError:
        return Answer(Health.NOT_YET, f"accepts connections on {place} and has not answered within {_WITHIN:g} s")
    except OSError as error:
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return Answer(Health.NOT_YET, f"closed the connection on {place} without an answer")
        return tcp.refusal(error, place)
    if isinstance(found, str):
        return Answer(Health.NOT_YET, f"{place} does not speak HTTP: {found}" if found else f"{place} sent no answer")
    if status is not None and found != status:
        return Answer(Health.NOT_YET, f"answered {found} at {path}, and {status} is wanted")
    return Answer(Health.READY, f"answered {found} in {(time.perf_counter() - began) * 1000:.0f} ms")


async def _status(host: str, port: int, path: str, method: str) -> int | str:
    """The status of the response, or the beginning of what came instead."""
    reader, writer = await tcp.connect(host, port)
    try:
        target = path if path.startswith("/") else f"/{path}"
        target = re.sub(r"[^!-~]", lambda odd: "".join(f"%{byte:02X}" for byte in odd[0].encode()), target)
        head = (
            f"{method} {target} HTTP/1.1\r\n"
            f"Host: {tcp.place_of(ports.reachable(host), port)}\r\n"
            "User-Agent: devstack-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode())
        await writer.drain()
        first = await reader.readline()
        match = re.match(rb"HTTP/\d(?:\.\d)? (\d{3})\b", first)
        if match is None:
            return first[:40].decode("ascii", "replace").strip()
        read = 0
        while read < _MOST and (chunk := await reader.read(65536)):
            read += len(chunk)
        return int(match[1])
    except ValueError:
        return "a line without an end"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
