"""What happens next: `decide(stack, event)` changes the stack and says what to do.

Rule 1: it never waits, reads a clock or touches the system.
Rule 2: TABLE says which phase follows which; a pair that is not in it changes nothing.
Rule 3: an event about a run that is over changes nothing. Besides the current run there may be the one that a reload holds back, and
those that finish what they had when new code took over.
Rule 4: once the stack is leaving nothing starts, whatever happens.
Rule 5: a requested stop is never a crash, whatever the exit code.
"""

from __future__ import annotations

from collections.abc import Iterable

from devstack.core import events as e
from devstack.core.model import Phase, Process, Stack
from devstack.core.names import exit_code, exit_sentence, seconds
from devstack.core.table import TABLE, Input, backoff


def decide(stack: Stack, event: e.Event) -> list[e.Action]:
    """Take one event in: change `stack`, return what must be done, in order."""
    match event:
        case e.StartAsked(names):
            for name in names:
                stack.processes[name].called = True
            actions = _want(stack, names, True)
        case e.StopAsked(names):
            actions = _want(stack, names, False)
        case e.RestartAsked(names, why):
            actions = _restart(stack, names, why)
        case e.ScaleAsked(service, count):
            actions = _scale(stack, service, count)
        case e.ReloadAsked(names, saved):
            actions = _reload(stack, names, saved)
        case e.ShutdownAsked(forced):
            actions = _shut_down(stack, forced)
        case _:
            process = stack.processes.get(event.name)
            if process is None:
                return []
            if event.run == process.run:
                actions = _news(stack, process, event)
            elif process.previous and event.run == process.previous.run:
                actions = _news_of_held(stack, process, event)
            elif event.run in process.retiring:
                actions = _news_of_retiring(stack, process, event)
            else:
                return []
    return actions + _finish(stack)


# ---- requests -------------------------------------------------------------------------------------------------------------


def _want(stack: Stack, names: Iterable[str], wanted: bool) -> list[e.Action]:
    if stack.leaving:
        return []
    asked = [p for p in map(stack.processes.__getitem__, names) if not (p.surplus and wanted)]
    for p in asked:
        p.wanted = wanted
    return _take_together(stack, asked, Input.START if wanted else Input.STOP)


def _restart(stack: Stack, names: Iterable[str], why: str) -> list[e.Action]:
    if stack.leaving:
        return []
    # Stopped on purpose stays stopped; one that waits or is already stopping to come back will have the new code anyway.
    asked = [p for p in map(stack.processes.__getitem__, names) if p.wanted and (p.phase, Input.RESTART) in TABLE]
    for p in asked:
        p.reason = why
    return _take_together(stack, asked, Input.RESTART)


def _scale(stack: Stack, service: str, count: int) -> list[e.Action]:
    if stack.leaving:
        return []
    instances = stack.scale(service, count)
    come = [p for p in instances[:count] if p.surplus]
    go = [p for p in instances[count:] if not p.surplus]
    for p in [*come, *go]:
        p.surplus = not p.surplus
    actions = _want(stack, [p.name for p in come], True) + _want(stack, [p.name for p in go], False)
    # Who waited for one that goes has nobody to wait for.
    waiting = [q for name in stack.needed_by(service) for q in stack.of_service(name) if q.phase is Phase.WAITING]
    return actions + [action for q in waiting if q.phase is Phase.WAITING for action in _try_gates(stack, q)]


def _reload(stack: Stack, names: Iterable[str], saved: str) -> list[e.Action]:
    if stack.leaving:
        return []
    asked = [stack.processes[name] for name in names]
    for p in asked:
        p.saved = saved
    beside = [p for p in asked if p.wanted and p.beside and (p.phase, Input.RELOAD) in TABLE]
    rest = [p.name for p in asked if p not in beside and (p.service.reload != "own" or not p.phase.alive)]
    actions = _restart(stack, rest, f"{saved} changed")
    for p in beside:
        if closed_gates(stack, p):
            actions += _restart(stack, [p.name], f"{saved} changed")
        elif p.phase is not Phase.RELOADING or p.pid is not None:
            actions += _take(stack, p, Input.RELOAD)
        # Else the new run waits for its spare, and will read what has just been saved.
    return actions


def _shut_down(stack: Stack, forced: bool) -> list[e.Action]:
    stack.leaving = True
    actions: list[e.Action] = []
    for p in stack.processes.values():
        p.wanted = False
        if not p.phase.alive:
            # What was retiring has been asked to leave already; from now on somebody waits for it.
            grace = [e.SetTimer(p.name, run, "grace", p.service.grace) for run in p.retiring]
            actions += [e.Kill(p.name, run) for run in p.retiring] if forced else grace
        if p.phase in (Phase.WAITING, Phase.BACKOFF):
            actions += _take(stack, p, Input.STOP)
        elif forced:
            actions += _take(stack, p, Input.FORCE, "killed, as asked")
    return actions + _let_go(stack, stack.processes.values())


def _let_go(stack: Stack, candidates: Iterable[Process]) -> list[e.Action]:
    """While leaving, stop those of `candidates` that nobody who is still there needs: the reverse of the order of the start."""
    actions: list[e.Action] = []
    for p in candidates:
        if p.phase in (Phase.STARTING, Phase.READY, Phase.RELOADING) and not any(
            q.lives for name in stack.needed_by(p.service.name) for q in stack.of_service(name)
        ):
            p.reason = "stopping"
            actions += _take(stack, p, Input.STOP)
    return actions


# ---- news -----------------------------------------------------------------------------------------------------------------


def _news(stack: Stack, p: Process, event: e.Event) -> list[e.Action]:
    match event:
        case e.Spawned(pid=pid):
            if p.phase.alive:
                p.pid = pid
            return []
        case e.BecameReady(why=why):
            return _take(stack, p, Input.READY, why)
        case e.BecameUnready(why=why):
            return _take(stack, p, Input.UNREADY, why)
        case e.Remarked(why=why):
            return _take(stack, p, Input.REMARK, why)
        case e.Clashed(places=places, why=why):
            if p.phase is Phase.RELOADING:
                p.clashed = places
            return _take(stack, p, Input.CLASHED, why)
        case e.Elapsed(purpose=purpose):
            return _elapsed(stack, p, purpose)
        case e.SpawnFailed(code=code, why=why, hopeless=hopeless) | e.Exited(code=code, why=why, hopeless=hopeless):
            return _ended(stack, p, code, why or exit_sentence(code), hopeless)
    raise AssertionError(f"not an event about a process: {event!r}")


def _elapsed(stack: Stack, p: Process, purpose: e.Purpose) -> list[e.Action]:
    if purpose == "ready":
        if p.proven or p.phase not in (Phase.STARTING, Phase.RELOADING):
            return []
        if p.phase is Phase.RELOADING:
            return _take(stack, p, Input.OVERDUE, f"not ready within {seconds(p.service.ready_within or 0)}")
        actions = _take(stack, p, Input.OVERDUE)
        return actions + (_fail_stack(stack, 1) if stack.exit_on_failure else [])
    meaning = {"backoff": Input.WAITED, "grace": Input.OVERSTAYED, "settled": Input.SETTLED}.get(purpose)
    return _take(stack, p, meaning) if meaning else []


def _ended(stack: Stack, p: Process, code: int, why: str, hopeless: bool) -> list[e.Action]:
    p.pid = None
    if not p.phase.alive:
        return []
    if p.phase is Phase.RELOADING:
        return _take(stack, p, Input.FELL, why)
    if (p.phase is Phase.STOPPING or stack.leaving) and p.retiring and not p.wanted:
        # The process is gone when the last of its runs is.
        p.phase, p.run = Phase.STOPPING, p.retiring.pop()
        return []
    if p.phase is Phase.STOPPING or stack.leaving:
        actions = _take(stack, p, Input.GONE_WANTED if p.wanted else Input.GONE, why)
    else:
        p.code = code
        if code == 0 and _may_end(stack, p):
            actions = _take(stack, p, Input.FINISHED, why)
        elif code == 0 and not p.proven:
            why = "exited 0 before it was ready; if it puts itself into the background, keep it in the foreground"
            actions = _failed(stack, p, why, hopeless=True)
        else:
            actions = _failed(stack, p, why, hopeless or p.service.oneshot)
    if stack.leaving:
        actions += _let_go(stack, [q for name in p.service.needs for q in stack.of_service(name)])
    return actions


def _news_of_held(stack: Stack, p: Process, event: e.Event) -> list[e.Action]:
    """It takes no more part, unless it comes back."""
    match event:
        case e.Exited():
            p.previous = None
            return _take(stack, p, Input.ALONE)
        case e.Elapsed(purpose="patience"):
            return _take(stack, p, Input.SLOW)
    return []


def _news_of_retiring(stack: Stack, p: Process, event: e.Event) -> list[e.Action]:
    match event:
        case e.Exited(run=run) | e.SpawnFailed(run=run):
            p.retiring.remove(run)
            gone: list[e.Action] = [e.Announce(p.name, run, "retired")]
            if stack.leaving:
                gone += _let_go(stack, [q for name in p.service.needs for q in stack.of_service(name)])
            return gone
        case e.Elapsed(run=run, purpose="drain"):
            return [e.AskToLeave(p.name, run), e.SetTimer(p.name, run, "grace", p.service.grace)]
        case e.Elapsed(run=run, purpose="grace"):
            return [e.Kill(p.name, run)]
    return []


def _may_end(stack: Stack, p: Process) -> bool:
    """Whether exit 0 means that it has done its work. A server that others need has not: it must come back."""
    if p.service.oneshot or p.service.probe.how == "none":
        return True
    return p.proven and not p.service.auxiliary and not stack.needed_by(p.service.name)


def _failed(stack: Stack, p: Process, why: str, hopeless: bool) -> list[e.Action]:
    p.failures += 1
    if hopeless or stack.exit_on_failure or p.failures >= stack.max_failures:
        times = f", {p.failures} times in a row" if p.failures > 1 else ""
        actions = _take(stack, p, Input.HOPELESS, why + times)
        return actions + _fail_stack(stack, exit_code(p.code or 0))
    pause = seconds(backoff(p.failures))
    return _take(
        stack, p, Input.CRASHED, f"{why}; starts again in {pause} (failure {p.failures} of {stack.max_failures})"
    )


def _fail_stack(stack: Stack, code: int) -> list[e.Action]:
    if stack.first_failure is None:
        stack.first_failure = code
    return _shut_down(stack, forced=False) if stack.exit_on_failure else []


# ---- the table and the gates ----------------------------------------------------------------------------------------------


def _follow(p: Process, meaning: Input, reason: str | None = None) -> list[e.Action]:
    if (p.phase, meaning) not in TABLE:
        return []
    p.phase, effects = TABLE[p.phase, meaning]
    if reason is not None:
        p.reason = reason
    return [action for effect in effects for action in effect(p)]


def _take_together(stack: Stack, processes: list[Process], meaning: Input) -> list[e.Action]:
    """`_take` for several, which close their gates to each other before one of them looks at its own."""
    actions = [action for p in processes for action in _follow(p, meaning)]
    for p in processes:
        if p.phase is Phase.WAITING:
            actions += _try_gates(stack, p)
    return actions


def _take(stack: Stack, p: Process, meaning: Input, reason: str | None = None) -> list[e.Action]:
    """Follow TABLE from where `p` is, then let those move on that waited for it."""
    before = p.phase
    actions = _follow(p, meaning, reason)
    if p.phase is before:
        return actions
    if p.phase is Phase.WAITING:
        actions += _try_gates(stack, p)
    # Those that wait for it go on, or at least say what they wait for now.
    for name in stack.needed_by(p.service.name):
        for dependent in stack.of_service(name):
            if dependent.phase is Phase.WAITING:
                actions += _try_gates(stack, dependent)
    return actions


def _try_gates(stack: Stack, p: Process) -> list[e.Action]:
    if stack.leaving:
        return _take(stack, p, Input.STOP)
    blockers = closed_gates(stack, p)
    if not blockers:
        p.called = False
        return _take(stack, p, Input.FREE)
    p.reason = waiting_for(blockers)
    return []


def closed_gates(stack: Stack, p: Process) -> list[Process]:
    """The processes that `p` waits for. What a person has stopped holds up only those that are to start anew: the rest runs on."""
    needed = [
        q for name in p.service.needs for q in stack.of_service(name) if not q.phase.opens_gates and not q.surplus
    ]
    return needed if p.called else [q for q in needed if q.phase is not Phase.DOWN or q.wanted]


def waiting_for(blockers: list[Process]) -> str:
    """One sentence for a process whose gates are closed: `waits for redis.1: connection refused on 127.0.0.1:6379`."""
    first = blockers[0]
    more = f" and {len(blockers) - 1} more" if len(blockers) > 1 else ""
    state = (
        f"{first.phase}, {first.reason}"
        if first.phase in (Phase.FAILED, Phase.BACKOFF)
        else first.reason or str(first.phase)
    )
    return f"waits for {first.name}{more}: {state}"


def _finish(stack: Stack) -> list[e.Action]:
    """Leave when nothing is left that can still do something by itself: the rest is over, blocked by it, or auxiliary."""
    if stack.finished or any(_busy(stack, p) for p in stack.processes.values()):
        return []
    if not stack.leaving:
        actions = _shut_down(stack, forced=False)
        if any(p.lives for p in stack.processes.values()):
            return actions
    stack.finished = True
    return [e.Finish(stack.first_failure or 0)]


def _busy(stack: Stack, p: Process) -> bool:
    if not stack.leaving and p.phase is Phase.DOWN and not (p.surplus and p.instance > 1):
        # Stopped because somebody asked for it, who may ask for more.
        return not p.service.auxiliary or any(q.phase is Phase.WAITING for q in stack.processes.values())
    if stack.leaving or not p.service.auxiliary:
        return p.lives or p.phase is Phase.BACKOFF
    # One that keeps the others company counts while it may yet let somebody in.
    coming = p.phase in (Phase.STARTING, Phase.STOPPING, Phase.BACKOFF)
    return coming and any(q.phase is Phase.WAITING for q in stack.processes.values())
