"""`devstack attach NAME`: this terminal for a process that is at a `breakpoint()`, or that has a terminal of its own (`tty = true`).

Rule 1: leaving (Ctrl-D, Ctrl-C or the end of a script's input at a breakpoint, Ctrl-] at a terminal) changes nothing for the process.
Rule 2: at a breakpoint a line is read when the debugger waits for one: a script (`echo c | devstack attach web`) does as a person would.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

from devstack.cli.live import Place, place_options
from devstack.cli.names import offered
from devstack.control import client
from devstack.control.messages import encode
from devstack.errors import DevstackError

LEAVES = b"\x1d"
"""Ctrl-], as in telnet."""
Answers = Iterator[dict[str, object]]


@click.command()
@click.argument("name", required=False, shell_complete=offered)
@place_options
def attach(name: str | None, procfile: str | None, directory: str | None) -> None:
    """Talk to the debugger of a process that is at a breakpoint(), or sit at its terminal.

    Without NAME it is the first one that waits. The debugger is pdb: h shows what it can do, c goes on; Ctrl-D leaves the process where
    it is. A process has a terminal with tty = true in its settings; Ctrl-] leaves that.
    """
    place = Place(procfile, directory)
    with place.explained():
        line, extra = client.connect(place.runtime)
        with line:
            line.settimeout(client.ANSWERS_WITHIN)
            line.sendall(encode({"do": "attach", "names": [name] if name else [], **extra}))
            answers = client.answers(line)
            attached = next(answers)
            line.settimeout(None)
            (_sit if attached.get("terminal") else _debug)(line, answers, str(attached["attached"]))


def _debug(line: socket.socket, answers: Answers, process: str) -> None:
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # as on Windows, where the console has a history of its own
            import readline  # noqa: F401
    coming = _Coming(answers)
    try:
        while answer := coming.next():
            text = str(answer.get("out", ""))
            if not answer.get("asks"):
                click.echo(text, nl=False)
                continue
            before, newline, prompt = text.rpartition("\n")
            click.echo(before + newline, nl=False)
            said = coming.asked(prompt)
            with contextlib.suppress(OSError):  # it has ended meanwhile, as the next answer tells
                line.sendall(encode({"in": said + "\n"}))
    except (EOFError, KeyboardInterrupt):
        if not coming.over:
            click.echo(f"\n{process} stays where it is: devstack attach {process}", err=True)
            return
        click.echo(err=True)
    coming.explain()
    click.echo(f"{process} goes on", err=True)


class _Coming:
    """What the stack says, also while a person types: a session that ends must not leave them at a prompt that nobody reads."""

    def __init__(self, answers: Answers) -> None:
        self.over = False
        self._error: Exception | None = None
        self._asking = False
        self._messages: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        threading.Thread(target=self._hear, args=(answers,), daemon=True).start()

    def next(self) -> dict[str, object]:
        """Empty at the end."""
        return self._messages.get()

    def asked(self, prompt: str) -> str:
        """A line that is typed. KeyboardInterrupt when the session ends meanwhile (on Windows that is seen with the line)."""
        self._asking = True
        try:
            if self.over:
                raise KeyboardInterrupt
            return input(prompt)
        finally:
            self._asking = False

    def explain(self) -> None:
        if self._error:
            raise self._error

    def _hear(self, answers: Answers) -> None:
        try:
            for answer in answers:
                if answer:
                    self._messages.put(answer)
        except (client.Lost, client.Refused, OSError) as error:
            self._error = error
        self.over = True
        self._messages.put({})
        if self._asking and hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _sit(line: socket.socket, answers: Answers, process: str) -> None:
    own: Any = importlib.import_module("devstack.host.terminal")  # on a system without it nobody comes here
    if not sys.stdin.isatty():
        raise DevstackError(f"{process} has a terminal, and this is none", fix="type it in a terminal")
    click.echo(f"the terminal of {process}: Ctrl-] leaves it", err=True)
    done, told = os.pipe()

    def show() -> None:
        with contextlib.suppress(client.Lost, client.Refused, OSError):
            for answer in answers:
                os.write(1, str(answer.get("out", "")).encode("latin-1"))
        os.write(told, b"\n")

    def say(**message: object) -> None:
        with contextlib.suppress(OSError):
            line.sendall(encode(message))

    with own.raw(lambda rows, columns: say(size=[rows, columns])):
        threading.Thread(target=show, daemon=True).start()
        over = False
        for keys in own.typed(done):
            before, leaves, _ = keys.partition(LEAVES)
            say(**{"in": before.decode("latin-1")})
            if leaves:
                break
        else:
            over = True
    click.echo(f"\n{process} has ended" if over else f"\nleft {process}, which goes on", err=True)
