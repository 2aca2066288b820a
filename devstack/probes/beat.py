"""Does beat tick, and what is next? Only its beacon knows: beat registers nowhere, and its schedule file is written every 3 minutes.

Rule: alive while now < last tick + the sleep it announced + LATE.
"""

from __future__ import annotations

import time

from devstack.core.health import Answer, Health, Subject

LATE = 10.0
LONGEST = 1e9
"""A pause of more seconds than that (30 years) is none, and infinity neither."""
NO_LINE_AFTER = 10.0
"""A program that has not said hello by then (s) has no line to us, through some wrapper."""


async def ask(subject: Subject) -> Answer:
    now = time.monotonic()
    tick = subject.beacon.get("beat_tick", {})
    pause = _pause(tick.get("next_in"))
    if pause is None:
        alive = f"the process runs (pid {subject.pid})"
        if not subject.launch.channel or ("hello" not in subject.beacon and now - subject.started > NO_LINE_AFTER):
            return Answer(Health.READY, f"{alive}; whether it schedules cannot be seen from outside")
        ready = subject.beacon.get("beat_ready")
        if ready is None:
            return Answer(Health.NOT_YET, f"{alive}, beat has not started to schedule yet")
        why = f"{alive}, beat has loaded its schedule and has not finished a tick yet"
        return Answer(Health.NOT_YET, why, "a tick that hangs waits for the broker or for the schedule's database")
    seen = float(tick["seen"])  # type: ignore[arg-type]
    if now > seen + pause + LATE:
        late = f"the last tick was {span(now - seen)} ago, the next one was due {span(now - seen - pause)} ago"
        return Answer(Health.NOT_YET, late, "a tick that hangs waits for the broker or for the schedule's database")
    entries = tick.get("entries")
    counted = f" {entries} {'entry' if entries == 1 else 'entries'}" if isinstance(entries, int) else ""
    return Answer(Health.READY, f"scheduling{counted}, next in {span(seen + pause - now)}")


def _pause(said: object) -> float | None:
    """The announced sleep in seconds; None when that is no time. A scheduler of the project's own may return anything."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) < LONGEST:
        return None
    return max(0.0, float(said))


def span(seconds: float) -> str:
    seconds = max(0, round(seconds))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
