"""Where the project's broker is: what a person said counts, the nearest to devstack first.

settings `redis.url` → `-b` on a Celery command line → CELERY_BROKER_URL (of .env or the environment) → the project's own settings, read
in a child → nothing found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from devstack.core.health import Broker
from devstack.core.record import Record
from devstack.kinds.arguments import option
from devstack.kinds.celery import app_options
from devstack.runtime.ask import Question, Said, ask
from devstack.runtime.inputs import State

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


Asking = Callable[[Question, Path, Callable[[str], None]], Awaitable[Said]]
"""As `ask`."""


class Clues(Record):
    """Where to look. `lines` are the words of each Celery command with their place; `variable` gives a value and its source.

    `questions` are asked until one can be answered; there is none when no Celery app is named anywhere. `memory` is the state directory.
    """

    lines: Sequence[tuple[Sequence[str], str]]
    variable: Callable[[str], tuple[str, str] | None]
    questions: Sequence[Question]
    memory: Path
    setting: str = ""
    setting_where: str = ""
    ask: Asking = ask


class Unread(Record):
    """The settings could not be read. `mendable`: a line of the project's own is at fault, and not, say, the name in the Procfile."""

    why: str
    mendable: bool


class Found(Record):
    """`broker.url` is empty for NOWHERE and UNKNOWN. `note` says what is odd, `kombu` is the project's version if it told.

    While nothing of `seen` changes, the project would say the same again.
    """

    broker: Broker
    origin: Origin
    note: str = ""
    kombu: str = ""
    remembered: bool = False
    unread: Unread | None = None
    seen: State = MappingProxyType({})


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
    if not clues.questions:
        return Found(Broker("", "", backend), Origin.UNKNOWN if clues.lines else Origin.NOWHERE)
    if url := next((url for each in clues.questions if (url := each.env.get(BROKER_VARIABLE, ""))), ""):
        return Found(Broker(url, "command line", backend), Origin.ENVIRONMENT)
    found, _ = await asyncio.gather(_ask(clues, say), asyncio.to_thread(_warm_up))
    return found


async def _ask(clues: Clues, say: Callable[[str], None]) -> Found:
    failed: list[tuple[Question, Said]] = []
    for question in clues.questions:
        said = await clues.ask(question, clues.memory / MEMORY, say)
        if said.error:
            failed.append((question, said))
        elif said.broker_url or not any(each.where for _, each in failed):
            # Where a line of the project is at fault, another part of it that names no broker proves nothing.
            return _of_project(said, question, failed)
    question, said = next((each for each in failed if each[1].where), failed[0])
    why = f"{_of(question)} could not be read: {said.error}"
    seen = {path: state for _, each in failed for path, state in each.seen.items()}
    return Found(Broker("", ""), Origin.UNKNOWN, unread=Unread(why, bool(said.where)), seen=seen)


def _of_project(said: Said, question: Question, failed: Sequence[tuple[Question, Said]]) -> Found:
    broker = Broker(
        said.broker_url,
        f"settings of {said.app or question.app}",
        said.result_backend,
        said.transport_options,
        said.control_exchange,
    )
    notes = [f"{_of(each)} could not be read: {why.error}; those of {question.app} count" for each, why in failed]
    if said.eager:
        notes.append(
            f"tasks run inside the web process (CELERY_TASK_ALWAYS_EAGER, {broker.source}): .delay() never reaches the worker"
        )
    origin = Origin.PROJECT if broker.url else Origin.NOWHERE
    return Found(broker, origin, "\n".join(notes), said.kombu, said.remembered, seen=said.seen)


def _of(question: Question) -> str:
    return f"the Celery settings of {question.app}"


def _warm_up() -> None:
    """What is needed next anyway, while the child runs."""
    import devstack.probes.redis
    import devstack.runtime.provision  # noqa: F401
