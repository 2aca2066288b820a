import asyncio
import time

import pytest

from devstack.core.health import Answer, Health, Subject
from devstack.core.model import Launch
from devstack.probes import beat


def ask(said: dict[str, dict[str, object]], *, channel: bool = True, age: float = 1.0) -> Answer:
    subject = Subject("beat.1", 1, 42, Launch((), {}, ".", channel=channel), time.monotonic() - age, None, said)
    return asyncio.run(beat.ask(subject))


def tick(age: float, next_in: float, entries: int | None = 3) -> dict[str, dict[str, object]]:
    return {"beat_tick": {"next_in": next_in, "entries": entries, "sent": "", "seen": time.monotonic() - age}}


def test_a_ticking_beat_is_ready_and_says_when_it_acts_next() -> None:
    assert ask(tick(0.1, 2.1)) == Answer(Health.READY, "scheduling 3 entries, next in 2 s")
    assert ask(tick(1, 301, 1)) == Answer(Health.READY, "scheduling 1 entry, next in 5 min")
    assert ask(tick(0, 0, None)) == Answer(Health.READY, "scheduling, next in 0 s")


@pytest.mark.parametrize(
    ("age", "next_in", "health"),
    [(9, 0, Health.READY), (11, 0, Health.NOT_YET), (304, 300, Health.READY), (311, 300, Health.NOT_YET)],
)
def test_it_is_late_ten_seconds_after_the_sleep_that_it_announced(age: float, next_in: float, health: Health) -> None:
    assert ask(tick(age, next_in)).health is health


def test_a_late_beat_says_how_late() -> None:
    assert ask(tick(32, 2)).why == "the last tick was 32 s ago, the next one was due 30 s ago"


def test_a_beat_that_has_not_ticked_is_not_ready_and_says_what_is_missing() -> None:
    assert ask({}) == Answer(Health.NOT_YET, "the process runs (pid 42), beat has not started to schedule yet")
    loaded = ask({"hello": {"seen": 0}, "beat_ready": {"seen": 0}})
    assert loaded.health is Health.NOT_YET
    assert loaded.why == "the process runs (pid 42), beat has loaded its schedule and has not finished a tick yet"


@pytest.mark.parametrize("said", [{}, {"next_in": None}, {"next_in": "soon"}])
def test_a_tick_without_its_fields_is_not_said(said: dict[str, object]) -> None:
    assert ask({"beat_tick": {**said, "seen": time.monotonic()}}) == ask({})


def test_a_beat_that_has_no_line_to_us_counts_as_running() -> None:
    assert ask({}, channel=False).health is Health.READY
    assert ask({}, age=11).health is Health.READY
    assert ask({"hello": {"seen": 0}}, age=11).health is Health.NOT_YET
