"""Between the project and the runtime: what the Celery lines say, so that the broker can be found and a Redis provided.

Rule 1: a stack that uses neither Celery nor Redis pays nothing for any of this, see `_wanted`.
Rule 2: when a line of the project keeps its settings from being read, nothing is guessed, see `later`.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from devstack.config.load import Project
from devstack.core import redis_url
from devstack.core.health import Broker
from devstack.core.model import Launch, Service
from devstack.core.record import Record, replace
from devstack.errors import DevstackError
from devstack.host import Host

if TYPE_CHECKING:
    from devstack.cli.later import Later
    from devstack.runtime.ask import Question
    from devstack.runtime.broker import Asking, Found
    from devstack.runtime.provision import Needs, Provision

CELERY_ROLES = ("worker", "beat", "flower")
BOOT = str(Path(__file__).parents[1] / "inside" / "boot.py")


class CeleryLine(Record):
    """A Celery command of the project: the words of its program, and how its Python is called ((), where we cannot tell)."""

    service: Service
    words: tuple[str, ...]
    python: tuple[str, ...]
    launch: Launch


class Provided(Record):
    """`broker` is None for a stack that uses none, and as long as nobody can tell, which `later` is about."""

    broker: Broker | None = None
    later: Later | None = None


async def provide(project: Project, say: Callable[[str], None]) -> Provided:
    """Find the broker, add (or replace) the Redis services of the project, and fill what its launches inject.

    DevstackError when the broker cannot be used.
    """
    if not wants_redis(project):
        return Provided()
    lines, redis = celery_lines(project), redis_lines(project)
    found = await find(project, lines, say)
    # Where nobody is there to mend it, the processes shall say themselves what is wrong.
    if found.unread and found.unread.mendable and not project.options.exit_on_failure:
        from devstack.cli.later import Later

        later = Later(project, found, found.unread.why, say)
        await arrange(project, replace(found, unread=None), [], say, redis=redis)
        project.add(later.stand_in.service)
        return Provided(later=later)
    made = await arrange(project, found, lines, say, redis=redis)
    if made.service:
        project.add(made.service)
    return Provided(made.broker)


async def tidy(project: Project) -> str:
    """Remove the container in which our Redis ran, if something has left it behind; its name then."""
    from devstack.runtime import container

    return await container.sweep(project.state_dir, project.environment.shared())


async def find(
    project: Project, lines: list[CeleryLine], say: Callable[[str], None], asking: Asking | None = None
) -> Found:
    """Where the broker is. `asking` puts the questions to the project in another way than `ask` does."""
    from devstack.runtime.ask import ask
    from devstack.runtime.broker import Clues, Found, Origin, broker_of

    if not (lines or redis_lines(project) or project.settings.redis.url) and (wanted := _wanted(project)):
        return Found(wanted, Origin.ENVIRONMENT)
    clues = Clues(
        lines=[(line.words, line.service.where) for line in lines],
        variable=lambda name: _variable(project, name),
        questions=_questions(lines),
        memory=project.state_dir,
        setting=project.settings.redis.url or "",
        setting_where=project.settings.sources.get(("redis", "url"), ""),
        ask=asking or ask,
    )
    return await broker_of(clues, say)


async def arrange(
    project: Project,
    found: Found,
    celery: list[CeleryLine],
    say: Callable[[str], None],
    *,
    redis: tuple[Service, ...],
    running: bool = False,
) -> Provision:
    """Decide about the Redis, and have it known to the processes. `running`: those of the Procfile have been started."""
    from devstack.runtime.provision import provision

    if left := await tidy(project):
        say(f"removed the container {left}, which an earlier devstack up left behind")
    if found.note:
        say(found.note)
    if found.unread:
        say(f"{found.unread.why}; once it can, run devstack up again")
    made = await provision(needs_of(project, found, celery, redis, running=running), say)
    for note in made.notes:
        say(note)
    project.services = [made.replaced.get(service.name, service) for service in project.services]
    project.injected.update(made.inject)
    return made


def needs_of(
    project: Project, found: Found, celery: list[CeleryLine], redis: tuple[Service, ...], *, running: bool = False
) -> Needs:
    from devstack.runtime.container import Wanted
    from devstack.runtime.provision import Needs

    return Needs(
        broker=found.broker,
        origin=found.origin,
        celery=bool(celery),
        state_dir=project.state_dir,
        env=(celery[0].launch if celery else project.services[0].launch(1)).env,
        lines=redis,
        running=running,
        names=frozenset(each.name for each in project.services if each.role != "redis" or each in redis),
        start=project.settings.redis.start,
        persist=project.redis_persist,
        docker=Wanted(project.redis_image, _docker_source(project)) if project.redis_image else None,
        kombu=found.kombu,
        system=project.options.system,
    )


def _docker_source(project: Project) -> str:
    settings, options = project.settings, project.options
    return settings.sources.get(("redis", "docker")) or options.source("redis_docker")


def wants_redis(project: Project) -> bool:
    """Whether `up` would look for a broker, and start a Redis where none answers."""
    known = _celery_services(project) or redis_lines(project) or project.settings.redis.url
    return bool(known) or _wanted(project) is not None


def redis_lines(project: Project) -> tuple[Service, ...]:
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
    # Asking all of them takes longer than to start them.
    settings = project.settings
    able = [
        each for each in project.services if name in each.command or name in (settings.process(each.name).env or {})
    ]
    own = ((service.launch(1).env.get(name), service.where) for service in able)
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
    import hashlib

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
    if launch.shell and launch.channel:
        launch, words = _last_program(launch)
    elif launch.prelude:
        import json

        _, cwd, own, words = json.loads(launch.argv[-1])[-1]
        launch = replace(launch, env={**launch.env, **own}, cwd=cwd)
    else:
        words = list(launch.argv)
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


def _last_program(launch: Launch) -> tuple[Launch, list[str]]:
    """Of `cd /shop && migrate && cd /shop && exec env A=1 python …`, which config.launching makes of a chain: where and with what variables
    that program runs, and its words."""
    words = shlex.split(launch.argv[0])
    last = max(at for at, word in enumerate(words) if word == "exec")
    before, words = words[:last], words[last + 1 :]
    places = [place for cd, place in itertools.pairwise(before) if cd == "cd"]
    own: dict[str, str] = {}
    if words[:1] == ["env"]:
        assigned = list(itertools.takewhile(lambda word: "=" in word, words[1:]))
        own = {name: value for name, _, value in (word.partition("=") for word in assigned)}
        words = words[len(assigned) + 1 :]
    return replace(launch, env={**launch.env, **own}, cwd=places[-1] if places else launch.cwd), words


def celery_lines(project: Project) -> list[CeleryLine]:
    return [_celery_line(service) for service in _celery_services(project)]


def _questions(lines: list[CeleryLine]) -> list[Question]:
    """Each app that a line names, and last the Django settings that it would use: they are there even when the line has a wrong name."""
    from devstack.runtime.ask import Question

    able = [line for line in lines if line.python]
    found = [question(line) for line in able]
    for line in able[:1]:
        if module := _django_settings(line.launch):
            found.append(Question(line.python, ("--django", module), line.launch.env, line.launch.cwd))
    distinct: dict[object, Question] = {}
    for each in found:
        # Their environments differ in PORT and the like, which decide no broker.
        distinct.setdefault((each.python, each.words, each.cwd, each.env.get("DJANGO_SETTINGS_MODULE")), each)
    return list(distinct.values())


def question(line: CeleryLine) -> Question:
    from devstack.kinds.celery import app_options
    from devstack.runtime.ask import Question

    return Question(line.python, tuple(app_options(line.words)), line.launch.env, line.launch.cwd)


def _django_settings(launch: Launch) -> str:
    if named := launch.env.get("DJANGO_SETTINGS_MODULE"):
        return named
    try:
        program = (Path(launch.cwd) / "manage.py").read_text("utf-8", "replace")
    except OSError:
        return ""
    match = re.search(r"""["']DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""", program)
    return match[1] if match else ""
