"""What can happen (events, past tense) and what to do about it (actions, imperative).

Rule 1: news about a process names its run; news about an old run changes nothing.
Rule 2: times are seconds; a Timer that was set comes back as an Elapsed with the same name, run and purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["backoff", "drain", "grace", "ready", "settled"]


# ---- events ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawned:
    name: str
    run: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """It could not be started. `code` is what a shell would answer: 127 not found, 126 not executable."""

    name: str
    run: int
    code: int
    why: str
    hopeless: bool = True
    """Trying the same again cannot help before somebody changes something."""


@dataclass(frozen=True, slots=True)
class BecameReady:
    name: str
    run: int
    why: str


@dataclass(frozen=True, slots=True)
class BecameUnready:
    name: str
    run: int
    why: str


@dataclass(frozen=True, slots=True)
class Remarked:
    """A probe has a new sentence about a process whose readiness has not changed."""

    name: str
    run: int
    why: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The whole tree is gone. `code` is negative for a signal; `why` a sentence when more than the code is known."""

    name: str
    run: int
    code: int
    why: str = ""
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Elapsed:
    name: str
    run: int
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class StartAsked:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopAsked:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """Also brings back what FAILED or is DONE; what was stopped on purpose stays stopped."""

    names: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """Code was saved, as `saved` says. What can live beside its successor is reloaded, everything else restarted."""

    names: tuple[str, ...]
    saved: str


@dataclass(frozen=True, slots=True)
class ShutdownAsked:
    """The second one is `forced`: no more grace."""

    forced: bool = False


Event = (
    Spawned
    | SpawnFailed
    | BecameReady
    | BecameUnready
    | Remarked
    | Exited
    | Elapsed
    | StartAsked
    | StopAsked
    | RestartAsked
    | ReloadAsked
    | ShutdownAsked
)


# ---- actions --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    name: str
    run: int


@dataclass(frozen=True, slots=True)
class AskToLeave:
    name: str
    run: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Take no more work, and finish what is running."""

    name: str
    run: int


@dataclass(frozen=True, slots=True)
class Resume:
    name: str
    run: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Finish what is running, then leave."""

    name: str
    run: int


@dataclass(frozen=True, slots=True)
class Kill:
    name: str
    run: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    name: str
    run: int
    purpose: Purpose
    after: float


@dataclass(frozen=True, slots=True)
class Announce:
    """Something to tell a person about `name`; `why` is its reason at this moment, which a later action may change."""

    name: str
    run: int
    kind: Literal[
        "ready",
        "unready",
        "remark",
        "crashed",
        "failed",
        "done",
        "overdue",
        "stopped",
        "restarting",
        "reloaded",
        "kept",
        "retired",
    ]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything is over; leave with this exit code."""

    code: int


Action = Spawn | AskToLeave | Pause | Resume | Retire | Kill | SetTimer | Announce | Finish
