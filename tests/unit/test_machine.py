"""The machine as histories: events in, actions out."""

from __future__ import annotations

import random

import pytest

from devstack.core import events as e
from devstack.core.machine import decide
from devstack.core.model import Phase, ProbeSpec, Stack
from devstack.core.table import TABLE, Input, backoff
from tests.support.history import World, service, shop


def spawned(actions: list[e.Action]) -> list[str]:
    return [a.name for a in actions if isinstance(a, e.Spawn)]


def asked(actions: list[e.Action]) -> list[str]:
    return [a.name for a in actions if isinstance(a, e.AskToLeave)]


def start(stack: Stack) -> list[e.Action]:
    return decide(stack, e.StartAsked(tuple(stack.processes)))


def ready(stack: Stack, name: str) -> list[e.Action]:
    return decide(stack, e.BecameReady(name, stack.processes[name].run, "answers"))


def exited(stack: Stack, name: str, code: int, hopeless: str = "") -> list[e.Action]:
    return decide(stack, e.Exited(name, stack.processes[name].run, code, hopeless, bool(hopeless)))


def elapsed(stack: Stack, name: str, purpose: e.Purpose) -> list[e.Action]:
    return decide(stack, e.Elapsed(name, stack.processes[name].run, purpose))


def one(**more: object) -> Stack:
    stack = Stack.of([service("web", **more)])
    start(stack)
    return stack


def all_ready() -> Stack:
    stack = shop()
    start(stack)
    ready(stack, "redis.1")
    exited(stack, "migrate.1", 0)
    for name in ("web.1", "worker.1", "worker.2", "beat.1", "flower.1"):
        ready(stack, name)
    assert {p.phase for p in stack.processes.values()} == {Phase.READY, Phase.DONE}
    return stack


def test_everything_starts_in_the_order_of_its_gates() -> None:
    stack = shop()

    assert spawned(start(stack)) == ["redis.1"]
    assert spawned(ready(stack, "redis.1")) == ["migrate.1"]
    assert spawned(exited(stack, "migrate.1", 0)) == ["web.1", "worker.1", "worker.2"]
    assert spawned(ready(stack, "worker.1")) == []
    assert spawned(ready(stack, "worker.2")) == ["beat.1", "flower.1"]


def test_a_waiting_process_says_for_whom_and_why() -> None:
    stack = shop()
    start(stack)
    decide(stack, e.Remarked("redis.1", 1, "connection refused on 127.0.0.1:6379"))
    decide(stack, e.StopAsked(("web.1",)))
    decide(stack, e.StartAsked(("web.1",)))

    assert stack.processes["web.1"].reason == "waits for redis.1 and 1 more: connection refused on 127.0.0.1:6379"


def test_everything_stops_in_reverse_order() -> None:
    stack = all_ready()

    assert asked(decide(stack, e.ShutdownAsked())) == ["web.1", "beat.1", "flower.1"]
    assert asked(exited(stack, "beat.1", 0)) == []
    assert asked(exited(stack, "flower.1", -15)) == ["worker.1", "worker.2"]
    exited(stack, "worker.1", 0)
    assert asked(exited(stack, "worker.2", 1)) == []
    assert asked(exited(stack, "web.1", 0)) == ["redis.1"]
    assert exited(stack, "redis.1", 0)[-1] == e.Finish(0)


def test_a_second_ctrl_c_kills_what_is_left_at_once() -> None:
    stack = all_ready()
    decide(stack, e.ShutdownAsked())

    actions = decide(stack, e.ShutdownAsked(forced=True))

    alive = [p.name for p in stack.processes.values() if p.phase.alive]
    assert [a.name for a in actions if isinstance(a, e.Kill)] == alive


def test_one_that_does_not_leave_is_killed_when_its_grace_is_over() -> None:
    stack = one(grace=4.0)
    assert e.SetTimer("web.1", 1, "grace", 4.0) in decide(stack, e.StopAsked(("web.1",)))

    assert e.Kill("web.1", 1) in elapsed(stack, "web.1", "grace")


def test_a_crash_backs_off_longer_each_time_and_then_fails() -> None:
    stack = one()
    pauses = []
    for _ in range(4):
        actions = exited(stack, "web.1", 3)
        pauses += [a.after for a in actions if isinstance(a, e.SetTimer) and a.purpose == "backoff"]
        assert spawned(elapsed(stack, "web.1", "backoff")) == ["web.1"]
    assert pauses == [0.5, 1, 2, 4]

    actions = exited(stack, "web.1", 3)

    assert stack.processes["web.1"].phase is Phase.FAILED
    assert stack.processes["web.1"].reason == "exited 3, 5 times in a row"
    assert actions[-1] == e.Finish(3)


def test_the_backoff_is_capped() -> None:
    assert backoff(50) == 30.0


def test_ready_is_not_settled_so_a_crash_loop_ends() -> None:
    stack = one()
    for _ in range(4):
        ready(stack, "web.1")
        exited(stack, "web.1", 1)
        elapsed(stack, "web.1", "backoff")
    exited(stack, "web.1", 1)
    assert stack.processes["web.1"].phase is Phase.FAILED


def test_a_process_that_settled_is_forgiven() -> None:
    stack = one()
    exited(stack, "web.1", 1)
    elapsed(stack, "web.1", "backoff")
    ready(stack, "web.1")
    elapsed(stack, "web.1", "settled")
    assert stack.processes["web.1"].failures == 0


def test_a_missing_program_fails_at_once_with_the_code_of_a_shell() -> None:
    stack = one()
    actions = decide(stack, e.SpawnFailed("web.1", 1, 127, "gunicron: command not found"))
    assert stack.processes["web.1"].phase is Phase.FAILED
    assert actions[-1] == e.Finish(127)


def test_a_spawn_that_failed_for_lack_of_room_is_tried_again() -> None:
    stack = one()
    decide(stack, e.SpawnFailed("web.1", 1, 126, "Resource temporarily unavailable", hopeless=False))
    assert stack.processes["web.1"].phase is Phase.BACKOFF


def test_a_hopeless_exit_is_not_tried_again() -> None:
    stack = one()
    exited(stack, "web.1", 1, "No module named 'shopp'")
    assert stack.processes["web.1"].phase is Phase.FAILED
    assert stack.processes["web.1"].reason == "No module named 'shopp'"


def test_a_failed_one_shot_is_not_repeated_and_ends_what_waits_for_it() -> None:
    stack = shop()
    start(stack)
    ready(stack, "redis.1")

    actions = exited(stack, "migrate.1", 2)

    assert stack.processes["migrate.1"].phase is Phase.FAILED
    assert asked(actions) == ["redis.1"], "our own Redis alone is no reason to stay"
    assert exited(stack, "redis.1", 0)[-1] == e.Finish(2)


def test_one_that_ends_does_not_end_the_others() -> None:
    stack = Stack.of([service("web"), service("worker")])
    start(stack)
    ready(stack, "web.1")
    ready(stack, "worker.1")

    assert exited(stack, "web.1", 0) == [e.Announce("web.1", 1, "done", "exited 0")]
    assert exited(stack, "worker.1", 0)[-1] == e.Finish(0)


def test_exit_on_failure_ends_the_others_with_its_code() -> None:
    stack = Stack.of([service("web"), service("worker")], exit_on_failure=True)
    start(stack)

    assert asked(exited(stack, "web.1", 7)) == ["worker.1"]
    assert exited(stack, "worker.1", -15)[-1] == e.Finish(7)


def test_exit_on_failure_counts_one_that_is_not_ready_in_time() -> None:
    stack = Stack.of([service("web")], exit_on_failure=True)
    start(stack)
    assert asked(elapsed(stack, "web.1", "ready")) == ["web.1"]
    assert exited(stack, "web.1", 0)[-1] == e.Finish(1)


def test_one_that_is_late_is_named_and_still_welcome() -> None:
    stack = one()
    assert elapsed(stack, "web.1", "ready") == [e.Announce("web.1", 1, "overdue", "starting")]
    ready(stack, "web.1")
    assert stack.processes["web.1"].phase is Phase.READY


def test_exit_0_before_ready_is_a_failure() -> None:
    stack = one()
    exited(stack, "web.1", 0)
    assert stack.processes["web.1"].phase is Phase.FAILED
    assert "background" in stack.processes["web.1"].reason


def test_exit_0_of_a_process_without_a_probe_is_done() -> None:
    stack = one(probe=ProbeSpec("none"))
    assert exited(stack, "web.1", 0)[-1] == e.Finish(0)


@pytest.mark.parametrize(("code", "ours"), [(3, 3), (-9, 137), (-15, 143), (256, 1), (0xC000013A, 1)])
def test_the_exit_code_is_the_one_a_shell_would_give(code: int, ours: int) -> None:
    stack = one(oneshot=True)
    assert exited(stack, "web.1", code)[-1] == e.Finish(ours)


def test_a_restart_is_a_stop_that_is_still_wanted() -> None:
    stack = one()
    ready(stack, "web.1")

    assert asked(decide(stack, e.RestartAsked(("web.1",), "shop/views.py changed"))) == ["web.1"]
    assert spawned(exited(stack, "web.1", 1)) == ["web.1"]
    assert stack.processes["web.1"].failures == 0


def test_a_restart_brings_back_what_failed_but_not_what_was_stopped() -> None:
    stack = Stack.of([service("web"), service("worker"), service("beat")])
    start(stack)
    ready(stack, "beat.1")
    exited(stack, "web.1", 1, "SyntaxError")
    decide(stack, e.StopAsked(("worker.1",)))
    exited(stack, "worker.1", 0)

    assert spawned(decide(stack, e.RestartAsked(("web.1", "worker.1"), "saved"))) == ["web.1"]


def test_a_file_saved_during_shutdown_does_not_resurrect_the_worker() -> None:
    stack = all_ready()
    decide(stack, e.ShutdownAsked())
    assert decide(stack, e.RestartAsked(("worker.1", "beat.1"), "shop/tasks.py changed")) == []
    assert spawned(exited(stack, "beat.1", 0)) == []


def test_a_stop_during_a_restart_wins_and_a_start_after_it_wins_again() -> None:
    stack = Stack.of([service("web"), service("worker")])
    start(stack)
    ready(stack, "web.1")
    decide(stack, e.RestartAsked(("web.1",), "saved"))
    decide(stack, e.StopAsked(("web.1",)))
    decide(stack, e.StartAsked(("web.1",)))
    assert spawned(exited(stack, "web.1", 0)) == ["web.1"]


def test_late_news_about_an_old_run_changes_nothing() -> None:
    stack = one()
    decide(stack, e.RestartAsked(("web.1",), "saved"))
    exited(stack, "web.1", 0)
    before = repr(stack)

    for news in (
        e.Exited("web.1", 1, 9),
        e.BecameReady("web.1", 1, "answers"),
        e.Elapsed("web.1", 1, "grace"),
        e.Spawned("web.1", 1, 5),
    ):
        assert decide(stack, news) == []

    assert repr(stack) == before


def test_news_about_a_process_that_is_not_there_changes_nothing() -> None:
    assert decide(one(), e.Exited("nobody.1", 1, 0)) == []


def test_a_process_that_loses_its_health_is_starting_again_and_keeps_its_pid() -> None:
    stack = one()
    decide(stack, e.Spawned("web.1", 1, 4711))
    ready(stack, "web.1")
    decide(stack, e.BecameUnready("web.1", 1, "no answer"))
    assert (stack.processes["web.1"].phase, stack.processes["web.1"].pid) == (Phase.STARTING, 4711)


def test_a_stopped_process_that_was_backing_off_stays_down() -> None:
    stack = Stack.of([service("web"), service("worker")])
    start(stack)
    exited(stack, "web.1", 1)
    decide(stack, e.StopAsked(("web.1",)))
    assert elapsed(stack, "web.1", "backoff") == []
    assert stack.processes["web.1"].phase is Phase.DOWN


def test_every_phase_can_be_left_and_every_input_is_used() -> None:
    assert {phase for phase, _ in TABLE} == set(Phase)
    assert {meaning for _, meaning in TABLE} == set(Input)
    assert {after for after, _ in TABLE.values()} == set(Phase)


def histories(seed: int, events: int) -> int:
    """Random histories of random stacks until `events` events have been told; returns how many stacks ended by themselves."""
    rng = random.Random(seed)
    told = ended = 0
    while told < events:
        world = World(shop(exit_on_failure=rng.random() < 0.2, max_failures=rng.choice([1, 3, 50])), rng)
        world.tell(e.StartAsked(tuple(world.stack.processes)))
        for _ in range(rng.randint(5, 400)):
            if world.finished is not None:
                ended += 1
                break
            world.step()
        else:
            if rng.random() < 0.3:
                world.tell(e.ShutdownAsked())
                world.tell(e.ShutdownAsked(forced=True))
            world.drain()
        told += world.events
    return ended


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_keep_the_rules(seed: int) -> None:
    assert histories(seed, 15_000) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 104))
def test_a_million_random_events_keep_the_rules(seed: int) -> None:
    histories(seed, 300_000)


def test_a_crash_while_leaving_is_no_crash() -> None:
    stack = all_ready()
    decide(stack, e.ShutdownAsked())

    actions = exited(stack, "redis.1", -15)

    assert not [a for a in actions if isinstance(a, e.SetTimer)]
    assert stack.processes["redis.1"].phase is Phase.DOWN
    assert stack.first_failure is None


def test_a_server_that_others_need_must_come_back_after_exit_0() -> None:
    stack = all_ready()
    exited(stack, "redis.1", 0)
    assert stack.processes["redis.1"].phase is Phase.BACKOFF
    decide(stack, e.RestartAsked(("web.1",), "saved"))
    assert spawned(exited(stack, "web.1", 0)) == [], "its gate is closed"


def test_a_script_that_others_need_has_done_its_work_with_exit_0() -> None:
    stack = Stack.of([service("build", probe=ProbeSpec("none")), service("web", "build")])
    start(stack)
    assert spawned(exited(stack, "build.1", 0)) == ["web.1"]


def test_an_auxiliary_that_nobody_waits_for_does_not_keep_us() -> None:
    stack = Stack.of([service("redis", auxiliary=True), service("web", "redis")])
    start(stack)
    ready(stack, "redis.1")
    ready(stack, "web.1")
    decide(stack, e.BecameUnready("redis.1", 1, "silent"))
    assert asked(exited(stack, "web.1", 0)) == ["redis.1"]


def test_one_that_was_ready_once_is_not_overdue_later() -> None:
    stack = Stack.of([service("web")], exit_on_failure=True)
    start(stack)
    ready(stack, "web.1")
    decide(stack, e.BecameUnready("web.1", 1, "silent"))
    assert elapsed(stack, "web.1", "ready") == []


def test_a_waiting_process_says_what_has_become_of_the_one_it_waits_for() -> None:
    stack = Stack.of([service("release", oneshot=True), service("web", "release"), service("other")])
    start(stack)
    assert stack.processes["web.1"].reason == "waits for release.1: running"
    exited(stack, "release.1", 2)
    assert stack.processes["web.1"].reason == "waits for release.1: failed, exited 2"


def reload(stack: Stack, *names: str) -> list[e.Action]:
    return decide(stack, e.ReloadAsked(names, "shop/tasks.py"))


def test_a_save_brings_new_code_up_beside_the_old_which_takes_no_more_work() -> None:
    stack = all_ready()
    actions = [action for action in reload(stack, "worker.1") if not isinstance(action, e.SetTimer)]
    assert actions == [e.Pause("worker.1", 1), e.Spawn("worker.1", 2)]
    assert stack.processes["worker.1"].phase is Phase.RELOADING

    actions = ready(stack, "worker.1")

    assert actions[0] == e.Retire("worker.1", 1)
    assert e.Announce("worker.1", 2, "reloaded", "shop/tasks.py") in actions
    assert stack.processes["worker.1"].phase is Phase.READY


def test_old_code_takes_work_until_the_new_one_is_ready_where_the_two_may_overlap() -> None:
    stack = all_ready()
    assert not [a for a in reload(stack, "web.1") if isinstance(a, e.Pause)]
    assert ready(stack, "web.1")[0] == e.Retire("web.1", 1)


def test_new_code_that_dies_leaves_the_old_one_running() -> None:
    stack = all_ready()
    decide(stack, e.Spawned("worker.1", 1, 4711))
    reload(stack, "worker.1")

    actions = exited(stack, "worker.1", 1, "ImportError")

    assert actions == [e.Resume("worker.1", 1), e.Announce("worker.1", 2, "kept", "ImportError")]
    p = stack.processes["worker.1"]
    assert (p.phase, p.run, p.pid, p.failures) == (Phase.READY, 1, 4711, 0)
    # Whatever its probe says from then on, until newer code is there.
    assert p.behind == "runs the code from before shop/tasks.py: ImportError"
    reload(stack, "worker.1")
    assert p.behind
    ready(stack, "worker.1")
    assert not p.behind


def test_new_code_that_cannot_be_had_beside_the_old_comes_after_it_from_then_on() -> None:
    stack = all_ready()
    decide(stack, e.Spawned("worker.1", 1, 4711))
    reload(stack, "worker.1")

    actions = decide(stack, e.Clashed("worker.1", 2, (9000,), "port 9000"))

    assert actions[:3] == [
        e.Announce("worker.1", 2, "remark", "port 9000"),
        e.Kill("worker.1", 2),
        e.AskToLeave("worker.1", 1),
    ]
    p = stack.processes["worker.1"]
    assert (p.phase, p.run, p.pid, p.previous) == (Phase.STOPPING, 1, 4711, None)
    decide(stack, e.Exited("worker.1", 2, -9))
    assert spawned(exited(stack, "worker.1", 0)) == ["worker.1"]
    ready(stack, "worker.1")
    assert asked(reload(stack, "worker.1")) == ["worker.1"]
    # One that is no newest run beside an old one says nothing by it.
    assert decide(stack, e.Clashed("worker.1", 3, (9001,), "port 9001")) == []
    assert p.clashed == (9000,)


def test_new_code_that_hangs_leaves_the_old_one_running() -> None:
    stack = all_ready()
    reload(stack, "worker.1")

    actions = elapsed(stack, "worker.1", "ready")

    assert actions[0] == e.Retire("worker.1", 2)
    assert e.Resume("worker.1", 1) in actions
    assert stack.processes["worker.1"].phase is Phase.READY


def test_old_code_that_waits_for_long_takes_work_again_and_the_new_code_may_still_come() -> None:
    stack = all_ready()
    assert [a.after for a in reload(stack, "worker.1") if isinstance(a, e.SetTimer) and a.purpose == "patience"] == [10]

    assert decide(stack, e.Elapsed("worker.1", 1, "patience"))[0] == e.Resume("worker.1", 1)

    assert stack.processes["worker.1"].phase is Phase.RELOADING
    assert ready(stack, "worker.1")[0] == e.Retire("worker.1", 1)
    assert decide(stack, e.Elapsed("worker.1", 1, "patience")) == []


def test_a_save_during_a_reload_replaces_the_code_that_is_not_ready_yet() -> None:
    stack = all_ready()
    reload(stack, "worker.1")
    assert reload(stack, "worker.1") == [], "the new run waits for its spare, and has read nothing yet"
    decide(stack, e.Spawned("worker.1", 2, 4711))

    actions = reload(stack, "worker.1")

    assert [a for a in actions if not isinstance(a, e.SetTimer)] == [e.Retire("worker.1", 2), e.Spawn("worker.1", 3)]
    assert ready(stack, "worker.1")[0] == e.Retire("worker.1", 1)


def test_when_the_old_code_dies_during_a_reload_the_new_one_starts_alone() -> None:
    stack = all_ready()
    reload(stack, "worker.1")
    decide(stack, e.Exited("worker.1", 1, -9))
    assert stack.processes["worker.1"].phase is Phase.STARTING
    exited(stack, "worker.1", 1)
    assert stack.processes["worker.1"].phase is Phase.BACKOFF


def test_a_process_is_gone_when_the_last_of_its_runs_is() -> None:
    stack = all_ready()
    reload(stack, "worker.1")
    ready(stack, "worker.1")
    decide(stack, e.StopAsked(("worker.1",)))

    exited(stack, "worker.1", 0)
    assert stack.processes["worker.1"].phase is Phase.STOPPING
    decide(stack, e.Exited("worker.1", 1, 0))
    assert stack.processes["worker.1"].phase is Phase.DOWN


def test_redis_stays_until_old_code_has_finished() -> None:
    stack = Stack.of([service("redis", auxiliary=True), service("worker", "redis", reload="quiesce")])
    start(stack)
    ready(stack, "redis.1")
    ready(stack, "worker.1")
    reload(stack, "worker.1")
    ready(stack, "worker.1")
    exited(stack, "worker.1", 0, "done for")
    assert not asked(decide(stack, e.ShutdownAsked()))
    assert asked(decide(stack, e.Exited("worker.1", 1, 0))) == ["redis.1"]


def test_old_code_that_takes_longer_than_it_may_is_asked_and_then_killed() -> None:
    stack = all_ready()
    reload(stack, "web.1")
    assert e.SetTimer("web.1", 1, "drain", 5.0) in ready(stack, "web.1")
    assert asked(decide(stack, e.Elapsed("web.1", 1, "drain"))) == ["web.1"]
    assert decide(stack, e.Elapsed("web.1", 1, "grace")) == [e.Kill("web.1", 1)]


def test_what_reloads_itself_is_left_alone_unless_it_has_failed() -> None:
    stack = Stack.of([service("web", reload="own"), service("other")])
    start(stack)
    ready(stack, "web.1")
    assert reload(stack, "web.1") == []
    exited(stack, "web.1", 1, "SyntaxError")
    assert spawned(reload(stack, "web.1")) == ["web.1"]


def test_what_somebody_stopped_keeps_the_stack_for_they_may_ask_for_more() -> None:
    stack = one()
    ready(stack, "web.1")
    decide(stack, e.StopAsked(("web.1",)))
    assert e.Finish(0) not in exited(stack, "web.1", 0)
    assert spawned(decide(stack, e.StartAsked(("web.1",)))) == ["web.1"]


def test_one_that_is_started_while_what_it_needs_is_stopped_waits_for_it() -> None:
    stack = Stack.of([service("redis", auxiliary=True), service("web", "redis")])
    start(stack)
    ready(stack, "redis.1")
    ready(stack, "web.1")
    decide(stack, e.StopAsked(("web.1", "redis.1")))
    exited(stack, "web.1", 0)
    exited(stack, "redis.1", 0)
    assert decide(stack, e.StartAsked(("web.1",))) == []
    assert stack.processes["web.1"].reason == "waits for redis.1: exited 0"
    assert spawned(decide(stack, e.StartAsked(("redis.1",)))) == ["redis.1"]


def test_what_a_person_has_stopped_holds_up_no_reload_of_what_needs_it() -> None:
    stack = Stack.of([service("worker"), service("beat", "worker", reload="replace")])
    start(stack)
    ready(stack, "worker.1")
    ready(stack, "beat.1")
    decide(stack, e.StopAsked(("worker.1",)))
    exited(stack, "worker.1", 0)
    decide(stack, e.ReloadAsked(("beat.1",), "shop/tasks.py"))
    assert spawned(exited(stack, "beat.1", 0)) == ["beat.1"]


def test_instances_come_and_go_and_keep_their_numbers() -> None:
    stack = all_ready()
    assert spawned(decide(stack, e.ScaleAsked("worker", 3))) == ["worker.3"]
    ready(stack, "worker.3")
    assert asked(decide(stack, e.ScaleAsked("worker", 1))) == ["worker.2", "worker.3"]
    exited(stack, "worker.3", 0)
    assert spawned(decide(stack, e.StartAsked(("worker.3",)))) == []
    assert spawned(decide(stack, e.ScaleAsked("worker", 3))) == ["worker.3"]
    assert stack.processes["worker.3"].run == 2, "late news about the first run must be harmless"
    assert stack.processes["worker.2"].phase is Phase.STOPPING
    assert spawned(exited(stack, "worker.2", 0)) == ["worker.2"]


def test_nobody_waits_for_one_that_is_scaled_away() -> None:
    stack = Stack.of([service("worker", instances=2), service("beat", "worker")])
    start(stack)
    ready(stack, "worker.1")
    assert spawned(decide(stack, e.ScaleAsked("worker", 1))) == ["beat.1"]
