"""What devstack says itself."""

from __future__ import annotations

from devstack.core.model import Phase, Service, Stack
from devstack.runtime import voice


def stack(**reasons: str) -> Stack:
    """One process a service, all starting."""
    made = Stack.of([Service(name, name) for name in reasons])
    for process, why in zip(made.processes.values(), reasons.values(), strict=True):
        process.phase, process.reason = Phase.STARTING, why
    return made


def test_progress_counts_from_the_start_of_each_process_not_of_up() -> None:
    starting = stack(web="connection refused", worker="no Celery worker registered yet")
    assert voice.progress(starting, {"web.1": 20.0, "worker.1": 12.0}) == (
        "still waiting after 20 s for web.1: connection refused; after 12 s for worker.1: no Celery worker registered yet"
    )


def test_one_that_was_restarted_a_moment_ago_keeps_nobody_waiting() -> None:
    starting = stack(web="connection refused", worker="starting")
    assert "worker.1" not in voice.progress(starting, {"web.1": 20.0, "worker.1": 0.4})
    assert voice.progress(starting, {"web.1": 0.1, "worker.1": 0.4}) == ""
    assert voice.progress(starting, {}) == ""


def test_the_ready_keep_nobody_waiting_and_a_long_list_is_cut() -> None:
    many = stack(**{f"p{n}": "slow" for n in range(7)})
    many.processes["p0.1"].phase = Phase.READY
    said = voice.progress(many, dict.fromkeys(many.processes, 30.0))
    assert said.startswith("still waiting after 30 s for p1.1: slow; ")
    assert said.endswith("p4.1: slow; and for 2 more")
