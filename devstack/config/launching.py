"""From the text of a command to a Launch: what it means for one instance, in which environment, through which venv.

Rule 1: a command is understood again for every launch, so that what the provisioning injects, the instance's own PORT and a venv made in
the meantime count.
Rule 2: nothing is started and no program is looked for until a launch is asked for; a missing program is news for the one who starts it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from devstack import kinds
from devstack.config import command as commands
from devstack.config import environment, interpreter
from devstack.config.options import Options
from devstack.config.settings import ProcessSettings, Settings
from devstack.config.words import Text
from devstack.core.model import Launch, ProbeSpec
from devstack.core.record import Record, State, fresh, replace
from devstack.errors import DevstackError, did_you_mean
from devstack.kinds import Context, Kind, wrappers
from devstack.kinds.arguments import base_name

LAST_PORT = 65535
_ENVIRONMENT_RUNNERS = {"uv", "poetry", "pipenv", "pdm", "rye", "hatch"}
"""Wrappers that choose the interpreter themselves."""
_SHELLS = {"sh", "bash", "dash", "zsh"}
# Compiled by whoever needs it, not at each start.
_WATCHMEDO = (
    r"(?s)(?:(?:[^'\"\\]|'[^']*'|\"[^\"\\]*\")*[\s/.])?watchmedo\s+auto-restart\s(?P<options>[^|&;<>()`$]*?)\s--\s.+"
)


class Line(Record):
    """A process as somebody asked for it. `index` is its place in the Procfile."""

    name: str
    command: str
    index: int
    where: str
    command_where: str


class Ground(State):
    """What all processes of a project stand on."""

    directory: Path
    state_dir: Path
    environment: environment.Environment
    settings: Settings
    port: int
    options: Options
    step: int
    venvs: dict[tuple[Path, ...], interpreter.Venv | None] = fresh(factory=dict)

    def venv(self, *nearer: Path) -> interpreter.Venv | None:
        """The virtual environment for a command that runs in, or names a script in, one of `nearer`."""
        if self.settings.venv == "none":
            return None
        places = tuple(dict.fromkeys((*nearer, self.directory)))
        if places not in self.venvs:
            self.venvs[places] = self._named_venv() or interpreter.find_venv(places, self.environment.shared())
        return self.venvs[places]

    def _named_venv(self) -> interpreter.Venv | None:
        if self.settings.venv is None:
            return None
        path = Path(os.path.normpath(self.directory / Path(self.settings.venv).expanduser()))
        where = self.settings.sources[("venv",)]
        names = ("Scripts", "bin") if self.options.system == "win32" else ("bin", "Scripts")
        for name in names:
            if (path / name).is_dir():
                return interpreter.Venv(path, path / name, where)
        fix = f"python -m venv {self.settings.venv}"
        raise DevstackError(
            f"{self.settings.venv} is not a virtual environment", why=f"{path} has no bin", fix=fix, where=where
        )


class Reading(Record):
    """What one instance's command means. What counts is the last of `simples`, and in it what `unwrapped` leaves."""

    command: commands.Command
    simples: list[commands.Simple]
    unwrapped: wrappers.Unwrapped
    in_shell: bool
    """What `unwrapped` leaves is a shell with a script, and `kind` is that of a program in there."""
    kind: Kind
    context: Context
    env: Mapping[str, str]
    """Of the process, without the assignments of the command."""
    sources: Mapping[str, str]
    port: int


def understand(line: Line, ground: Ground, n: int) -> Reading:
    """Raises DevstackError for a command that no shell would take, and for a directory that is not there."""
    own = ground.settings.process(line.name)
    process = f"{line.name}.{n}"
    base = own.port if own.port is not None else ground.port + ground.step * line.index
    table = own.env or {}
    source = ground.settings.sources.get(("processes", line.name, "env"), "default")
    port = int(table["PORT"]) if table.get("PORT", "").isdigit() else base + n - 1
    if port > LAST_PORT:
        why = f"ports end at {LAST_PORT}, and each line gets {ground.step} more than the one above it"
        raise DevstackError(f"{process} would get PORT {port}", why=why, fix="start lower: -p 8000", where=line.where)
    command = _parse(line, ground.options.system)
    start = start_of(line, own, ground)

    def variables(kind: Kind) -> tuple[dict[str, str], dict[str, str]]:
        layer = environment.Layer(table, source)
        return ground.environment.of(process, port, kind.env, kind.name, layer, ground.options.run)

    env, sources = variables(kinds.OTHER)
    venv = ground.venv(Path(start))
    known = interpreter.with_venv(env, venv) if venv else env
    simples = command.expand(known, start)
    if not simples or not simples[-1].argv:
        fix = "variables for all processes belong into .env"
        raise DevstackError(f'the command of "{line.name}" names no program', fix=fix, where=line.command_where)
    system = ground.options.system
    bare = _Bare(simples, wrappers.Unwrapped([], simples[-1].argv), simples[-1], in_shell=False)
    bare = bare if own.as_written else _bare(simples, known, system)
    last, program = bare.simples[-1], bare.program
    if not Path(last.cwd).is_dir():
        raise _no_directory(line, last.cwd, Path(start))
    venv = ground.venv(Path(program.cwd), *_script_directories(program.argv, program.cwd))
    watched = ground.options.watch and (ground.settings.watch if own.watch is None else own.watch) is not False
    keeps = own.reload == "own" or not watched or bare.in_shell  # in a shell its words stay what they are
    variables_of_it = {**env, **program.env}
    context = Context(
        process, n, system, variables_of_it, program.cwd, str(ground.state_dir), _reader(program.cwd), keeps
    )
    kind = kinds.OTHER if own.as_written else _recognise(program.argv, context, line)
    env, sources = variables(kind)
    if venv:
        env = interpreter.with_venv(env, venv)
        sources |= dict.fromkeys(("PATH", "VIRTUAL_ENV"), str(venv.source))
    return Reading(command, bare.simples, bare.unwrapped, bare.in_shell, kind, context, env, sources, port)


def _parse(line: Line, system: str) -> commands.Command:
    """`watchmedo auto-restart --pattern=*.py -- celery …` needs a shell for nothing but the pattern, which is not going to be used."""
    command, text = commands.parse(line.command, line.command_where, system), line.command
    if command.needs_shell and (match := re.fullmatch(_WATCHMEDO, text)):
        escaped = re.sub(r"(?<!\\)[*?\[\]{}~]", r"\\\g<0>", match["options"])
        return commands.parse(
            text[: match.start("options")] + escaped + text[match.end("options") :], line.command_where, system
        )
    return command


class _Bare(Record):
    """The programs of a command without wrappers and shells around the last one. `program` is what a kind is recognised by."""

    simples: list[commands.Simple]
    unwrapped: wrappers.Unwrapped
    program: commands.Simple
    in_shell: bool


def _bare(simples: list[commands.Simple], env: Mapping[str, str], system: str) -> _Bare:
    """`sh -c 'exec celery …'` is that celery. A script that only its shell can run stays there, and tells what it runs."""
    last = simples[-1]
    unwrapped = wrappers.unwrap(last.argv)
    script = _script(unwrapped.argv)
    inside = script.expand({**env, **last.env}, last.cwd) if script else []
    if not script or not inside:
        return _Bare(simples, unwrapped, replace(last, argv=unwrapped.argv), in_shell=False)
    inner = _bare([replace(each, env={**last.env, **each.env}) for each in inside], env, system)
    # A prefix may change the variables and the directory that the script sees; zsh does not split variables.
    fixed = bool(unwrapped.prefix) or base_name(unwrapped.argv[0]) == "zsh"
    chain = set(script.joiners) <= {"&&"} and (len(inside) == 1 or system != "win32")
    if script.needs_shell or not chain or (fixed and not _is_fixed(script)):
        return _Bare(simples, unwrapped, inner.program, in_shell=True)
    prefix, reloader = [*unwrapped.prefix, *inner.unwrapped.prefix], unwrapped.reloader or inner.unwrapped.reloader
    merged = wrappers.Unwrapped(prefix, inner.unwrapped.argv, reloader)
    return _Bare([*simples[:-1], *inner.simples], merged, inner.program, inner.in_shell)


def _script(argv: list[str]) -> commands.Command | None:
    """The text of `sh -c TEXT`. What we cannot read may well be right in that shell."""
    if len(argv) != 3 or argv[1] != "-c" or base_name(argv[0]) not in _SHELLS:
        return None
    with contextlib.suppress(DevstackError):
        return commands.parse(argv[2])
    return None


def _is_fixed(script: commands.Command) -> bool:
    """Whether it is one program whose words are the same everywhere."""
    parts = [part for segment in script.segments for word in segment.words for part in word.parts]
    constant = all(isinstance(each, Text) and (each.quoted or "~" not in each.text) for each in parts)
    return constant and len(script.segments) == 1 and not script.segments[0].assignments


def _reader(cwd: str) -> Callable[[str], str]:
    def read(file: str) -> str:
        with contextlib.suppress(OSError, ValueError):
            return Path(cwd, file).expanduser().read_text("utf-8")
        return ""

    return read


def _recognise(argv: list[str], context: Context, line: Line) -> Kind:
    """A kind may refuse a command; it does not know where that stands."""
    try:
        return kinds.recognise(argv, context)
    except DevstackError as error:
        error.where = error.where or line.command_where
        raise


def launch(line: Line, ground: Ground, n: int) -> Launch:
    """How instance `n` is started."""
    made = _launch(line, ground, n)
    own = ground.settings.process(line.name)
    return replace(made, tty=True) if own.tty and ground.options.system != "win32" else made


def _launch(line: Line, ground: Ground, n: int) -> Launch:
    reading = understand(line, ground, n)
    own, last = ground.settings.process(line.name), reading.simples[-1]
    env = {**reading.env, **last.env}
    if reading.in_shell:
        words, channel = [*reading.unwrapped.prefix, *reading.unwrapped.argv], False
    else:
        program = reading.kind.arguments(list(reading.unwrapped.argv), reading.context)
        watched = bool(own.watch) or bool(reading.unwrapped.reloader)
        # Some other program in Python: a spare for it is worth something only where a save restarts it.
        wanted = reading.kind.channel or (reading.kind.name == kinds.OTHER.name and watched and not own.as_written)
        booted = _boot(reading, program, env) if wanted else None
        words, channel = [*reading.unwrapped.prefix, *(booted or program)], booted is not None
    question, url = probe(own, reading), reading.kind.url
    if _alone(reading):
        # A shell's `cd` sets PWD too.
        return Launch(
            tuple(words),
            {**env, "PWD": last.cwd},
            last.cwd,
            open_stdin=reading.kind.open_stdin,
            channel=channel,
            port=reading.port,
            probe=question,
            url=url,
        )
    text, env, start = line.command, dict(reading.env), start_of(line, own, ground)
    if reading.context.system == "win32" and not reading.in_shell and _is_chain(reading.command):
        return Launch(
            tuple(_steps(reading, words)),
            env,
            start,
            prelude=True,
            channel=channel,
            port=reading.port,
            probe=question,
            url=url,
        )
    if becomes_program(reading):
        text = _chained(reading, words)
    else:
        channel = False
    return Launch(
        (text,),
        env,
        start,
        shell=True,
        shell_reason=reading.command.shell_reason,
        channel=channel,
        port=reading.port,
        probe=question,
        url=url,
    )


def becomes_program(reading: Reading) -> bool:
    """Whether the process that is started turns into the program: a shell in between keeps signals to itself."""
    chain = not reading.command.needs_shell and set(reading.command.joiners) <= {"&&"}
    return not reading.in_shell and (_alone(reading) or (chain and reading.context.system != "win32"))


def _alone(reading: Reading) -> bool:
    return len(reading.simples) == 1 and not reading.command.needs_shell


def start_of(line: Line, own: ProcessSettings, ground: Ground) -> str:
    """Where the command starts, before any `cd` of its own."""
    if own.cwd is None:
        return str(ground.directory)
    start = Path(os.path.normpath(ground.directory / Path(own.cwd).expanduser()))
    if not start.is_dir():
        where = ground.settings.sources[("processes", line.name, "cwd")]
        raise DevstackError(
            f"there is no directory {own.cwd}", fix="cwd is relative to the project's directory", where=where
        )
    return str(start)


def _no_directory(line: Line, cwd: str, start: Path) -> DevstackError:
    missing = Path(cwd)
    while not missing.parent.is_dir():
        missing = missing.parent
    there = [each.name for each in missing.parent.iterdir() if each.is_dir() and not each.name.startswith(".")]
    shown = os.path.relpath(cwd, start)
    return DevstackError(
        f"there is no directory {shown}", fix=did_you_mean(missing.name, there), where=line.command_where
    )


def _script_directories(argv: Iterable[str], cwd: str) -> list[Path]:
    """The directories of `python backend/manage.py …`."""
    scripts = [Path(cwd, word) for word in argv if word.endswith(".py") and ("/" in word or "\\" in word)]
    return [each.parent for each in scripts[:1] if each.is_file()]


def _boot(reading: Reading, program: list[str], env: Mapping[str, str]) -> list[str] | None:
    """The program through inside/boot.

    `uv run celery` takes the celery of uv's environment. Unless that is the venv we know, which celery we would find is a guess.
    """
    cwd = reading.simples[-1].cwd
    wrapped = any(Path(word).stem in _ENVIRONMENT_RUNNERS for word in reading.unwrapped.prefix)
    python = Path(program[0]).name.lower().startswith("python")
    if wrapped and not python:
        found = interpreter.which(program[0], dict(env), cwd)
        if not found or not env.get("VIRTUAL_ENV") or not Path(found).is_relative_to(env["VIRTUAL_ENV"]):
            return None
    return interpreter.boot(program, dict(env), cwd, reading.context.system)


def _chained(reading: Reading, words: list[str]) -> str:
    """`migrate && gunicorn …` as one text for /bin/sh, which its last program (`words`) replaces."""
    parts = []
    for simple in reading.simples:
        argv = words if simple is reading.simples[-1] else simple.argv
        assigned = ["env", *(f"{name}={value}" for name, value in simple.env.items())] if simple.env else []
        parts += [f"cd {shlex.quote(simple.cwd)}", shlex.join([*assigned, *argv])]
    parts[-1] = f"exec {parts[-1]}"
    return " && ".join(parts)


def _is_chain(command: commands.Command) -> bool:
    """Whether all its programs stand in one row, so that no shell is needed to tell which of them run."""
    return not command.needs_shell and len(set(command.joiners)) == 1


def _steps(reading: Reading, words: list[str]) -> list[str]:
    """The same without a shell, which Windows has not."""
    joiner = reading.command.joiners[0]
    *first, last = reading.simples
    steps = [(joiner, each.cwd, each.env, each.argv) for each in first]
    return interpreter.chain([*steps, (joiner, last.cwd, last.env, words)])


def probe(own: ProcessSettings, reading: Reading) -> ProbeSpec:
    """The question for one instance. A port that the settings leave open is the one its kind found, else its PORT."""
    asked = own.probe
    if asked is None:
        return reading.kind.probe
    if "port" not in asked.options or asked.options["port"] is not None:
        return asked
    known = reading.kind.probe.options.get("port")
    return ProbeSpec(asked.how, {**asked.options, "port": known or reading.port}, asked.every)
