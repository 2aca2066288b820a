"""What `breakpoint()` does in a process of devstack (PYTHONBREAKPOINT=devstack.inside.debug.stop): pdb, for another terminal.

The process asks the running `devstack up` for somebody to talk to, over the control socket, which is for its owner alone (on Windows
loopback, with a token); `devstack attach` is the other end. A connection is one session:
  it says   {"do": "breakpoint", "process", "pid", "file", "line"}, then {"out": text}, with "asks": true when it waits for a line,
            {"goes_on": true} and {"file", "line"} when it goes on with breakpoints left, and stops at the next one
  it hears  {"heard": true}, then {"in": line}

Rule 1: what goes wrong costs the session, never the program: with nobody to talk to it goes on, as after `continue`.
Rule 2: nothing of this is imported before the first `breakpoint()`; the standard library alone, of any version that Celery runs on.
"""

import io
import json
import os
import pdb
import socket
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

CONNECTS_WITHIN = 5.0
"""Seconds: the control socket of a stack comes a moment after its processes."""
PIECE = 8000
"""Characters of one message."""
sessions = threading.local()
"""`debugger`: that of this thread, and where it was made."""


def stop(*_: "Any", header: "str | None" = None, **__: "Any") -> None:
    """`sys.breakpointhook` comes here."""
    frame = sys._getframe(1)
    pid, debugger = getattr(sessions, "debugger", (0, None))
    if pid == os.getpid() and debugger is not None and debugger.talks:
        debugger.message("*** a breakpoint() that is typed here stops nothing")
        return
    if pid != os.getpid() or debugger is None or debugger.line.closed:
        line = connect(frame)
        if line is None:
            sys.stderr.write(f"breakpoint() at {frame.f_code.co_filename}:{frame.f_lineno}: no devstack to attach to\n")
            return
        debugger = Debugger(line)
        sessions.debugger = os.getpid(), debugger
    if header:
        debugger.message(header)
    debugger.set_trace(frame)  # The last call: pdb would stop in another one.


def connect(frame: "FrameType") -> "Line | None":
    until = time.monotonic() + CONNECTS_WITHIN
    while True:
        try:
            connection, token = dial(os.environ.get("DEVSTACK_RUNTIME_DIR", ""))
            connection.settimeout(CONNECTS_WITHIN)
            line = Line(connection)
            line.say(
                do="breakpoint",
                process=os.environ.get("DEVSTACK_PROCESS", ""),
                pid=os.getpid(),
                **place(frame),
                **token,
            )
            if line.hear().get("heard"):
                connection.settimeout(None)
                return line
            return None
        except (OSError, ValueError):
            if time.monotonic() > until:
                return None
            time.sleep(0.05)


def dial(directory: str) -> "tuple[socket.socket, dict[str, Any]]":
    """OSError or ValueError when nobody is there."""
    if hasattr(socket, "AF_UNIX"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(os.path.join(directory, "control.sock"))
            return connection, {}
        except OSError:
            connection.close()
    with open(os.path.join(directory, "control.tcp"), encoding="ascii") as file:
        port, token = file.read().split()
    return socket.create_connection(("127.0.0.1", int(port)), CONNECTS_WITHIN), {"token": token}


def place(frame: "FrameType") -> "dict[str, Any]":
    return {"file": os.path.abspath(frame.f_code.co_filename), "line": frame.f_lineno}


class Line(io.TextIOBase):
    """The terminal of a debugger: a connection."""

    encoding = "utf-8"

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.answers = connection.makefile("rb")
        self.text: list[str] = []

    def write(self, text: str) -> int:
        self.text.append(text)
        return len(text)

    def flush(self) -> None:
        self.hand_over(asks=False)

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """Empty once nobody will answer any more."""
        self.hand_over(asks=True)
        while True:
            try:
                said = self.hear()
            except (OSError, ValueError):
                return ""
            if "in" in said:
                return str(said["in"])

    def hand_over(self, asks: bool) -> None:
        text, self.text = "".join(self.text), []
        while len(text) > PIECE:
            self.say(out=text[:PIECE])
            text = text[PIECE:]
        if text or asks:
            self.say(out=text, **({"asks": True} if asks else {}))

    def say(self, **message: "Any") -> None:
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # The next question finds out.
            return

    def hear(self) -> "dict[str, Any]":
        """OSError or ValueError when nothing comes any more."""
        said = json.loads(self.answers.readline())
        return said if isinstance(said, dict) else {}

    def hang_up(self) -> None:
        if not self.closed:
            self.flush()
            self.close()
            self.answers.close()
            self.connection.close()


class Debugger(pdb.Pdb):
    def __init__(self, line: Line) -> None:
        terminal: Any = line
        super().__init__(stdin=terminal, stdout=terminal, nosigint=True)
        self.line = line
        self.moved = self.talks = False

    def interaction(self, frame: "Any", *rest: "Any", **more: "Any") -> None:
        if self.moved and frame is not None:
            self.line.say(**place(frame))
        self.moved, self.talks = False, True
        try:
            super().interaction(frame, *rest, **more)
        finally:
            self.talks = False

    def set_continue(self) -> None:
        super().set_continue()
        if self.breaks:
            self.moved = True
            self.line.hand_over(asks=False)
            self.line.say(goes_on=True)
        else:
            self.line.hang_up()

    def set_quit(self) -> None:
        super().set_quit()
        self.line.hang_up()

    def do_EOF(self, arg: str) -> "bool | None":
        """Nobody is there any more: the program is not to suffer for that."""
        self.clear_all_breaks()
        return self.do_continue(arg)
