"""What can happen (events, past tense) and what to do about it (actions, imperative).

Rule 1: news about a process names its run; news about an old run changes nothing.
Rule 2: times are seconds; a Timer that was set comes back as an Elapsed with the same name, run and purpose.
"""

from __future__ import annotations

from typing import Literal

from devstack.core.record import Record

Purpose = Literal["backoff", "drain", "grace", "patience", "ready", "settled"]


# ---- events ---------------------------------------------------------------------------------------------------------------


class Spawned(Record):
    name: str
    run: int
    pid: int | None


class SpawnFailed(Record):
    """It could not be started. `code` is what a shell would answer: 127 not found, 126 not executable."""

    name: str
    run: int
    code: int
    why: str
    hopeless: bool = True
    """Trying the same again cannot help before somebody changes something."""


class BecameReady(Record):
    name: str
    run: int
    why: str


class BecameUnready(Record):
    name: str
    run: int
    why: str


class Remarked(Record):
    """A probe has a new sentence about a process whose readiness has not changed."""

    name: str
    run: int
    why: str


class Exited(Record):
    """The whole tree is gone. `code` is negative for a signal; `why` a sentence when more than the code is known."""

    name: str
    run: int
    code: int
    why: str = ""
    hopeless: bool = False


class Clashed(Record):
    """New code cannot live beside the old, which has places (ports, paths of sockets) that it needs; `why` names them."""

    name: str
    run: int
    places: tuple[int | str, ...]
    why: str


class Elapsed(Record):
    name: str
    run: int
    purpose: Purpose


class StartAsked(Record):
    names: tuple[str, ...]


class StopAsked(Record):
    names: tuple[str, ...]


class RestartAsked(Record):
    """Also brings back what FAILED or is DONE; what was stopped on purpose stays stopped."""

    names: tuple[str, ...]
    why: str


class ScaleAsked(Record):
    """So many instances of a service. Those that are too many go, and nobody waits for them any more."""

    service: str
    count: int


class ReloadAsked(Record):
    """Code was saved, as `saved` says. What can live beside its successor is reloaded, everything else restarted."""

    names: tuple[str, ...]
    saved: str


class ShutdownAsked(Record):
    """The second one is `forced`: no more grace."""

    forced: bool = False


Event = (
    Spawned
    | SpawnFailed
    | BecameReady
    | BecameUnready
    | Remarked
    | Exited
    | Clashed
    | Elapsed
    | StartAsked
    | StopAsked
    | RestartAsked
    | ScaleAsked
    | ReloadAsked
    | ShutdownAsked
)


# ---- actions --------------------------------------------------------------------------------------------------------------


class Spawn(Record):
    name: str
    run: int


class AskToLeave(Record):
    name: str
    run: int


class Pause(Record):
    """Take no more work, and finish what is running."""

    name: str
    run: int


class Resume(Record):
    name: str
    run: int


class Retire(Record):
    """Finish what is running, then leave."""

    name: str
    run: int


class Kill(Record):
    name: str
    run: int


class SetTimer(Record):
    name: str
    run: int
    purpose: Purpose
    after: float


class Announce(Record):
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


class Finish(Record):
    """Everything is over; leave with this exit code."""

    code: int


Action = Spawn | AskToLeave | Pause | Resume | Retire | Kill | SetTimer | Announce | Finish
