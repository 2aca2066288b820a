"""Whether the Celery apps that the lines name can be loaded: a wrong `-A` is named before anything starts. The project's Python says so.

Rule 1: a line is wrong only when a child that loaded the app as its worker would has said so; whatever kept us from looking is a note.
Rule 2: nothing is kept: no answer, no compiled file. All children together have LIMIT seconds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devstack.cli.provide import BOOT, CeleryLine, question
from devstack.config.interpreter import boot, which
from devstack.config.suggest import celery_app
from devstack.core.names import listing
from devstack.core.record import replace
from devstack.errors import DevstackError, did_you_mean
from devstack.kinds.arguments import base_name, option
from devstack.kinds.celery import CONTAINERS, app_options
from devstack.runtime.ask import Question, Said, ask

LIMIT: Final = 20.0
_AT_ONCE: Final = 2
_NOT_INSTALLED: Final = ("celery is not", "django is not")
_NO_MODULE: Final = re.compile(r"No module named '([^']*)'")
_NO_VARIABLE: Final = re.compile(r"KeyError: '([A-Z][A-Z0-9_]*)'|Set the ([A-Z][A-Z0-9_]*) environment variable")


class Asked:
    """Puts each question once, within the limit. `told` gets a sentence when a child takes long."""

    def __init__(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + LIMIT
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._answers: dict[object, asyncio.Task[Said]] = {}
        self.late: set[object] = set()

    async def __call__(self, question: Question, memory: Path, say: Callable[[str], None]) -> Said:
        """As `runtime.ask.ask`, but `memory` is neither read nor written."""
        key = _key(question)
        if key not in self._answers:
            self._answers[key] = asyncio.ensure_future(self._ask(question, say))
        return await self._answers[key]

    def was_late(self, question: Question) -> bool:
        return _key(question) in self.late

    async def _ask(self, question: Question, say: Callable[[str], None]) -> Said:
        question = dataclasses.replace(question, env={**question.env, "PYTHONDONTWRITEBYTECODE": "1"})
        try:
            async with asyncio.timeout_at(self._deadline), self._room:
                with tempfile.TemporaryDirectory(prefix="devstack-check-") as scratch:
                    return await ask(question, Path(scratch, "answer"), lambda _: say(f"importing {question.app} …"))
        except TimeoutError:
            self.late.add(_key(question))
            return Said(error=f"importing {question.app} takes longer than {LIMIT:.0f} s")


@dataclass(slots=True)
class Looked:
    """`said` are the answers of the apps that could be loaded, by the name of the process."""

    errors: list[DevstackError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    said: dict[str, Said] = field(default_factory=dict)


async def look(lines: Iterable[CeleryLine], directory: Path, asked: Asked, say: Callable[[str], None]) -> Looked:
    """Loads the app of each line, in a child."""
    looked = Looked()
    groups: dict[object, list[tuple[CeleryLine, Question]]] = {}
    for line in map(_with_python, lines):
        if not _is_there(line):
            continue  # A note says so already.
        if line.python:
            groups.setdefault(_key(question(line)), []).append((line, question(line)))
        elif why := _why_not(line):
            looked.notes.append(f"{line.service.name}: its Celery app is not looked into: {why} ({line.service.where})")
    answers = await asyncio.gather(*(asked(group[0][1], Path(), say) for group in groups.values()))
    for group, said in zip(groups.values(), answers, strict=True):
        names = listing([line.service.name for line, _ in group])
        (line, question_), *_ = group
        chosen_later = line.launch.argv[0] != line.python[0] and said.error.startswith(_NOT_INSTALLED)
        if asked.was_late(question_) or (chosen_later and not line.launch.shell):
            # `uv run` and the like may install what is missing before they run it.
            looked.notes.append(
                f"{names}: the Celery app could not be looked into: {said.error} ({line.service.where})"
            )
        elif said.error:
            looked.errors.append(_wrong(names, line, question_, said, directory))
        else:
            looked.said.update({each.service.name: said for each, _ in group})
    return looked


def _key(question: Question) -> object:
    return question.python, question.words, question.cwd, question.env.get("DJANGO_SETTINGS_MODULE")


def _is_there(line: CeleryLine) -> bool:
    launch = line.launch
    return launch.shell or not launch.argv or which(launch.argv[0], launch.env, launch.cwd) is not None


def _with_python(line: CeleryLine) -> CeleryLine:
    """Flower runs without our boot, yet on a Python that can be told."""
    if line.python or line.launch.shell:
        return line
    booted = boot(line.words, line.launch.env, line.launch.cwd)
    return replace(line, python=tuple(booted[: booted.index(BOOT)])) if booted else line


def _why_not(line: CeleryLine) -> str:
    """Why nobody can tell the Python of a line; "" where a note says already that its program is not there."""
    if line.launch.shell:
        return "a shell works out what it runs"
    program = base_name(line.words[0]) if line.words else ""
    if program in CONTAINERS:
        return f"{program} runs it elsewhere"
    if program not in ("celery", "flower"):
        return f"{program} chooses the Python"
    found = which(line.words[0], line.launch.env, line.launch.cwd)
    return f"{found} is not a Python program" if found else ""


def _wrong(names: str, line: CeleryLine, question: Question, said: Said, directory: Path) -> DevstackError:
    app = option(app_options(line.words), "--app")
    what = f"{names}: the Celery app {app} cannot be loaded" if app else f"{names}: no -A, and no Celery app without it"
    why = said.error
    fix = _fix(app or "", question, said, directory)
    module, colon, attribute = (app or "").partition(":")
    if colon and f"'{app}'" in why and _is_module(module, Path(question.cwd)):
        why = f"{module} has no {attribute}"  # Celery says that there is no module of the whole name.
    return DevstackError(what, why=why, fix=fix, where=line.service.where)


def _fix(app: str, question: Question, said: Said, directory: Path) -> str:
    cwd = Path(question.cwd)
    module = app.partition(":")[0]
    missing = match[1] if (match := _NO_MODULE.search(said.error)) else ""
    if said.error.startswith(_NOT_INSTALLED):
        return f"{question.python[0]} -m pip install {said.error.split()[0]}"
    if missing and missing != app and not f"{module}.".startswith(f"{missing}."):
        return f"install what provides {missing.partition('.')[0]} for {question.python[0]}"
    if missing or "no Celery app there" in said.error:
        return _nearest(module, cwd) or _elsewhere(app, cwd, directory)
    if match := _NO_VARIABLE.search(said.error):
        return f"write {match[1] or match[2]}=… into .env"
    return f"mend {said.where}" if said.where else ""


def _nearest(module: str, cwd: Path) -> str:
    """The spelling that was meant, where a part of the name is not there."""
    parts = module.split(".")
    for at, part in enumerate(parts):
        place = cwd.joinpath(*parts[:at])
        if not _is_module(part, place):
            known = (
                sorted({each.stem for each in place.iterdir() if _is_module(each.stem, place)})
                if place.is_dir()
                else []
            )
            near = did_you_mean(part, known)
            return near.replace('"', f'"{".".join([*parts[:at], ""])}', 1) if near else ""
    return ""


def _elsewhere(app: str, cwd: Path, directory: Path) -> str:
    found = celery_app(directory)
    if found is None:
        return "-A takes the module that holds the Celery app, such as -A PROJECT for PROJECT/celery.py"
    name, root = found
    if root == cwd:
        return f"-A {name}, where a Celery app is" if name != app else ""
    inside = root.is_relative_to(directory) and root != directory
    return (
        f"cd {root.relative_to(directory).as_posix()} && celery -A {name} …"
        if inside
        else f"start it in {root}: -A {name}"
    )


def _is_module(name: str, place: Path) -> bool:
    parts = name.split(".")
    path = place.joinpath(*parts)
    return all(each.isidentifier() for each in parts) and (path.with_name(f"{path.name}.py").is_file() or path.is_dir())
