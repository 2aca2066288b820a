"""Reads everything a person wrote (Procfile, .env, settings, options) into one validated Project. Nothing is started, nothing written.

Rule 1: the command line wins over the settings, those over what a kind says, that over the default; `Project.explained` tells which it was.
Rule 2: what is odd but works is a note, said once; what cannot work is a DevstackError with its place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from devstack.config import dirs, env, order, places, procfile, settings, text
from devstack.config.environment import PORT_SPAN, PORT_STEP, Environment
from devstack.config.explain import Explained
from devstack.config.interpreter import Venv
from devstack.config.launching import Ground, Line
from devstack.config.options import Options
from devstack.config.service import service
from devstack.config.settings import IMAGE, Settings
from devstack.core import formation
from devstack.core.model import Service
from devstack.core.names import OURS, listing
from devstack.core.record import State
from devstack.errors import DevstackError, did_you_mean

PORT, PORT_ON_MACOS = 5000, 8000
"""AirPlay listens on 5000 on macOS 12 and later."""


class Project(State):
    """One stack as it is asked for. `injected` is put under everything a person set, in every launch made after it is filled."""

    directory: Path
    name: str
    key: str
    state_dir: Path
    runtime_dir: Path
    procfile: Path | None
    services: list[Service]
    venv: Venv | None
    settings: Settings
    environment: Environment
    options: Options
    notes: list[str]
    explained: list[Explained]
    waits_for_redis: frozenset[str]
    injected: MutableMapping[str, str]
    redis_persist: bool
    redis_image: str
    """Of the container in which its Redis is to run; empty for none."""
    left_out: list[Service]
    """What the Procfile has besides, by name or by formation: it does not run here, yet it tells what the project uses."""
    read: frozenset[Path]
    """The files of its configuration: a change to one counts from the next `up`."""

    def add(self, redis: Service) -> None:
        """A Redis that devstack provides: it comes first, and those that want one wait for it."""
        self.services = order.with_redis(self.services, redis, self.waits_for_redis)

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    def variable(self, name: str) -> tuple[str, str] | None:
        """A variable that a person set for all processes, and where (".env:3", "environment")."""
        return self.environment.find(name)

    def make_directories(self) -> None:
        """The directories outside of the project where its state lives, readable for their owner alone."""
        for each in (self.state_dir, self.log_dir, self.runtime_dir):
            with usable(each):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)
                if not os.access(each, os.W_OK | os.X_OK):
                    raise PermissionError("it is not writable")


@contextlib.contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Around what we do in one of the directories: whoever has to read that it cannot be used may choose another."""
    try:
        yield
    except OSError as error:
        fix = "export DEVSTACK_STATE_DIR=/a/directory/you/may/write"
        raise DevstackError(f"cannot use the directory {directory}", why=str(error), fix=fix) from None


def load(options: Options) -> Project:
    directory, notes = places.directory(options)
    chosen = settings.read(directory)
    path, path_source = places.procfile(options, chosen, directory)
    entries: list[procfile.Entry] = []
    procfile_notes: list[str] = []
    if path is not None:
        called = places.called(path, directory)
        entries, procfile_notes = procfile.parse(text.read(path, called), called)
    files, files_source = places.env_files(options, chosen, directory)
    overrides = options.env_overrides or chosen.env_overrides
    variables = env.read(files, options.environ, overrides, files_source)
    state_dir, runtime_dir = map(Path, dirs.state(str(directory), options.environ))
    environment = Environment(
        options.environ, variables, overrides, options.system, options.colour, str(runtime_dir), injected={}
    )
    port, port_source, port_notes = _port(options, chosen, environment)
    name, key = dirs.identity(str(directory))
    step = min(PORT_STEP, PORT_SPAN // max(len(entries), 1))
    ground = Ground(directory, state_dir, environment, chosen, port, options, step)
    venv = ground.venv()
    persist = options.redis_persist or chosen.redis.persist
    docker = chosen.redis.docker or options.redis_docker
    image = docker if isinstance(docker, str) else IMAGE if docker else ""
    explained = [
        Explained("", "directory", str(directory), options.source("directory") if options.directory else "default"),
        Explained("", "procfile", str(path) if path else None, path_source),
        Explained("", "env_files", [each for _, each in files], files_source),
        Explained("", "env_overrides", overrides, _flag_source(options, chosen, "env_overrides", "env_overrides")),
        Explained("", "port", port, port_source),
        Explained("", "redis.persist", persist, _flag_source(options, chosen, "redis_persist", "redis", "persist")),
        Explained("", "redis.docker", image or False, _flag_source(options, chosen, "redis_docker", "redis", "docker")),
        Explained("", "venv", str(venv.path) if venv else None, str(venv.source) if venv else "default"),
    ]
    notes += [*chosen.notes, *procfile_notes, *variables.notes, *port_notes]
    lines = _lines(entries, chosen, path, notes)
    ordered = _services(lines, ground, notes, explained)
    services = _selected(options.names, ordered.services, notes) if options.names else ordered.services
    names = [each.name for each in services]
    return Project(
        directory,
        name,
        key,
        state_dir,
        runtime_dir,
        path,
        services,
        venv,
        chosen,
        environment,
        options,
        list(dict.fromkeys(notes)),
        _in_order(explained, names),
        ordered.waits_for_redis.intersection(names),
        environment.injected,
        persist,
        image,
        _left_out(lines, ordered.services, names, ground),
        frozenset([directory / "devstack.toml", *([path] if path else []), *(each for each, _ in files)]),
    )


def _services(lines: list[Line], ground: Ground, notes: list[str], explained: list[Explained]) -> order.Ordered:
    """All services that the formation leaves, with their needs."""
    options, chosen = ground.options, ground.settings
    counts = _counts(options, chosen, [line.name for line in lines], explained)
    if not any(counts.values()):
        why = "every process has the formation 0"
        raise DevstackError("there is nothing to start", why=why, where=options.source("formation"))
    made = [service(line, ground, counts[line.name]) for line in lines if counts[line.name]]
    wishes = {}
    for each in made:
        name, own = each.service.name, chosen.process(each.service.name)
        wishes[name] = order.Wish(own.needs, each.kind.after, chosen.sources.get(("processes", name, "needs"), ""))
        explained += each.explained
        notes += each.notes
    ordered = order.order(
        [each.service for each in made], wishes, [name for name, count in counts.items() if not count]
    )
    explained += [
        Explained(each.name, "needs", list(each.needs), wishes[each.name].where or each.kind)
        for each in ordered.services
    ]
    notes += ordered.notes
    return ordered


def _left_out(lines: list[Line], counted: list[Service], names: list[str], ground: Ground) -> list[Service]:
    found = [each for each in counted if each.name not in names]
    there = {each.name for each in counted}
    for line in lines:
        if line.name not in there:
            # Nobody has to mend what does not run.
            with contextlib.suppress(DevstackError):
                found.append(service(line, ground, 1).service)
    return found


def _in_order(explained: list[Explained], names: list[str]) -> list[Explained]:
    """Those of the project, then those of each service that is there."""
    places = {scope: place for place, scope in enumerate(("", *names))}
    return sorted((each for each in explained if each.scope in places), key=lambda each: places[each.scope])


def _flag_source(options: Options, chosen: Settings, option: str, *key: str) -> str:
    return options.source(option) if getattr(options, option) else chosen.sources.get(key, "default")


def _port(options: Options, chosen: Settings, environment: Environment) -> tuple[int, str, list[str]]:
    if options.port is not None:
        return options.port, options.source("port"), []
    if (value := environment.files.values.get("PORT")) is not None:
        if not _is_port(value):
            raise DevstackError(
                f'PORT is "{value}", which is no port',
                fix="a number from 1 to 65535",
                where=environment.files.sources["PORT"],
            )
        return int(value), environment.files.sources["PORT"], []
    notes = []
    if value := environment.environ.get("PORT"):
        if _is_port(value):
            return int(value), "environment", []
        notes.append(f"PORT={value} in the environment is not a port; it is not used")
    if chosen.port is not None:
        return chosen.port, chosen.sources[("port",)], notes
    return (PORT_ON_MACOS if options.system == "darwin" else PORT), "default", notes


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value) < 65536


def _lines(entries: list[procfile.Entry], chosen: Settings, path: Path | None, notes: list[str]) -> list[Line]:
    """The processes of the Procfile, with the commands of the settings in their place or behind them."""
    lines = []
    for entry in entries:
        own = chosen.process(entry.name)
        place = chosen.sources.get(("processes", entry.name, "command"), entry.where)
        lines.append(Line(entry.name, own.command or entry.command, entry.index, entry.where, place))
    known = [entry.name for entry in entries]
    for name, own in chosen.processes.items():
        if name in known:
            continue
        if own.command is not None:
            place = chosen.sources[("processes", name, "command")]
            lines.append(Line(name, own.command, len(lines), place, place))
            continue
        place = next((at for key, at in chosen.sources.items() if key[:2] == ("processes", name)), "")
        if near := did_you_mean(name, known):
            raise DevstackError(f'the settings are for "{name}", which is not in the Procfile', fix=near, where=place)
        called = path.name if path else "the settings"
        notes.append(f"{place}: {name} is not in {called} and has no command, so its settings are not used")
    for line in lines:
        if line.name == OURS:
            what, fix = f'"{OURS}" is the name under which devstack itself speaks', f"another would be {OURS}-web"
            raise DevstackError(what, fix=fix, where=line.command_where or line.where)
    return lines


def _counts(options: Options, chosen: Settings, known: list[str], explained: list[Explained]) -> dict[str, int]:
    """How many of each: the command line, else the formation of the settings, else `instances`, else one."""
    asked = formation.parse(options.formation, known, options.source("formation"))
    place = chosen.sources.get(("formation",), "")
    saved = formation.parse(chosen.formation or "", known, place)
    counts = {}
    for name in known:
        own = chosen.process(name).instances
        if name in asked:
            count, source = asked[name], options.source("formation")
        elif name in saved:
            count, source = saved[name], place
        elif own is not None:
            count, source = own, chosen.sources[("processes", name, "instances")]
        else:
            count, source = 1, "default"
        if name in options.names and count == 0:
            if name in asked:
                raise DevstackError(f"{name} is asked for, and {name}=0 leaves it out", where=source)
            count, source = 1, "asked for by name"
        counts[name] = count
        explained.append(Explained(name, "instances", count, source))
    return counts


def _selected(names: tuple[str, ...], services: list[Service], notes: list[str]) -> list[Service]:
    known = [each.name for each in services]
    for name in names:
        if name not in known:
            fix = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise DevstackError(f'there is no process "{name}"', fix=fix)
    wanted = order.closure(names, services)
    if extra := [name for name in wanted if name not in names]:
        notes.append(
            f"also starts {listing(extra)}, which {listing(dict.fromkeys(names))} {'needs' if len(set(names)) == 1 else 'need'}"
        )
    return [each for each in services if each.name in wanted]
