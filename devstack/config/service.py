"""From one line of the Procfile to a Service: its kind gives defaults, the settings override them, the command line overrides those.

Rule: every value carries its source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from devstack.config.explain import Explained
from devstack.config.launching import Ground, Line, Reading, becomes_program, launch, probe, understand
from devstack.config.settings import ProcessSettings
from devstack.core.model import Service
from devstack.core.record import Record
from devstack.errors import DevstackError
from devstack.kinds import Kind

Source = Callable[[str, str], str]
"""(key, otherwise) -> the place in the settings that sets the key of this process, else `otherwise`."""


ONE_SHOTS = ("release", "migrate")
"""Names that say that a process ends by itself, whatever it runs. Heroku's `release` is one."""


MARKER = "DEVSTACK_RUN"
"""It marks the processes of one `up`, and has no value before that."""

_RELOADS = {
    ("beside", True): "quiesce",
    ("beside", False): "overlap",
    ("replace", True): "replace",
    ("replace", False): "replace",
    ("own", True): "own",
    ("own", False): "own",
}
"""By what the kind says, and whether it is a worker."""


class Made(Record):
    """`service` has no needs yet; `kind.after` says what it would wait for."""

    service: Service
    kind: Kind
    explained: list[Explained]
    notes: list[str]


def service(line: Line, ground: Ground, instances: int) -> Made:
    own, settings = ground.settings.process(line.name), ground.settings
    reading = understand(line, ground, 1)
    kind = reading.kind

    def source(key: str, otherwise: str) -> str:
        return settings.sources.get(("processes", line.name, key), otherwise)

    if kind.single and instances > 1:
        why = f"two of them would each do the same work: a second {kind.name} sends every task twice"
        raise DevstackError(f"{line.name} can run only once", why=why, fix=f"{line.name}=1", where=line.where)
    oneshot = own.oneshot if own.oneshot is not None else kind.oneshot or line.name in ONE_SHOTS
    ready_within, ready_source = _ready_within(own, kind, ground, source, oneshot)
    watch, watch_files, watch_source = _watch(own, reading, ground, source)
    reload = own.reload or _RELOADS[kind.reload, kind.role == "worker"]
    graces = ((own.grace, source("grace", "")), (settings.grace, settings.sources.get(("grace",), "")))
    grace, grace_source = next((each for each in graces if each[0] is not None), (kind.grace, kind.name))
    made = Service(
        line.name,
        command=line.command,
        kind=kind.name,
        role=_role(line, own, kind, oneshot),
        instances=instances,
        probe=probe(own, reading),
        ready_within=ready_within,
        grace=kind.grace if grace is None else grace,
        stop_signal=own.stop_signal or kind.stop_signal,
        signal_group=kind.signal_group or not becomes_program(reading),
        oneshot=oneshot,
        watch=watch,
        watch_files=watch_files,
        reload=reload,
        drain=own.drain if own.drain is not None or kind.role == "worker" else own.grace or kind.grace,
        standby=bool(watch)
        and reload != "own"
        and not own.tty
        and (settings.standby if own.standby is None else own.standby),
        where=line.where,
        launch=lambda n: launch(line, ground, n),
    )
    cwd = reading.simples[-1].cwd
    cwd_source = "default" if Path(cwd) == ground.directory else "the command"
    values = (
        ("command", line.command, line.command_where),
        ("kind", kind.name, source("as_written", "the command")),
        ("tty", own.tty, source("tty", "default")),
        ("oneshot", oneshot, source("oneshot", "its name" if line.name in ONE_SHOTS else kind.name)),
        ("probe", made.probe, source("probe", kind.name)),
        ("ready_within", ready_within, ready_source),
        ("grace", made.grace, grace_source),
        ("stop_signal", made.stop_signal, source("stop_signal", kind.name)),
        ("watch", (*watch, *(str(Path(*each)) for each in watch_files)), watch_source),
        ("reload", reload, source("reload", kind.name)),
        ("cwd", cwd, source("cwd", cwd_source)),
        *(
            (f"env {name}", reading.env[name], of)
            for name, of in reading.sources.items()
            if of != "environment" and name != MARKER
        ),
    )
    notes = [f"{line.name}: {each}" for each in kind.notes]
    if own.tty and reading.context.system == "win32":
        where = settings.sources["processes", line.name, "tty"]
        notes.append(f"{line.name}: tty has no effect on Windows, where devstack gives no terminals ({where})")
    if reading.unwrapped.reloader:
        notes.append(f"{line.name}: devstack restarts it when files change; {reading.unwrapped.reloader} is left out")
    return Made(made, kind, [Explained(line.name, *each) for each in values], notes)


def _role(line: Line, own: ProcessSettings, kind: Kind, oneshot: bool) -> str:
    """One-shots open the gate of the others, but for those that a kind runs behind a gate (`celery inspect` asks workers)."""
    if oneshot and (own.oneshot or line.name in ONE_SHOTS):
        return "oneshot"
    return "other" if kind.role == "oneshot" and not oneshot else kind.role


def _ready_within(
    own: ProcessSettings, kind: Kind, ground: Ground, source: Source, oneshot: bool
) -> tuple[float | None, str]:
    if oneshot:
        # A migration takes as long as it takes: no overall limit is meant for it.
        return own.ready_within, source("ready_within", kind.name)
    if ground.options.ready_within is not None:
        return ground.options.ready_within, ground.options.source("ready_within")
    if own.ready_within is not None:
        return own.ready_within, source("ready_within", "")
    if ground.settings.ready_within is not None and kind.ready_within is not None:
        return ground.settings.ready_within, ground.settings.sources[("ready_within",)]
    return kind.ready_within, kind.name


def _watch(
    own: ProcessSettings, reading: Reading, ground: Ground, source: Source
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], str]:
    """The directories to watch, and patterns of files in a directory.

    A command wrapped in a reloader wants to be restarted, whatever its kind.
    """
    overall = ground.settings.watch
    default_source = ground.settings.sources.get(("watch",), reading.kind.name)
    if not ground.options.watch:
        return (), (), ground.options.source("watch")
    if own.watch is False or (own.watch is None and overall is False):
        return (), (), source("watch", default_source)
    if own.watch is None and not reading.kind.watch and not reading.unwrapped.reloader:
        return (), (), reading.kind.name
    cwd = Path(reading.simples[-1].cwd)
    inside = cwd.is_relative_to(ground.directory)
    usual = (str(ground.directory), *([] if inside else [str(cwd)]))
    if isinstance(own.watch, tuple):
        named, where = own.watch, source("watch", "")
    elif isinstance(overall, tuple):
        named, where = overall, default_source
    else:
        return usual, (), source("watch", reading.kind.name)
    directories: list[str] = []
    patterns: list[tuple[str, str]] = []
    for each in named:
        parts = Path(each).expanduser().parts
        first = next((index for index, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts))
        place = ground.directory.joinpath(*parts[:first])
        whole = ground.directory.joinpath(*parts)
        if whole.is_dir():
            directories.append(str(whole))
        elif whole.is_file():
            import glob

            patterns.append((str(whole.parent), glob.escape(whole.name)))
        elif first < len(parts) and place.is_dir():
            patterns.append((str(place), "/".join(parts[first:])))
        else:
            raise DevstackError(f"there is no file or directory {whole} to watch", where=where)
    # Whoever names files alone wants them besides the Python files.
    return tuple(directories) or usual, tuple(patterns), where
