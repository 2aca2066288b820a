"""The settings: `devstack.toml`, or `[tool.devstack]` in pyproject.toml. Nobody needs any; they override what devstack finds out itself.

Rule 1: the fields of the three classes are the schema. Reading, checking and the reference in the README come from them alone.
Rule 2: a key without an effect does not exist; an unknown one is an error that names the nearest.
Rule 3: None means "not said": the kind of the process, or devstack's own default, decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from devstack.config import dirs, shapes, text
from devstack.config.shapes import Shape
from devstack.core.model import ProbeSpec
from devstack.core.record import Record, replace
from devstack.errors import DevstackError, did_you_mean

if TYPE_CHECKING:
    from devstack.config import toml

IMAGE = "redis:7-alpine"
T = TypeVar("T")


class Described(Record):
    shape: Shape[Any]
    default: object
    doc: str
    shown: str


def _key(shape: Shape[Any], default: T, doc: str, shown: str = "") -> T:
    """A field that is a key of the settings. `shown` is its default in words where the value itself says nothing."""
    return cast(T, Described(shape, default, doc, shown))


class Keys(Record):
    """Fields of which some are keys."""

    described: ClassVar[dict[str, Described]]

    def __init_subclass__(cls) -> None:
        cls.described = {name: value for name, value in vars(cls).items() if isinstance(value, Described)}
        for name, key in cls.described.items():
            setattr(cls, name, key.default)
        super().__init_subclass__()


class RedisSettings(Keys):
    url: str | None = _key(
        shapes.TEXT,
        None,
        "The broker, when devstack should not look for it.",
        "from .env, environment, Django settings",
    )
    start: bool = _key(shapes.FLAG, True, "Start a Redis when none answers on this machine.")
    persist: bool = _key(shapes.FLAG, False, "Keep the data of the Redis that devstack starts.")
    docker: bool | str = _key(
        shapes.IMAGE, False, f"Start it in a Docker container: true for `{IMAGE}`, or the name of another image."
    )


class ProcessSettings(Keys):
    command: str | None = _key(
        shapes.TEXT,
        None,
        "Runs instead of the line in the Procfile; a name that is not there becomes a process.",
        "the Procfile's",
    )
    as_written: bool = _key(
        shapes.FLAG, False, "Run the command unchanged, as a program that devstack knows nothing about."
    )
    tty: bool = _key(
        shapes.FLAG,
        False,
        "Give it a terminal of its own, for `devstack attach` (not on Windows); a reload starts it cold.",
    )
    needs: tuple[str, ...] | None = _key(
        shapes.NAMES, None, "What must be ready before it starts; replaces what its kind needs.", "by kind"
    )
    probe: ProbeSpec | None = _key(
        shapes.PROBE,
        None,
        'When it is ready: `"none"`, or one of `{ http = "/health/", port = 8000, status = 200 }`, `{ tcp = 5432 }`, '
        '`{ exec = "pg_isready" }`, `{ log = "listening on" }`, `{ redis = "redis://localhost:6380" }`. '
        "`every = 5` in it goes on asking once it is ready.",
        "by kind",
    )
    ready_within: float | None = _key(
        shapes.DURATION, None, "How long it may take to be ready before that is reported.", "by kind"
    )
    grace: float | None = _key(shapes.DURATION, None, "From the request to stop until it is killed.", "by kind")
    stop_signal: str | None = _key(shapes.SIGNAL, None, "The signal that asks it to stop.", "by kind")
    watch: bool | tuple[str, ...] | None = _key(
        shapes.WATCH,
        None,
        "Reload it when Python files that it uses change, in these directories; other files by name or pattern.",
        "by kind",
    )
    reload: str | None = _key(
        shapes.RELOAD,
        None,
        "What a save does. `quiesce`: it takes no more work while new code comes up beside it; `overlap`: it works until the "
        "new one is ready; "
        "`replace`: stop, then start; `own`: nothing, it has a reloader of its own.",
        "by kind: `quiesce` for workers, `overlap` for web servers",
    )
    drain: float | None = _key(
        shapes.DURATION,
        None,
        "How long old code may go on with its tasks or requests after a save.",
        "as long as it takes; `grace` for web servers",
    )
    standby: bool | None = _key(
        shapes.FLAG, None, "Keep a spare process of it, so that new code comes up sooner.", "the top level's"
    )
    env: Mapping[str, str] | None = _key(
        shapes.VARIABLES, None, "Variables for it alone; they win over .env and the environment.", "none"
    )
    cwd: str | None = _key(shapes.TEXT, None, "Where it runs.", "the project's directory")
    instances: int | None = _key(shapes.COUNT, None, "How many of it run; 0 leaves it out.", "`1`")
    oneshot: bool | None = _key(
        shapes.FLAG,
        None,
        "It ends by itself, and the others wait until it has.",
        "true for release, migrate and the like",
    )
    port: int | None = _key(shapes.PORT, None, "PORT of its first instance.", "port, + 100 for each line above it")


class Settings(Keys):
    procfile: str | None = _key(shapes.TEXT, None, "The file that names the processes.", "Procfile.dev, else Procfile")
    env_files: tuple[str, ...] | None = _key(
        shapes.NAMES, None, "Files with variables; a later one wins.", ".env, if there is one"
    )
    env_overrides: bool = _key(shapes.FLAG, False, "Those files win over the environment.")
    port: int | None = _key(
        shapes.PORT, None, "PORT of the first process.", "PORT, else 5000 (8000 on macOS: AirPlay has 5000)"
    )
    venv: str | None = _key(
        shapes.TEXT,
        None,
        'The virtual environment; `"none"` for none.',
        ".venv, venv, env, Poetry's, or the active one",
    )
    formation: str | None = _key(shapes.TEXT, None, 'How many of each: `"worker=2,beat=0"`.', "one of each")
    watch: bool | tuple[str, ...] = _key(
        shapes.WATCH,
        True,
        "Reload programs when Python files that they use change, in these directories; other files by name or pattern.",
    )
    standby: bool = _key(
        shapes.FLAG, True, "Keep a spare of each process that is reloaded, so that new code comes up sooner."
    )
    ready_within: float | None = _key(
        shapes.DURATION, None, "How long a process may take to be ready before that is reported.", "by kind, mostly 60"
    )
    grace: float | None = _key(
        shapes.DURATION, None, "From the request to stop until a process is killed.", "by kind, mostly 10"
    )
    log_size: int = _key(shapes.SIZE, 2_000_000, "A log file that has grown to this is begun anew.", "`2MB`")
    log_count: int = _key(shapes.NUMBER, 5, "How many log files of each process are kept.")
    max_failures: int = _key(shapes.COUNT, 5, "Crashes in a row until a process is left alone.")
    redis: RedisSettings = RedisSettings()
    processes: Mapping[str, ProcessSettings] = MappingProxyType({})
    sources: Mapping[tuple[str, ...], str] = MappingProxyType({})
    """Where each key that is set stands, by path: ("processes", "web", "port") is "devstack.toml:7"."""
    notes: tuple[str, ...] = ()

    def process(self, name: str) -> ProcessSettings:
        return self.processes.get(name) or ProcessSettings()


class Key(Record):
    """One row of the reference."""

    name: str
    words: str
    default: str
    doc: str


def keys(of: type[Keys]) -> list[Key]:
    found = []
    for name, each in of.described.items():
        default = each.shown or f"`{str(each.default).lower()}`"
        found.append(Key(name, each.shape.words, default, each.doc))
    return found


def reference() -> str:
    """All keys as Markdown; it stands in the README, and a test compares the two."""
    parts = []
    tables = (("Top level", Settings), ("`[redis]`", RedisSettings), ("`[processes.NAME]`", ProcessSettings))
    for title, of in tables:
        rows = [f"| `{key.name}` | {key.words} | {key.default} | {key.doc} |" for key in keys(of)]
        parts.append("\n".join([f"**{title}**\n", "| key | value | default | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def read(directory: Path) -> Settings:
    """The settings of the project in `directory`; devstack.toml wins wholly over pyproject.toml."""
    own = directory / "devstack.toml"
    shared = dirs.in_pyproject(str(directory))
    if own.exists():
        settings = parse(text.read(own, "devstack.toml"), "devstack.toml")
        note = "devstack.toml is used; [tool.devstack] in pyproject.toml is not"
        return replace(settings, notes=(note,)) if shared else settings
    if shared:
        content = text.read(directory / "pyproject.toml", "pyproject.toml")
        return parse(content, "pyproject.toml", ("tool", "devstack"))
    return Settings()


def parse(content: str, where: str, inside: tuple[str, ...] = ()) -> Settings:
    """Settings from TOML text; `inside` is the path of the table that holds them."""
    from devstack.config import toml

    document = toml.parse(content, where)
    reader = _Reader(document, inside)
    top: Any = document.values
    for name in inside:
        top = reader.table(top.get(name, {}), ())
    redis = reader.values(reader.table(top.get("redis", {}), ("redis",)), RedisSettings, ("redis",))
    processes = {}
    for name, each in reader.table(top.get("processes", {}), ("processes",)).items():
        path = ("processes", name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            why = "a name has the letters A-Z, a-z, digits, - and _"
            raise DevstackError(f'"{name}" cannot be the name of a process', why=why, where=reader.place(path))
        processes[name] = ProcessSettings(**reader.values(reader.table(each, path), ProcessSettings, path))
    values = reader.values(top, Settings, (), tables=("redis", "processes"))
    return Settings(**values, redis=RedisSettings(**redis), processes=processes, sources=reader.sources)


class _Reader:
    def __init__(self, document: toml.Document, inside: tuple[str, ...]) -> None:
        self.document = document
        self.inside = inside
        self.sources: dict[tuple[str, ...], str] = {}

    def place(self, path: tuple[str, ...]) -> str:
        return self.document.place((*self.inside, *path))

    def table(self, value: object, path: tuple[str, ...]) -> dict[str, object]:
        if isinstance(value, dict):
            return value
        name = ".".join((*self.inside, *path))
        raise DevstackError(
            f"{name} must be a table", why=f"it is {_shown(value)}", fix=f"[{name}]", where=self.place(path)
        )

    def values(
        self, table: dict[str, object], of: type[Keys], path: tuple[str, ...], tables: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        known = {name: each.shape for name, each in of.described.items()}
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name in tables:
                continue
            dotted, place = ".".join((*path, name)), self.place((*path, name))
            if name not in known:
                names = (*known, *tables)
                fix = did_you_mean(name, names) or f"there are {', '.join(names)}"
                raise DevstackError(f'there is no setting "{dotted}"', fix=fix, where=place)
            try:
                values[name] = known[name].read(value)
            except ValueError as error:
                why = str(error) or f"it is {_shown(value)}"
                raise DevstackError(f"{dotted} must be {known[name].words}", why=why, where=place) from None
            self.sources[(*path, name)] = place
        return values


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return f'"{value}"' if isinstance(value, str) else str(value)
