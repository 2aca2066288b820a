"""What a stack looks like from outside: a row for each process, and all that is known of how it came to be so.

Rule 1: nothing of it holds a password: what looks like one is masked, and so is the value of every variable that is named like one.
Rule 2: what costs something (CPU and memory) is looked at only when somebody asks, in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from devstack.core import events as e
from devstack.core.folding import folded
from devstack.core.health import Ended, Subject
from devstack.core.machine import closed_gates
from devstack.core.model import Phase, Process, Stack
from devstack.core.names import exit_sentence
from devstack.core.secrets import cover as cover_of
from devstack.host import Terminal, usage

LAST_LINES = 12
AT_ONCE = 0.5
"""Seconds: two looks at the CPU that lie closer together than that say nothing."""


class Supervised(Protocol):
    """A running stack, as the supervisor shows it."""

    stack: Stack
    changed: list[Callable[[], None]]

    @property
    def ends(self) -> Mapping[str, Sequence[Ended]]: ...
    def tell(self, event: e.Event, /) -> None: ...
    def hold(self, name: str) -> None: ...
    def let_go(self, name: str) -> None: ...
    def scale(self, service: str, count: int) -> None: ...
    def alive(self, name: str) -> list[Subject]: ...
    def subject(self, name: str) -> Subject | None: ...
    def terminal(self, name: str) -> Terminal | None: ...


class Picture:
    """Remembers the last look at the CPU, so that the next one tells what it has had since."""

    def __init__(self) -> None:
        self._usage: dict[int, tuple[float, float]] = {}
        """When each process was looked at, and the CPU seconds it had had."""

    async def rows(self, there: Supervised) -> list[dict[str, object]]:
        table = await asyncio.to_thread(usage.table)
        shown = [p for p in there.stack.processes.values() if not p.surplus or p.lives]
        rows: list[dict[str, object]] = []
        seen: dict[int, tuple[float, float]] = {}
        now = time.monotonic()
        for p in shown:
            subject = there.subject(p.name)
            tree = usage.trees(table, [each.pid for each in there.alive(p.name) if each.pid])
            cpu = 0.0
            for pid in tree:
                had = table[pid][1]
                at, before = self._usage.get(pid, (subject.started if subject else now, 0.0))
                # Twice within a moment says nothing: then the earlier look counts on.
                seen[pid] = (at, before) if 0 <= now - at < AT_ONCE and pid in self._usage else (now, had)
                cpu += max(0.0, had - before) / max(now - at, 0.05)
            alive = p.phase.alive and bool(subject)
            stopped = p.phase is Phase.DOWN and not p.wanted and not there.stack.leaving
            launch = subject.launch if subject and not p.phase.over else None
            rows.append(
                {
                    "name": p.name,
                    "service": p.service.name,
                    "kind": p.service.kind,
                    "role": p.service.role,
                    "phase": str(p.phase),
                    "pid": p.pid if alive else None,
                    "up": round(now - subject.started, 1) if alive and subject else None,
                    "restarts": max(0, p.starts - 1),
                    "cpu": round(cpu * 100, 1) if tree else None,
                    "memory": sum(table[pid][2] for pid in tree) if tree else None,
                    "processes": len(tree),
                    "port": launch.port if launch and p.service.role in ("web", "flower", "redis") else None,
                    "url": cover_of({})(launch.url) if launch else "",
                    "exit_code": p.code,
                    "why": "stopped, as asked"
                    if stopped
                    else cover_of(subject.launch.env if subject else {})(p.behind or p.reason),
                }
            )
        self._usage = seen
        return rows


def history(there: Supervised, process: Process) -> dict[str, object]:
    subject = there.subject(process.name)
    waits = [f"{q.name}: {q.phase}, {q.reason}" for q in closed_gates(there.stack, process)]
    others = [q.name for name in there.stack.needed_by(process.service.name) for q in _some(there, name)]
    tail = subject.tail().decode(errors="replace").splitlines() if subject else []
    last = [line for line in folded(tail) if line.strip()][-LAST_LINES:]
    cover = cover_of(subject.launch.env if subject else {})
    return {
        "command": cover(process.service.command),
        "where": process.service.where,
        "kind": process.service.kind,
        "ends": [_ended(each, cover) for each in there.ends.get(process.name, ())],
        "waits_for": [cover(each) for each in waits] if process.phase is Phase.WAITING else [],
        "needs": list(process.service.needs),
        "needed_by": others,
        "saved": process.saved,
        "old_runs": len(process.retiring),
        "last_lines": [cover(line) for line in last],
    }


def _some(there: Supervised, name: str) -> list[Process]:
    return [p for p in there.stack.of_service(name) if not p.surplus]


def _ended(end: Ended, cover: Callable[[str], str]) -> dict[str, object]:
    how = {"polite": "devstack asked it to leave", "hard": "devstack killed it"}.get(end.asked, "by itself")
    if not end.asked and end.code < 0:
        how = "by a signal that devstack did not send"
    return {
        "at": round(end.at, 3),
        "run": end.run,
        "code": end.code,
        "how": how,
        "why": cover("; ".join(filter(None, [end.why or exit_sentence(end.code), end.cut_off]))),
    }
