"""Asks a project for its Celery settings: `inside/ask.py` in a child, on the project's own interpreter, in its environment.

Rule 1: the project is never imported into devstack, and a child that hangs is ended after LIMIT seconds, with all it started.
Rule 2: an answer is remembered while nothing changed that it came from: the command, the environment, and every file the child read,
with the directories they lie in (a `local_settings.py` may appear). Whatever is in doubt is asked again.
Rule 3: no password is ever stored: an answer with one is not remembered. The file is readable for its owner alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from devstack import host
from devstack.core.secrets import mask
from devstack.runtime import inputs

ASK: Final = Path(__file__).parents[1] / "inside" / "ask.py"
MARKER: Final = "devstack-ask:"
LIMIT: Final = 60.0
_PATIENCE: Final = 3.0
"""Seconds until we say what takes so long."""
_AT_MOST: Final = 24 * 3600.0
"""Settings may depend on what nobody can watch (a vault, the clock): not for longer than a day."""
_OF_A_TERMINAL: Final = frozenset(
    {"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "WINDOWID", "TERM_SESSION_ID", "ITERM_SESSION_ID", "WT_SESSION"}
    | {"XDG_SESSION_ID", "SSH_TTY", "SSH_CLIENT", "SSH_CONNECTION", "SSH_AUTH_SOCK", "GPG_TTY", "TMUX", "TMUX_PANE"}
    | {"DEVSTACK_RUN"}
)
"""Variables that differ from one terminal to the next and decide no broker."""


@dataclass(frozen=True, slots=True)
class Question:
    """`python` is the interpreter with its flags, `words` are for ask.py (`kinds.celery.app_options`); `env` and `cwd` are the worker's."""

    python: tuple[str, ...]
    words: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: str = "."

    @property
    def app(self) -> str:
        """The app in words of a sentence."""
        return next(
            (value for name, value in itertools.pairwise(self.words) if name in ("--app", "--django")), "the project"
        )


@dataclass(frozen=True, slots=True)
class Said:
    """What the project says. `error` is a sentence (without passwords) when it could not be asked, and then nothing else is known."""

    broker_url: str = field(default="", repr=False)
    result_backend: str = field(default="", repr=False)
    transport_options: Mapping[str, object] = field(default_factory=dict, repr=False)
    control_exchange: str = "celery"
    app: str = ""
    kombu: str = ""
    eager: bool = False
    """Tasks run in the process that sends them (task_always_eager)."""
    error: str = ""
    where: str = ""
    """The line of the project (`shop/settings.py:12`) that has to do with the error."""
    seen: inputs.State = field(default_factory=dict, repr=False)
    """What the answer came from; empty for one that is remembered."""
    remembered: bool = False


async def ask(question: Question, memory: Path, say: Callable[[str], None]) -> Said:
    """The answer, from the file `memory` when it still holds. `say` gets a sentence when the child takes long."""
    key = _key(question)
    if answer := _recall(memory, key):
        return _read(answer, remembered=True)
    began = time.time_ns()
    answer = await _run(question, say)
    said = _read(answer)
    if not said.error:
        _remember(memory, key, answer, began)
    return said


async def _run(question: Question, say: Callable[[str], None]) -> dict[str, Any]:
    here = host.here()
    # Files, not pipes: a grandchild that keeps a pipe open would keep us waiting.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            child = await asyncio.create_subprocess_exec(
                *question.python,
                str(ASK),
                *question.words,
                env=dict(question.env),
                cwd=question.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                **here.spawn_options(),
            )
        except OSError as error:
            return {"error": f"{question.python[0]} cannot be run: {(error.strerror or f'{error}').lower()}"}
        tree = here.adopt(child.pid)
        waiting = asyncio.ensure_future(child.wait())
        try:
            done, _ = await asyncio.wait({waiting}, timeout=_PATIENCE)
            if not done:
                say(f"reading the Celery settings of {question.app} (it may take up to {LIMIT:.0f} s)")
                done, _ = await asyncio.wait({waiting}, timeout=LIMIT - _PATIENCE)
        finally:
            here.kill(tree)
            await waiting
        if not done:
            return {"error": f"importing {question.app} took longer than {LIMIT:.0f} s"}
        return _answer_in(_end_of(output)) or {"error": _last_line(_end_of(errors)) or f"exited {child.returncode}"}


def _end_of(file: Any) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - (1 << 22)))
    return bytes(file.read()).decode("utf-8", "replace")


def _answer_in(output: str) -> dict[str, Any] | None:
    """The JSON object that ask.py printed; the project may have printed as well."""
    for line in reversed(output.splitlines()):
        if line.startswith(MARKER):
            answer = json.loads(line.removeprefix(MARKER))
            return answer if isinstance(answer, dict) else None
    return None


def _last_line(output: str) -> str:
    # Masked before it is cut: the password in half an address is not recognised.
    return next((mask(line.strip())[:300] for line in reversed(output.splitlines()) if line.strip()), "")


def _read(answer: Mapping[str, Any], *, remembered: bool = False) -> Said:
    def text(name: str) -> str:
        return value if isinstance(value := answer.get(name), str) else ""

    options, versions = answer.get("broker_transport_options"), answer.get("versions")
    return Said(
        # Without one Celery falls back to amqp://guest@localhost//, which nobody chose.
        broker_url=text("broker_url") if answer.get("broker_set") else "",
        result_backend=text("result_backend"),
        transport_options=options if isinstance(options, dict) else {},
        control_exchange=text("control_exchange") or "celery",
        app=text("app"),
        kombu=(versions.get("kombu") or "") if isinstance(versions, dict) else "",
        eager=answer.get("task_always_eager") is True,
        error=mask(text("error")),
        where=text("where"),
        seen=_seen(answer),
        remembered=remembered,
    )


def _seen(answer: Mapping[str, Any]) -> inputs.State:
    """The files as they were when they were read, and the directories in which others may appear."""
    files, path = answer.get("files"), answer.get("path")
    read = files if isinstance(files, dict) else {}
    looked_in = path if isinstance(path, list) else []
    return {**inputs.now({*map(os.path.dirname, read), *map(str, looked_in)}), **read}


def _key(question: Question) -> str:
    env = {name: value for name, value in question.env.items() if name not in _OF_A_TERMINAL}
    asked = [
        question.python,
        question.app,
        question.cwd,
        sorted(env.items()),
        inputs.file(ASK),
        inputs.file(Path(question.python[0])),
    ]
    return hashlib.sha256(json.dumps(asked).encode("utf-8", "surrogateescape")).hexdigest()


def _recall(memory: Path, key: str) -> dict[str, Any] | None:
    try:
        known = json.loads(memory.read_text("utf-8"))
        if known["key"] != key or not 0 <= time.time() - known["at"] < _AT_MOST:
            return None
        if any(inputs.file(Path(path)) != state for path, state in known["seen"].items()):
            return None
        answer = known["answer"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return answer if isinstance(answer, dict) else None


def _remember(memory: Path, key: str, answer: Mapping[str, Any], began: int) -> None:
    files = answer.get("files")
    if not isinstance(files, dict) or not files or _holds_secret(answer):
        memory.unlink(missing_ok=True)
        return
    directories = {path: inputs.file(Path(path)) for path in map(os.path.dirname, files)}
    if any(state[0] >= began for state in files.values()) or None in directories.values():
        return  # Changed while it was read.
    kept = {name: value for name, value in answer.items() if name != "files"}
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = memory.with_name(f"{memory.name}.{os.getpid()}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"key": key, "at": time.time(), "seen": {**files, **directories}, "answer": kept}, file)
        fresh.replace(memory)


def _holds_secret(answer: Mapping[str, Any]) -> bool:
    urls = (f"{answer.get(name)}" for name in ("broker_url", "result_backend"))
    options = json.dumps(answer.get("broker_transport_options"))
    return any(mask(url) != url or "@" in url for url in urls) or bool(
        re.search(r"passw|secret|token|key_", options, re.I)
    )
