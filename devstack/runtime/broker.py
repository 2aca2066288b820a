"""Where the project's broker is: what a person said counts, the nearest to devstack first.

settings `redis.url` → `-b` on a Celery command line → CELERY_BROKER_URL (of .env or the environment) → the project's own settings, read
in a child → nothing found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from devstack.core.health import Broker
from devstack.kinds.arguments import option
from devstack.kinds.celery import app_options
from devstack.runtime.ask import Question, Said, ask

BROKER_VARIABLE: Final = "CELERY_BROKER_URL"
BACKEND_VARIABLE: Final = "CELERY_RESULT_BACKEND"
MEMORY: Final = "celery-settings.json"


class Origin(StrEnum):
    SETTING = "setting"
    """devstack's own settings: the children do not know it."""
    FLAG = "flag"
    ENVIRONMENT = "environment"
    PROJECT = "project"
    NOWHERE = "nowhere"
    """Nobody names a broker, the project (which was asked) neither: devstack may choose."""
    UNKNOWN = "unknown"
    """The project could not be asked: it may have one."""


@dataclass(frozen=True, slots=True)
class Clues:
    """Where to look. `lines` are the words of each Celery command with their place; `variable` gives a value and its source.

    `question` is None when no Celery app is named anywhere. `memory` is the state directory.
    """

    lines: Sequence[tuple[Sequence[str], str]]
    variable: Callable[[str], tuple[str, str] | None]
    question: Question | None
    memory: Path
    setting: str = ""
    setting_where: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """`broker.url` is empty for NOWHERE and UNKNOWN. `note` says what is wrong or odd, `kombu` is the project's version if it told."""

    broker: Broker
    origin: Origin
    note: str = ""
    kombu: str = ""
    remembered: bool = False


async def broker_of(clues: Clues, say: Callable[[str], None]) -> Found:
    """Find the broker. Only the last step starts a process, and an answer of an earlier run saves even that."""
    if clues.setting:
        return Found(Broker(clues.setting, clues.setting_where), Origin.SETTING)
    for words, where in clues.lines:
        if url := option(app_options(words), "--broker"):
            return Found(Broker(url, where), Origin.FLAG)
    backend = (clues.variable(BACKEND_VARIABLE) or ("", ""))[0]
    if named := clues.variable(BROKER_VARIABLE):
        url, where = named
        if url:
            return Found(Broker(url, where, backend), Origin.ENVIRONMENT)
    if clues.question is None:
        return Found(Broker("", "", backend), Origin.UNKNOWN if clues.lines else Origin.NOWHERE)
    if url := clues.question.env.get(BROKER_VARIABLE, ""):
        return Found(Broker(url, "command line", backend), Origin.ENVIRONMENT)
    said, _ = await asyncio.gather(ask(clues.question, clues.memory / MEMORY, say), asyncio.to_thread(_warm_up))
    return _of_project(said, clues.question)


def _of_project(said: Said, question: Question) -> Found:
    if said.error:
        note = (
            f"the Celery settings of {question.app} could not be read: {said.error}; once it can, run devstack up again"
        )
        return Found(Broker("", "", said.result_backend), Origin.UNKNOWN, note)
    broker = Broker(
        said.broker_url,
        f"settings of {said.app or question.app}",
        said.result_backend,
        said.transport_options,
        said.control_exchange,
    )
    origin = Origin.PROJECT if broker.url else Origin.NOWHERE
    eager = f"tasks run inside the web process (CELERY_TASK_ALWAYS_EAGER, {broker.source}): .delay() never reaches the worker"
    return Found(broker, origin, eager if said.eager else "", said.kombu, said.remembered)


def _warm_up() -> None:
    """What is needed next anyway, while the child runs."""
    import devstack.probes.redis
    import devstack.runtime.provision  # noqa: F401
