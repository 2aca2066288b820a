"""The lines between a client and a running stack.

Rule 1: a client sends one line: {"do": "ps", …}, over TCP with the "token". Only to who talks on ("attach", and a process at a
"breakpoint") another one is listened to.
Rule 2: each answer is an object; the last one has "end", the exit code of the command, and an "error" when there is something to explain.
Rule 3: this module is imported by `devstack ps`, which is to be instant: nothing but json.
"""

from __future__ import annotations

import json

LONGEST = 64 * 1024
"""Bytes of a request. Answers may be longer."""
SOCKET, ADDRESS = "control.sock", "control.tcp"
"""In the runtime directory: the Unix socket, or a file with the port and the token."""
FULL_PATH = 100
"""Bytes that the path of a Unix socket may have: 104 on macOS, 108 on Linux, with the zero at its end."""


class Malformed(ValueError):
    """The line is no request; the text says why."""


def encode(message: dict[str, object]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def request(line: bytes) -> dict[str, object]:
    """What a client wants. Raises Malformed."""
    message = parsed(line)
    if not isinstance(message.get("do"), str):
        raise Malformed('"do" is missing')
    return message


def parsed(line: bytes) -> dict[str, object]:
    """An object on a line. Raises Malformed."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise Malformed("not a JSON object on a line") from None
    if not isinstance(message, dict):
        raise Malformed("not a JSON object")
    return message
