"""What devstack itself says in the stream: one line per change, and a framed error when something needs a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from devstack.core.events import Announce
from devstack.core.folding import folded
from devstack.core.model import Phase, Process, Stack
from devstack.core.names import listing, seconds

LAST_LINES = 12
LONG_START = 5.0
"""Seconds since its own start from which one that is not ready keeps us waiting: one that was restarted just now does not."""
LONG_FINISH = 5.0
"""Seconds: old code that took longer to finish is worth a line."""


def line(process: Process, said: Announce, took: float) -> str:
    """The line for an Announce; `took` is the time in seconds since the spawn."""
    name, why = process.name, said.why
    match said.kind:
        case "ready" if process.service.probe.how == "none":
            return f"{name} runs (no probe)"
        case "ready":
            return f"{name} is ready after {seconds(took)}: {why}"
        case "unready":
            return f"{name} is no longer ready: {why}"
        case "crashed":
            return f"{name} {why}"
        case "done":
            return f"{name} is done after {seconds(took)}"
        case "stopped":
            return f"{name} stopped"
        case "restarting":
            return f"{name} restarts: {why}"
        case _:
            return f"{name}: {why}"


def reloaded(name: str, took: float, saved: str, active: int) -> str:
    """`active` tasks still run on the old code."""
    rest = f", {active} {'task finishes' if active == 1 else 'tasks finish'} on the old code" if active else ""
    return f"{name} reloaded in {seconds(took)} ({saved}){rest}"


def retired(name: str, took: float, drained: Mapping[str, object]) -> str:
    finished = drained.get("finished")
    tasks = f", {finished} {'task' if finished == 1 else 'tasks'} finished" if isinstance(finished, int) else ""
    return f"{name}: its old code left after {seconds(took)}{tasks}"


def error(process: Process, said: Announce, tail: str, fix: str, blocked: Sequence[str]) -> str:
    """The frame for a process that failed or is overdue; `blocked` wait for it."""
    where = f"  ({process.service.where})" if process.service.where else ""
    lines = [f"error: {_what(process, said)}{where}", f"  why: {said.why}"]
    last = [text for text in folded(tail.splitlines()) if text.strip()][-LAST_LINES:]
    if last:
        lines += ["  last lines:", *(f"    {process.name} | {text}" for text in last)]
    if blocked:
        lines.append(f"  waiting for it: {listing(blocked)}")
    if fix:
        lines.append(f"  try: {fix}")
    return "\n".join(lines)


def same_error(process: Process, said: Announce, first: str, blocked: Sequence[str]) -> str:
    """In place of the frame, when that of `first` shows the same error."""
    waiting = f"\n  waiting for it: {listing(blocked)}" if blocked else ""
    return f"error: {_what(process, said)}: the same error as {first}{waiting}"


def _what(process: Process, said: Announce) -> str:
    late = f"{process.name} is not ready after {seconds(process.service.ready_within or 0)}"
    kept = f"{process.name} could not reload {process.saved}; the old code keeps running"
    return {"failed": f"{process.name} failed", "kept": kept}.get(said.kind, late)


def progress(stack: Stack, ages: Mapping[str, float]) -> str:
    """Who keeps us waiting, and for how long; empty when nobody does. `ages` are the seconds since the newest start of each process."""
    starting = [p for p in stack.processes.values() if p.phase is Phase.STARTING]
    late = [p for p in starting if ages.get(p.name, 0.0) >= LONG_START]
    if not late:
        return ""
    named = "; ".join(f"after {seconds(ages[p.name])} for {p.name}: {p.reason}" for p in late[:4])
    return f"still waiting {named}" + (f"; and for {len(late) - 4} more" if len(late) > 4 else "")


def farewell(stack: Stack, code: int) -> str:
    """Why `up` ends although nobody asked for it."""
    never = [p.name for p in stack.processes.values() if not p.run]
    rest = f"; {listing(never)} never started" if never else ""
    why = "as --exit-on-failure says" if stack.exit_on_failure else "nothing is left to run"
    return f"{why}: leaving with exit code {code}{rest}"


def stopping(stack: Stack, elapsed: float, doing: Mapping[str, object]) -> str:
    """Who holds up the shutdown. `doing` is what each says of its tasks: [name, seconds], the longest first."""
    left = [p.name + _busy_with(doing.get(p.name)) for p in stack.processes.values() if _stays(p)]
    return f"waiting for {listing(left)} to stop, {seconds(elapsed)}; Ctrl-C again to force" if left else ""


def outside(late: Sequence[str]) -> str:
    """Who holds up the end, when all processes have stopped. The guardian kills them after its grace."""
    return f"waiting, for 2 s at most, for what has left its process group: {listing(late)}"


def left_others(name: str) -> str:
    """Why it is over although something of it still ran."""
    return (
        f"{name} has left others in the background, which are ended with it; leave out an & at the end of its command"
    )


def cut_off(tasks: object, ago: float) -> str:
    """What a worker that is killed had not finished; `tasks` as it told them `ago` seconds before, the longest first."""
    match tasks:
        case [[str(task), int() | float() as took], *others]:
            more = f" and {len(others)} more" if others else ""
            return f"{task} is cut off after {seconds(took + ago)}{more}"
    return ""


def _stays(process: Process) -> bool:
    return process.phase is Phase.STOPPING or bool(process.retiring)


def _busy_with(tasks: object) -> str:
    match tasks:
        case [[str(name), int() | float() as took], *others]:
            more = f" and {len(others)} more" if others else ""
            return f" (finishing {name}{more}, {seconds(took)})"
    return ""
