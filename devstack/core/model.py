"""The nouns: Service (a line of the Procfile), Process (one running instance of it), Stack (all of them).

Rule 1: `wanted` is what somebody asked for, `phase` is what is. A restart is a stop that is still wanted.
Rule 2: a Service never changes; a Process is changed by `machine.decide` alone.
Rule 3: every phase comes with a `reason`, one sentence a person can use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from devstack.core.record import Record, State, fresh


class Phase(StrEnum):
    DOWN = "down"
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"
    DONE = "done"

    @property
    def opens_gates(self) -> bool:
        return self in (Phase.READY, Phase.RELOADING, Phase.DONE)

    @property
    def alive(self) -> bool:
        """Whether an operating-system process (or an outside server we watch) belongs to this phase."""
        return self in (Phase.STARTING, Phase.READY, Phase.RELOADING, Phase.STOPPING)

    @property
    def over(self) -> bool:
        """Whether nothing more happens from here unless somebody asks."""
        return self in (Phase.DOWN, Phase.FAILED, Phase.DONE)


class ProbeSpec(Record):
    """Which question proves readiness: the module `devstack.probes.<how>` and the options of its `ask`.

    `how` is "none" for a process that counts as ready as soon as it runs. `every` is the pause in seconds between two questions once
    ready; None asks no more (the process living is then all that is watched).
    """

    how: str = "none"
    options: Mapping[str, object] = MappingProxyType({})
    every: float | None = None


class Launch(Record):
    """Everything needed to start one process; made by `config`, performed by `runtime`.

    `argv` is run directly, or is one string for `/bin/sh -c` when `shell`. An empty argv is an outside server: nothing is started, it is
    only probed. `env` is the whole environment. `channel` says that the program is started through `inside/boot` and gets a private
    channel.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    shell: bool = False
    shell_reason: str = ""
    """What in it only a shell can do, as `config.words` calls it."""
    prelude: bool = False
    """Other programs run first (`migrate && …`) and would run once more with each start; always so with `shell`, as far as we know."""
    stdin: bytes | None = None
    """Given to it, and then closed; None is /dev/null."""
    open_stdin: bool = False
    """Its standard input stays open and silent: esbuild and tailwindcss stop watching when it ends."""
    tty: bool = False
    """It gets a terminal of its own, in place of pipes."""
    channel: bool = False
    port: int | None = None
    probe: ProbeSpec | None = None
    """The question for this instance where it differs from the service's: each instance has a port of its own."""
    url: str = ""
    """Where a person finds it."""


class Service(Record, aside=("launch",)):
    """One line of the Procfile (or a server that devstack adds), with everything known about it. Times are seconds."""

    name: str
    command: str = ""
    kind: str = "other"
    role: str = "other"
    """redis, oneshot, web, worker, beat, flower, other: what the gates are made from."""
    instances: int = 1
    needs: tuple[str, ...] = ()
    """Names of the services whose every instance must open its gate first."""
    probe: ProbeSpec = ProbeSpec()
    ready_within: float | None = 60.0
    grace: float = 10.0
    stop_signal: str = "TERM"
    signal_group: bool = True
    """False sends the polite signal to the main process alone (a Celery worker's pool must not see it)."""
    oneshot: bool = False
    auxiliary: bool = False
    """Ours to keep the others company (an embedded Redis): the stack is over when all the others are."""
    terse: bool = False
    """An auxiliary one whose output is shown: it says nothing but what a person should know."""
    watch: tuple[str, ...] = ()
    """Directories whose Python files restart this service when they change."""
    watch_files: tuple[tuple[str, str], ...] = ()
    """Other files that do: a directory, and a pattern below it such as `**/*.html`."""
    reload: str = "replace"
    """What a save does. quiesce: the old run takes no more tasks while the new one comes up beside it; overlap: it takes them until the new
    one is ready; replace: stop, then start; own: nothing, the program sees to it itself."""
    drain: float | None = None
    """How long the old run may go on with what it has once the new one is ready; None: as long as that takes."""
    standby: bool = False
    """Whether a spare is kept, so that new code comes up sooner."""
    where: str = ""
    launch: Callable[[int], Launch] = lambda n: Launch((), {}, ".")
    """The launch of instance n (from 1)."""


class Held(Record):
    """The run whose code still works, while new code comes up beside it."""

    run: int
    pid: int | None


class Process(State):
    """One instance of a service. Each start is a `run` with a number of its own, so that late news about an old one is harmless."""

    name: str
    service: Service
    instance: int = 1
    wanted: bool = False
    called: bool = True
    """To be started anew: at first, and when a person says so. Until it is."""
    surplus: bool = False
    """Scaled away: it goes, and nobody waits for it. It comes back, with its numbers, when it is wanted again."""
    phase: Phase = Phase.DOWN
    run: int = 0
    """The newest run, the one that `phase` is about."""
    starts: int = 0
    previous: Held | None = None
    """Exactly while RELOADING: the run that comes back when `run` fails."""
    retiring: list[int] = fresh(factory=list)
    """Runs with old code that finish what they have. They may live on in any phase."""
    clashed: tuple[int | str, ...] = ()
    """Places (ports, paths of sockets) that new code could not have beside the old: it is replaced from then on."""
    saved: str = ""
    """What was saved before the newest run: `shop/tasks.py and 3 more`."""
    behind: str = ""
    """Why it runs older code than what was saved; empty when it does not."""
    pid: int | None = None
    proven: bool = False
    """Whether it has been ready in this run."""
    failures: int = 0
    """Crashes in a row, forgotten once it has settled."""
    code: int | None = None
    """Exit code of the last run that ended by itself; negative for a signal."""
    reason: str = ""

    @property
    def lives(self) -> bool:
        """Whether any run of it is still there."""
        return self.phase.alive or bool(self.retiring)

    @property
    def beside(self) -> bool:
        """Whether new code comes up beside the old."""
        return self.service.reload in ("quiesce", "overlap") and not self.clashed


class Stack(State):
    """All services and processes of one `up`, in Procfile order. `Stack.of(services)` makes the processes."""

    services: dict[str, Service]
    processes: dict[str, Process]
    exit_on_failure: bool = False
    max_failures: int = 5
    leaving: bool = False
    finished: bool = False
    first_failure: int | None = None
    """Exit code of the first process that failed, as we shall pass it on."""
    _instances: dict[str, list[Process]] = fresh(factory=dict)
    _needed_by: dict[str, list[str]] = fresh(factory=dict)

    @classmethod
    def of(cls, services: Iterable[Service], *, exit_on_failure: bool = False, max_failures: int = 5) -> Stack:
        stack = cls({service.name: service for service in services}, {}, exit_on_failure, max_failures)
        for service in stack.services.values():
            stack._instances[service.name] = []
            for n in range(1, service.instances + 1):
                stack._add(Process(f"{service.name}.{n}", service, n))
            for name in service.needs:
                stack._needed_by.setdefault(name, []).append(service.name)
        return stack

    def _add(self, process: Process) -> None:
        self.processes[process.name] = process
        self._instances[process.service.name].append(process)

    def scale(self, name: str, count: int) -> list[Process]:
        """Make room for `count` instances; all that there ever were, in order."""
        instances = self._instances[name]
        for n in range(len(instances) + 1, count + 1):
            self._add(Process(f"{name}.{n}", self.services[name], n, surplus=True))
        return instances

    def of_service(self, name: str) -> Sequence[Process]:
        """The instances of a service, in order; none for a name that is not there."""
        return self._instances.get(name, ())

    def needed_by(self, name: str) -> Sequence[str]:
        """The services that need this one."""
        return self._needed_by.get(name, ())
