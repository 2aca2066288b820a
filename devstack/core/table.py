"""The table of the machine: which phase follows which, by what an event means, and what is done on the way.

Rule 1: a pair that is not in it changes nothing.
Rule 2: an effect changes its one process and says what to do; it knows nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from devstack.core import events as e
from devstack.core.model import Held, Phase, Process
from devstack.core.names import seconds

SETTLED_AFTER = 10.0
"""Seconds a process must have been ready before its crashes are forgotten. Ready is not settled: without this a crash loop never ends."""
LONGEST_BACKOFF = 30.0
DROPPED_GRACE = 60.0
PATIENCE = 10.0
"""Seconds that the old code waits for new code which may hang, and takes no work. Then old code is better than none."""


class Input(StrEnum):
    """What an event means for one process, once `wanted`, exit codes and gates are taken into account."""

    START = "start asked"
    STOP = "stop asked"
    FORCE = "stop forced"
    RESTART = "restart asked"
    RELOAD = "reload asked"
    FREE = "gates open"
    READY = "ready"
    UNREADY = "no longer ready"
    REMARK = "remark"
    FINISHED = "exited 0"
    CRASHED = "crashed"
    HOPELESS = "failed for good"
    GONE = "gone, not wanted"
    GONE_WANTED = "gone, still wanted"
    WAITED = "backoff over"
    OVERSTAYED = "grace over"
    OVERDUE = "not ready in time"
    SETTLED = "settled"
    SLOW = "new code takes long"
    FELL = "new code failed"
    ALONE = "old code gone"
    CLASHED = "new code needs what the old has"


Effect = Callable[[Process], "list[e.Action]"]


def spawn(p: Process) -> list[e.Action]:
    p.starts += 1
    p.run = p.starts
    p.pid = None
    p.proven = False
    p.reason = "running" if p.service.oneshot else "starting"
    actions: list[e.Action] = [e.Spawn(p.name, p.run)]
    if p.service.ready_within is not None:
        actions.append(e.SetTimer(p.name, p.run, "ready", p.service.ready_within))
    return actions


def leave(p: Process) -> list[e.Action]:
    """All its runs go. Those that are retiring get no more time than the newest, unless it is going to come back."""
    actions = retire(p)
    waited_for = (p.run,) if p.wanted else (p.run, *p.retiring)
    timers = [e.SetTimer(p.name, run, "grace", p.service.grace) for run in waited_for]
    return [*actions, e.AskToLeave(p.name, p.run), *timers]


def kill(p: Process) -> list[e.Action]:
    p.reason = f"did not leave within {seconds(p.service.grace)}, killed"
    return [e.Kill(p.name, p.run), e.Announce(p.name, p.run, "remark", p.reason)]


def kill_now(p: Process) -> list[e.Action]:
    held = [p.previous.run] if p.previous else []
    p.retiring += held
    p.previous = None
    return [e.Kill(p.name, run) for run in (p.run, *p.retiring)]


def hold(p: Process) -> list[e.Action]:
    """The old code takes nothing new from now on, and stays until the new one has proved itself."""
    p.previous = Held(p.run, p.pid)
    if p.service.reload != "quiesce":
        return []
    return [e.Pause(p.name, p.run), e.SetTimer(p.name, p.run, "patience", PATIENCE)]


def lose_patience(p: Process) -> list[e.Action]:
    assert p.previous
    return [
        e.Resume(p.name, p.previous.run),
        e.Announce(p.name, p.run, "remark", f"new code is not ready after {seconds(PATIENCE)}; the old code works on"),
    ]


def retire(p: Process) -> list[e.Action]:
    """The run that was held back finishes what it has, and goes."""
    if p.previous is None:
        return []
    run, p.previous = p.previous.run, None
    p.retiring.append(run)
    drain = p.service.drain
    return [e.Retire(p.name, run), *([e.SetTimer(p.name, run, "drain", drain)] if drain is not None else [])]


def drop(p: Process) -> list[e.Action]:
    """The new code is out of date before it was ready. It may have taken a task already: it goes like one that has."""
    p.retiring.append(p.run)
    return [e.Retire(p.name, p.run), e.SetTimer(p.name, p.run, "grace", p.service.ready_within or DROPPED_GRACE)]


def keep(p: Process) -> list[e.Action]:
    """The old code goes on, for the new one has failed."""
    assert p.previous
    failed, why = p.run, p.reason
    p.run, p.pid, p.previous, p.proven = p.previous.run, p.previous.pid, None, True
    p.reason = p.behind = f"runs the code from before {p.saved}: {why}"
    return [e.Resume(p.name, p.run), e.Announce(p.name, failed, "kept", why)]


def give_way(p: Process) -> list[e.Action]:
    """The old code ends first, and then the new one starts again."""
    assert p.previous
    new, p.run, p.pid, p.previous = p.run, p.previous.run, p.previous.pid, None
    p.retiring.append(new)
    said = e.Announce(p.name, new, "remark", p.reason)
    return [said, e.Kill(p.name, new), e.AskToLeave(p.name, p.run), e.SetTimer(p.name, p.run, "grace", p.service.grace)]


def back_off(p: Process) -> list[e.Action]:
    return [e.SetTimer(p.name, p.run, "backoff", backoff(p.failures)), e.Announce(p.name, p.run, "crashed", p.reason)]


def settle(p: Process) -> list[e.Action]:
    p.proven, p.behind = True, ""
    return [e.SetTimer(p.name, p.run, "settled", SETTLED_AFTER), e.Announce(p.name, p.run, "ready", p.reason)]


def reloaded(p: Process) -> list[e.Action]:
    p.proven, p.behind = True, ""
    return [e.SetTimer(p.name, p.run, "settled", SETTLED_AFTER), e.Announce(p.name, p.run, "reloaded", p.saved)]


def forgive(p: Process) -> list[e.Action]:
    p.failures = 0
    return []


def _announce(kind: str) -> Effect:
    return lambda p: [e.Announce(p.name, p.run, kind, p.reason)]  # type: ignore[arg-type]


TABLE: dict[tuple[Phase, Input], tuple[Phase, tuple[Effect, ...]]] = {
    (Phase.DOWN, Input.START): (Phase.WAITING, ()),
    (Phase.FAILED, Input.START): (Phase.WAITING, (forgive,)),
    (Phase.FAILED, Input.RESTART): (Phase.WAITING, (forgive, _announce("restarting"))),
    (Phase.FAILED, Input.STOP): (Phase.DOWN, ()),
    (Phase.DONE, Input.START): (Phase.WAITING, ()),
    (Phase.DONE, Input.RESTART): (Phase.WAITING, (_announce("restarting"),)),
    (Phase.DONE, Input.STOP): (Phase.DOWN, ()),
    (Phase.WAITING, Input.FREE): (Phase.STARTING, (spawn,)),
    (Phase.WAITING, Input.STOP): (Phase.DOWN, ()),
    (Phase.BACKOFF, Input.START): (Phase.WAITING, (forgive,)),
    (Phase.BACKOFF, Input.RESTART): (Phase.WAITING, (forgive, _announce("restarting"))),
    (Phase.BACKOFF, Input.WAITED): (Phase.WAITING, ()),
    (Phase.BACKOFF, Input.STOP): (Phase.DOWN, ()),
    (Phase.STARTING, Input.READY): (Phase.READY, (settle,)),
    (Phase.STARTING, Input.REMARK): (Phase.STARTING, ()),
    (Phase.STARTING, Input.UNREADY): (Phase.STARTING, ()),
    (Phase.STARTING, Input.OVERDUE): (Phase.STARTING, (_announce("overdue"),)),
    (Phase.STARTING, Input.GONE): (Phase.DOWN, (_announce("stopped"),)),
    (Phase.STARTING, Input.FINISHED): (Phase.DONE, (_announce("done"),)),
    (Phase.STARTING, Input.CRASHED): (Phase.BACKOFF, (back_off,)),
    (Phase.STARTING, Input.HOPELESS): (Phase.FAILED, (_announce("failed"),)),
    (Phase.STARTING, Input.RESTART): (Phase.STOPPING, (_announce("restarting"), leave)),
    (Phase.STARTING, Input.STOP): (Phase.STOPPING, (leave,)),
    (Phase.STARTING, Input.FORCE): (Phase.STOPPING, (kill_now,)),
    (Phase.READY, Input.READY): (Phase.READY, ()),
    (Phase.READY, Input.REMARK): (Phase.READY, (_announce("remark"),)),
    (Phase.READY, Input.UNREADY): (Phase.STARTING, (_announce("unready"),)),
    (Phase.READY, Input.SETTLED): (Phase.READY, (forgive,)),
    (Phase.READY, Input.GONE): (Phase.DOWN, (_announce("stopped"),)),
    (Phase.READY, Input.FINISHED): (Phase.DONE, (_announce("done"),)),
    (Phase.READY, Input.CRASHED): (Phase.BACKOFF, (back_off,)),
    (Phase.READY, Input.HOPELESS): (Phase.FAILED, (_announce("failed"),)),
    (Phase.READY, Input.RESTART): (Phase.STOPPING, (_announce("restarting"), leave)),
    (Phase.READY, Input.STOP): (Phase.STOPPING, (leave,)),
    (Phase.READY, Input.FORCE): (Phase.STOPPING, (kill_now,)),
    (Phase.READY, Input.RELOAD): (Phase.RELOADING, (hold, spawn)),
    (Phase.RELOADING, Input.READY): (Phase.READY, (retire, reloaded)),
    (Phase.RELOADING, Input.REMARK): (Phase.RELOADING, ()),
    (Phase.RELOADING, Input.RELOAD): (Phase.RELOADING, (drop, spawn)),
    (Phase.RELOADING, Input.SLOW): (Phase.RELOADING, (lose_patience,)),
    (Phase.RELOADING, Input.FELL): (Phase.READY, (keep,)),
    (Phase.RELOADING, Input.OVERDUE): (Phase.READY, (drop, keep)),
    (Phase.RELOADING, Input.CLASHED): (Phase.STOPPING, (give_way,)),
    (Phase.RELOADING, Input.ALONE): (Phase.STARTING, ()),
    (Phase.RELOADING, Input.RESTART): (Phase.STOPPING, (_announce("restarting"), leave)),
    (Phase.RELOADING, Input.STOP): (Phase.STOPPING, (leave,)),
    (Phase.RELOADING, Input.FORCE): (Phase.STOPPING, (kill_now,)),
    (Phase.STOPPING, Input.FORCE): (Phase.STOPPING, (kill_now,)),
    (Phase.STOPPING, Input.OVERSTAYED): (Phase.STOPPING, (kill,)),
    (Phase.STOPPING, Input.GONE): (Phase.DOWN, (_announce("stopped"),)),
    (Phase.STOPPING, Input.GONE_WANTED): (Phase.WAITING, ()),
}


def backoff(failures: int) -> float:
    """Seconds before the next start after `failures` crashes in a row: 0.5, 1, 2, 4 … LONGEST_BACKOFF. The supervisor adds the jitter."""
    return float(min(LONGEST_BACKOFF, 0.5 * 2 ** min(failures - 1, 10)))
