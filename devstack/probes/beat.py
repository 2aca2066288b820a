"""Does beat tick, and what is next? Only its beacon knows: beat registers nowhere, and its schedule file is written every 3 minutes.

Rule: alive while now < last tick + the sleep it announced + LATE.
"""

from __future__ import annotations

import time

from devstack.core.health import Answer, Health, Subject

LATE = 10.0
NO_LINE_AFTER = 10.0
"""A program that has not said hello by then (s) has no line to us, through some wrapper."""


async def ask(subject: Subject) -> Answer:
    now = time.monotonic()
    tick = subject.beacon.get("beat_tick", {})
    pause = tick.get("next_in")
    if not isinstance(pause, int | float):
        alive = f"the process runs (pid {subject.pid})"
        if not subject.launch.channel or ("hello" not in subject.beacon and now - subject.started > NO_LINE_AFTER):
            return Answer(Health.READY, f"{alive}; whether it schedules cannot be seen from outside")
        ready = subject.beacon.get("beat_ready")
        if ready is None:
            return Answer(Health.NOT_YET, f"{alive}, beat has not started to schedule yet")
        why = f"{alive}, beat has loaded its schedule and has not finished a tick yet"
        return Answer(Health.NOT_YET, why, "a tick that hangs waits for the broker or for the schedule's database")
    seen, pause = float(tick["seen"]), max(0.0, pause)  # type: ignore[arg-type]
    if now > seen + pause + LATE:
        late = f"the last tick was {span(now - seen)} ago, the next one was due {span(now - seen - pause)} ago"
        return Answer(Health.NOT_YET, late, "a tick that hangs waits for the broker or for the schedule's database")
    entries = tick.get("entries")
    what = "scheduling" if entries is None else f"scheduling {entries} {'entry' if entries == 1 else 'entries'}"
    return Answer(Health.READY, f"{what}, next in {span(seen + pause - now)}")


def span(seconds: float) -> str:
    seconds = max(0, round(seconds))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
