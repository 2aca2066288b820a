"""The other end: asks the stack of a project, and gives what it answers. Blocking, and nothing but the standard library.

Rule 1: the file of a socket proves nothing; who does not answer is not there.
Rule 2: `devstack ps` waits for what is imported here: no typing, no pathlib, nothing of ours but `messages`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator

from devstack.control.messages import ADDRESS, SOCKET, encode

CONNECTS_WITHIN = 2.0
ANSWERS_WITHIN = 15.0
"""Seconds until the first answer to a question that is answered at once."""


class NotRunning(Exception):
    """No stack answers there."""


class Lost(Exception):
    """The connection ended before the answer did: the stack was killed."""


class Refused(Exception):
    """The stack says no, and why."""

    def __init__(self, what: str, why: str, fix: str, code: int) -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.code = what, why, fix, code


def ask(directory: str, do: str, within: float | None = ANSWERS_WITHIN, **more: object) -> Iterator[dict[str, object]]:
    """Every answer of the stack whose runtime directory this is; the last one has "end". `within` limits the wait for each.

    Raises NotRunning, Refused, Lost, and TimeoutError.
    """
    line, extra = connect(directory)
    with line:
        line.settimeout(within)
        with contextlib.suppress(OSError):  # it has refused us already, and says why
            line.sendall(encode({"do": do, **extra, **more}))
        yield from answers(line)


def begin(directory: str, do: str) -> socket.socket:
    """Ask, hear that it is heard, and leave the connection to who wants to hear more."""
    line, extra = connect(directory)
    try:
        line.settimeout(ANSWERS_WITHIN)
        line.sendall(encode({"do": do, **extra}))
        next(answers(line))
        return line
    except BaseException:
        line.close()
        raise


def one(directory: str, do: str, **more: object) -> dict[str, object]:
    """The answer to a question that has just one."""
    first, *_ = ask(directory, do, ANSWERS_WITHIN, **more)
    return first


def connect(directory: str) -> tuple[socket.socket, dict[str, object]]:
    """A connection, and what each request over it must have."""
    if hasattr(socket, "AF_UNIX"):
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(CONNECTS_WITHIN)
        try:
            line.connect(os.path.join(directory, SOCKET))
            _wakeful(line)
            return line, {}
        except OSError:  # nobody there, nobody any more, or a path too long to be one
            line.close()
    with contextlib.suppress(OSError, ValueError):
        with open(os.path.join(directory, ADDRESS), encoding="ascii") as file:
            port, token = file.read().split()
        return socket.create_connection(("127.0.0.1", int(port)), CONNECTS_WITHIN), {"token": token}
    raise NotRunning(directory)


def _wakeful(line: socket.socket) -> None:
    """Refused when who listens is suspended: it would obey when it goes on, and nobody would still want that. Where the system tells."""
    credentials = getattr(socket, "SO_PEERCRED", None)
    if credentials is None:
        return
    try:
        pid = int.from_bytes(line.getsockopt(socket.SOL_SOCKET, credentials, 12)[:4], sys.byteorder)
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return
    if state == b"T":
        line.close()
        fix = f"type fg in its terminal, or: kill -CONT {pid}"
        raise Refused("the stack is suspended", f"somebody pressed Ctrl-Z where it runs (process {pid})", fix, 1)


def answers(line: socket.socket) -> Iterator[dict[str, object]]:
    with line.makefile("rb") as answers:
        while True:
            try:
                text = answers.readline()
            except ConnectionError:
                text = b""
            if not text.endswith(b"\n"):
                raise Lost
            try:
                message = json.loads(text)
            except ValueError:
                raise NotRunning("somebody else answers there") from None
            if isinstance(error := message.get("error"), dict):
                raise Refused(error["what"], error.get("why", ""), error.get("fix", ""), message.get("end", 1))
            yield message
            if "end" in message:
                return
