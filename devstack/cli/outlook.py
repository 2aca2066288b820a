"""What `up` would find, without its doing: the broker, the Celery apps, and where a Redis would come from.

Rule 1: nothing is started but children that read settings, or a version; nothing is written.
Rule 2: what keeps `up` from running is an error here as well; what keeps us from looking is a note.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from devstack import host
from devstack.cli.provide import CeleryLine, celery_lines, find, needs_of, redis_lines, wants_redis
from devstack.config.load import Project
from devstack.core.health import Broker
from devstack.core.record import replace
from devstack.errors import DevstackError


@dataclass(slots=True)
class Outlook:
    """`broker` is None where nothing uses one. `redis` are sentences about the server; `adds` is the process that `up` would add for it."""

    broker: Broker | None = None
    origin: str = ""
    backend: str = ""
    backend_source: str = ""
    redis: list[str] = field(default_factory=list)
    adds: str = ""
    ours: bool = False
    errors: list[DevstackError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def outlook(project: Project, say: Callable[[str], None]) -> Outlook:
    """`say` gets a sentence when something takes long."""
    if not wants_redis(project):
        return Outlook()
    lines = celery_lines(project)
    try:
        host.here()
    except DevstackError as error:
        return Outlook(Broker("", ""), "unknown", adds="redis", notes=[f"the broker is not looked for: {error.what}"])
    return asyncio.run(_outlook(project, lines, say))


async def _outlook(project: Project, lines: list[CeleryLine], say: Callable[[str], None]) -> Outlook:
    from devstack.cli import apps
    from devstack.runtime.broker import Origin
    from devstack.runtime.provision import free_name, provision

    asked, running = apps.Asked(), {service.name for service in project.services}
    looked, found = await asyncio.gather(
        apps.look([line for line in lines if line.service.name in running], project.directory, asked, say),
        find(project, lines, say, asked),
    )
    seen = Outlook(found.broker, str(found.origin), errors=looked.errors, notes=looked.notes)
    seen.adds = "" if redis_lines(project) else free_name(running)
    if found.note and not seen.errors:
        seen.notes += found.note.splitlines()
    if found.unread:
        if not seen.errors and not seen.notes:
            seen.notes.append(found.unread.why)
        return seen
    needs = replace(needs_of(project, found, lines, redis_lines(project)), preview=True)
    try:
        made = await provision(needs, lambda _: None)
    except DevstackError as error:
        seen.errors.append(error)
        return seen
    seen.broker, seen.redis, seen.ours = made.broker, made.notes, made.broker.ours
    seen.adds = made.service.name if made.service else ""
    if made.broker.url and found.origin in (Origin.NOWHERE, Origin.UNKNOWN):
        why = "nobody names one" if found.origin is Origin.NOWHERE else "the project could not be asked"
        seen.broker = replace(made.broker, source=f"default: {why}")
    _backend(project, seen, [said.result_backend for said in looked.said.values()])
    return seen


def _backend(project: Project, seen: Outlook, said: list[str]) -> None:
    """What an app itself says counts, for it has read the variable too."""
    from devstack.runtime.broker import BACKEND_VARIABLE

    assert seen.broker
    named, place = project.variable(BACKEND_VARIABLE) or ("", "")
    seen.backend = next(filter(None, said), "") or named or seen.broker.result_backend
    if not seen.backend:
        return
    if seen.backend == named:
        seen.backend_source = place
    elif any(said):
        seen.backend_source = "the Celery settings"
    else:
        seen.backend_source = seen.broker.source
