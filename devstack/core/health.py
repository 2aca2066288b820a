"""What a probe is told about a process (Subject) and what it answers (Answer).

Rule 1: a probe never raises for something that can happen; it answers, with one sentence that says why.
Rule 2: busy, down and unknown are three different answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

from devstack.core.model import Launch
from devstack.core.record import Record, State, fresh


class Health(StrEnum):
    READY = "ready"
    BUSY = "busy"
    """Lives and is connected, but cannot answer now (a solo worker in a task). Keeps its phase."""
    NOT_YET = "not yet"
    """Not ready; asking again may help."""
    UNKNOWN = "unknown"
    """The question could not be put (the broker is down, say). Keeps its phase; the process is not blamed."""


class Answer(Record):
    """`why` is one sentence without a full stop ("answered PING in 1 ms"); `fix` what to do about a bad one, if known."""

    health: Health
    why: str
    fix: str = ""


class Ended(Record):
    """How a run ended, `at` seconds since 1970.

    `asked`: "polite" or "hard" when devstack ended it, empty when it ended by itself. `cut_off`: what it had not finished, in words.
    """

    at: float
    run: int
    code: int
    why: str
    asked: str
    cut_off: str = ""


class Broker(Record):
    """The Celery broker of the project. `url` carries the password: mask it wherever it is shown.

    `source` says where the URL was found ("settings of shop", ".env:3", "default"). `ours` when devstack runs the server.
    """

    url: str
    source: str
    result_backend: str = ""
    transport_options: Mapping[str, object] = MappingProxyType({})
    control_exchange: str = "celery"
    ours: bool = False


class Uses(State):
    """What a process has told of the modules it imported.

    `files` are absolute paths of project files; `missing` absolute paths, without an ending, of modules that were looked for in the project
    and not found; `modules` the names of all others, in the order in which they were imported; `patched` the libraries that have replaced
    parts of others.
    """

    files: set[str] = fresh(factory=set)
    missing: set[str] = fresh(factory=set)
    modules: dict[str, None] = fresh(factory=dict)
    patched: set[str] = fresh(factory=set)

    def add(self, message: Mapping[str, object]) -> None:
        """Take in what an `imported` message says."""
        self.files.update(_strings(message.get("files")))
        self.missing.update(_strings(message.get("missing")))
        self.modules.update(dict.fromkeys(_strings(message.get("modules"))))
        self.patched.update(_strings(message.get("patched")))


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


class Subject(State):
    """One run of one process as the probes see it.

    `beacon` holds the newest message of each type that the process sent through its private channel, each with `seen`, our
    `time.monotonic()` at its arrival. `tail()` is the last output (bytes, some KiB, unprefixed). `pids()` are the live process ids of the
    tree. `started` is `time.monotonic()` at the spawn. `served` are the ports of `listening`; `taken` the places (ports, paths of Unix
    sockets) that it wanted and somebody had, `holds` those that somebody outside its tree has for it.
    """

    process: str
    run: int
    pid: int | None
    launch: Launch
    started: float
    broker: Broker | None = None
    beacon: dict[str, dict[str, object]] = fresh(factory=dict)
    uses: Uses = fresh(factory=Uses)
    tail: Callable[[], bytes] = lambda: b""
    pids: Callable[[], set[int]] = set
    served: set[int] = fresh(factory=set)
    taken: set[int | str] = fresh(factory=set)
    holds: set[int | str] = fresh(factory=set)
