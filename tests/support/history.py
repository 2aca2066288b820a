"""A pretend world for the machine: it performs actions, lets things happen in any order, and checks the rules after every event."""

from __future__ import annotations

import random
from collections.abc import Callable

from devstack.core import events as e
from devstack.core.machine import decide
from devstack.core.model import Phase, ProbeSpec, Service, Stack


def service(name: str, *needs: str, instances: int = 1, **more: object) -> Service:
    more.setdefault("probe", ProbeSpec("tcp"))
    return Service(name, name, needs=needs, instances=instances, **more)  # type: ignore[arg-type]


def shop(**more: object) -> Stack:
    """redis → migrate → web, worker ×2 → beat, flower: the stack everything here is about."""
    return Stack.of(
        [
            service("redis", auxiliary=True),
            service("migrate", "redis", oneshot=True, ready_within=None),
            service("web", "redis", "migrate", reload="overlap", drain=5.0),
            service("worker", "redis", "migrate", instances=2, reload="quiesce"),
            service("beat", "redis", "migrate", "worker"),
            service("flower", "redis", "migrate", "worker", probe=ProbeSpec("none")),
        ],
        **more,  # type: ignore[arg-type]
    )


class World:
    """`live` are the runs, (name, run), that live. Events wait in `pending` and are delivered in any order that could really happen."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self.stack, self.rng = stack, rng
        self.live: set[tuple[str, int]] = set()
        self.asked: set[tuple[str, int]] = set()
        self.paused: set[tuple[str, int]] = set()
        self.pending: list[e.Event] = []
        self.old_news: list[e.Event] = []
        self.finished: int | None = None
        self.forced = False
        self.events = 0

    def tell(self, event: e.Event) -> list[e.Action]:
        self.events += 1
        if isinstance(event, e.ShutdownAsked):
            self.forced |= event.forced
        actions = decide(self.stack, event)
        for action in actions:
            self.perform(action)
        self.check()
        return actions

    def perform(self, action: e.Action) -> None:
        assert self.finished is None, f"{action} after Finish"
        match action:
            case e.Spawn(name, run):
                p = self.stack.processes[name]
                assert not self.stack.leaving, f"{name} spawned while leaving"
                assert p.wanted, f"{name} spawned unwanted"
                beside = {r for n, r in self.live if n == name} - set(p.retiring)
                held = {p.previous.run} if p.previous else set()
                assert beside <= held, f"{name} spawned while run {beside} lives"
                for need in p.service.needs:
                    for q in self.stack.of_service(need):
                        stopped = q.phase is Phase.DOWN and not q.wanted and p.starts > 1
                        assert q.phase.opens_gates or q.surplus or stopped, f"{name} spawned before {q.name}"
                self.live.add((name, run))
                self.pending.append(e.Spawned(name, run, run * 1000))
                if self.rng.random() < 0.1:
                    self.live.remove((name, run))
                    self.pending[-1] = e.SpawnFailed(name, run, 127, "no such program", self.rng.random() < 0.5)
            case e.AskToLeave(name, run):
                assert (name, run) not in self.asked or run in self.stack.processes[name].retiring, "asked twice"
                self.asked.add((name, run))
                if self.stack.leaving and not self.forced:
                    for dependent in self.stack.needed_by(self.stack.processes[name].service.name):
                        for q in self.stack.of_service(dependent):
                            assert not q.lives, f"{name} asked to leave before {q.name} is gone"
            case e.Retire(name, run):
                assert (name, run) not in self.asked, f"{name} run {run} asked twice"
                self.asked.add((name, run))
            case e.Pause(name, run):
                assert (name, run) not in self.paused
                self.paused.add((name, run))
            case e.Resume(name, run):
                assert (name, run) not in self.asked, f"{name} run {run} resumed after it was asked to leave"
                self.paused.discard((name, run))
            case e.Kill(name, run):
                if (name, run) in self.live:
                    self.live.remove((name, run))
                    self.pending.append(e.Exited(name, run, -9))
            case e.SetTimer(name, run, purpose, after):
                assert after > 0
                self.pending.append(e.Elapsed(name, run, purpose))
            case e.Finish(code):
                self.finished = code

    def check(self) -> None:
        for p in self.stack.processes.values():
            assert (p.phase is Phase.RELOADING) == (p.previous is not None)
            known = {p.run} if p.phase.alive else set()
            known |= {p.previous.run} if p.previous else set()
            assert known.isdisjoint(p.retiring)
            assert len(set(p.retiring)) == len(p.retiring)
            runs = {run for name, run in self.live if name == p.name}
            assert runs <= known | set(p.retiring), f"{p.name} forgot {runs - known} in phase {p.phase}"
            assert not (p.surplus and p.wanted), f"{p.name} is wanted and one too many"
            if p.phase is Phase.READY:
                assert (p.name, p.run) not in self.paused, f"{p.name} is ready and takes no work"
            assert not (self.stack.leaving and p.phase is Phase.BACKOFF), f"{p.name} backs off while leaving"
            if p.phase is Phase.WAITING:
                assert p.reason, f"{p.name} waits without a reason"
            assert (
                p.wanted
                or p.phase not in (Phase.WAITING, Phase.STARTING, Phase.READY, Phase.BACKOFF)
                or self.stack.leaving
            )
        if self.finished is not None:
            assert not self.live, f"finished while {self.live} live"

    def step(self) -> None:
        """One random thing happens."""
        r = self.rng.random()
        names = list(self.stack.processes)
        some = tuple(self.rng.sample(names, self.rng.randint(1, 3)))
        happenings: list[tuple[float, Callable[[], object]]] = [
            (0.45, self.deliver),
            (0.10, lambda: self.news(e.BecameReady, "answers")),
            (0.05, lambda: self.news(e.BecameUnready, "silent")),
            (0.03, lambda: self.news(e.Remarked, "busy")),
            (0.02, lambda: self.news(lambda name, run, why: e.Clashed(name, run, (9000,), why), "port 9000")),
            (0.09, self.die),
            (0.04, lambda: self.tell(e.RestartAsked(some, "as asked"))),
            (0.08, lambda: self.tell(e.ReloadAsked(some, "shop/tasks.py"))),
            (0.05, lambda: self.tell(e.StopAsked(some))),
            (0.05, lambda: self.tell(e.StartAsked(some))),
            (0.02, lambda: self.tell(e.ScaleAsked(self.rng.choice(["web", "worker"]), self.rng.randint(0, 4)))),
            (0.02, lambda: self.tell(self.rng.choice(self.old_news)) if self.old_news else None),
        ]
        for chance, happen in happenings:
            r -= chance
            if r < 0:
                happen()
                return

    def deliver(self) -> None:
        if self.pending:
            event = self.pending.pop(self.rng.randrange(len(self.pending)))
            self.old_news = [*self.old_news[-20:], event]
            self.tell(event)

    def news(self, kind: Callable[..., e.Event], why: str) -> None:
        if self.live:
            name, run = self.rng.choice(sorted(self.live))
            self.tell(kind(name, run, why))

    def die(self) -> None:
        if self.live:
            self.end(*self.rng.choice(sorted(self.live)), self.rng.choice([0, 0, 1, 3, -9]))

    def end(self, name: str, run: int, code: int) -> None:
        self.live.remove((name, run))
        self.pending.append(e.Exited(name, run, code))

    def drain(self) -> None:
        """Ctrl-C, and everybody leaves in some order: it must end."""
        self.tell(e.ShutdownAsked())
        for _ in range(10 * len(self.stack.processes) + len(self.pending) + len(self.live)):
            if self.finished is not None:
                return
            for name, run in sorted(self.live & self.asked):
                self.end(name, run, 0)
            while self.pending and self.finished is None:
                self.deliver()
        assert self.finished is not None, (
            f"does not finish: {[(p.name, p.phase) for p in self.stack.processes.values()]}"
        )
