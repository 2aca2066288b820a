"""Between the project and the runtime: what the Celery lines say, so that the broker can be found and a Redis provided.

Rule 1: a stack that uses neither Celery nor Redis pays nothing for any of this, see `_wanted`.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devstack.config.load import Project
from devstack.core import redis_url
from devstack.core.health import Broker
from devstack.core.model import Launch, Service
from devstack.errors import DevstackError
from devstack.host import Host

if TYPE_CHECKING:
    from devstack.runtime.ask import Question

CELERY_ROLES = ("worker", "beat", "flower")
BOOT = str(Path(__file__).parents[1] / "inside" / "boot.py")


@dataclass(frozen=True, slots=True)
class CeleryLine:
    """A Celery command of the project: the words of its program, and how its Python is called ((), where we cannot tell)."""

    service: Service
    words: tuple[str, ...]
    python: tuple[str, ...]
    launch: Launch


async def provide(project: Project, say: Callable[[str], None]) -> Broker | None:
    """Find the broker, add (or replace) the Redis services of the project, and fill what its launches inject.

    Gives None for a stack that uses none. DevstackError when the broker cannot be used.
    """
    if not wants_redis(project):
        return None
    redis = _redis_lines(project)
    lines = [_celery_line(service) for service in _celery_services(project)]
    wanted = None if lines or redis or project.settings.redis.url else _wanted(project)
    from devstack.runtime.broker import Clues, Found, Origin, broker_of
    from devstack.runtime.provision import Needs, provision

    clues = Clues(
        lines=[(line.words, line.service.where) for line in lines],
        variable=lambda name: _variable(project, name),
        question=next((q for line in lines if (q := _question(line))), None),
        memory=project.state_dir,
        setting=project.settings.redis.url or "",
        setting_where=project.settings.sources.get(("redis", "url"), ""),
    )
    found = Found(wanted, Origin.ENVIRONMENT) if wanted else await broker_of(clues, say)
    if found.note:
        say(found.note)
    needs = Needs(
        broker=found.broker,
        origin=found.origin,
        celery=bool(lines),
        state_dir=project.state_dir,
        env=(lines[0].launch if lines else project.services[0].launch(1)).env,
        lines=redis,
        names=frozenset(service.name for service in project.services),
        start=project.settings.redis.start,
        persist=project.redis_persist,
        kombu=found.kombu,
        system=project.options.system,
    )
    made = await provision(needs, say)
    for note in made.notes:
        say(note)
    project.services = [made.replaced.get(service.name, service) for service in project.services]
    if made.service:
        project.add(made.service)
    project.injected.update(made.inject)
    return made.broker


def wants_redis(project: Project) -> bool:
    """Whether `up` would look for a broker, and start a Redis where none answers."""
    known = _celery_services(project) or _redis_lines(project) or project.settings.redis.url
    return bool(known) or _wanted(project) is not None


def _redis_lines(project: Project) -> tuple[Service, ...]:
    return tuple(service for service in project.services if service.role == "redis")


def _celery_services(project: Project) -> list[Service]:
    """Those that are started; else, for `devstack up web`, those that were left out: both want the same broker."""
    found = [service for service in project.services if service.role in CELERY_ROLES]
    if not found and project.waits_for_redis:
        found = [service for service in project.left_out if service.role in CELERY_ROLES]
    return found


def _wanted(project: Project) -> Broker | None:
    """The Redis on this machine that a stack wants although no line of it is Celery's.

    CELERY_BROKER_URL tells of a worker behind a script. REDIS_URL may be anybody's: it counts for a process whose settings say that it
    needs redis, and such a one means the usual address where there is none.
    """
    if not project.waits_for_redis:
        return None
    named = _variable(project, "CELERY_BROKER_URL")
    if named is None:
        settings = project.settings
        asking = [name for name in sorted(project.waits_for_redis) if "redis" in (settings.process(name).needs or ())]
        if not asking:
            return None
        place = settings.sources.get(("processes", asking[0], "needs"), "")
        named = _variable(project, "REDIS_URL") or (redis_url.DEFAULT, place)
    url, where = named
    with contextlib.suppress(ValueError):
        if not redis_url.is_redis(url) or not redis_url.parse(url).local:
            return None
    return Broker(url, where)


def _variable(project: Project, name: str) -> tuple[str, str] | None:
    """As a person set it for all processes, or for one of them (in the settings, or in front of its command)."""
    if found := project.variable(name):
        return found
    own = ((service.launch(1).env.get(name), service.where) for service in project.services)
    return next(((value, where) for value, where in own if value), None)


@contextlib.contextmanager
def only_beat(project: Project, here: Host, broker: Broker | None) -> Iterator[None]:
    """Hold the lock that makes beat the only one for its app and broker, in all checkouts of this user; nothing without a beat.

    Two would send every task twice, and nothing in Celery prevents it.
    """
    beat = next((_celery_line(service) for service in project.services if service.role == "beat"), None)
    if beat is None or broker is None:
        yield
        return
    from devstack.kinds.celery import app_options

    place = _place(broker.url)
    key = hashlib.sha256(repr((place, app_options(beat.words))).encode()).hexdigest()[:16]
    directory = project.state_dir.parent
    with here.lock(directory / f"beat-{key}.lock", str(project.directory)) as holder:
        if holder is not None:
            raise DevstackError(
                "another beat runs for this app and broker",
                why=f"devstack runs it in {holder}, and two would send every task twice",
                fix=f"leave it out here: devstack up -m {beat.service.name}=0",
                where=beat.service.where,
            )
        yield


def _place(url: str) -> str:
    """The broker without its password."""
    try:
        redis = redis_url.parse(url)
    except ValueError:
        return url.rpartition("@")[2]
    return f"{redis.place}/{redis.db}"


def _celery_line(service: Service) -> CeleryLine:
    launch = service.launch(1)
    words = shlex.split(launch.argv[0]) if launch.shell and launch.channel else list(launch.argv)
    if BOOT not in words:
        return CeleryLine(service, tuple(words), (), launch)
    boot = words.index(BOOT)
    # boot.py, "script" or "module", then the program: see config.interpreter.boot. In front of it: [uv run] python [flags].
    start = next((i for i, word in enumerate(words[:boot]) if Path(word).name.startswith("python")), 0)
    mode, program, *rest = words[boot + 1 :]
    called = (
        [program]
        if mode == "script" and not program.endswith(".py")
        else ["python", *(["-m"] if mode == "module" else []), program]
    )
    return CeleryLine(service, (*called, *rest), tuple(words[start:boot]), launch)


def _question(line: CeleryLine) -> Question | None:
    if not line.python:
        return None
    from devstack.kinds.celery import app_options
    from devstack.runtime.ask import Question

    return Question(line.python, tuple(app_options(line.words)), line.launch.env, line.launch.cwd)
