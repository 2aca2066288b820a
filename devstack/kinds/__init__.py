"""What devstack knows about known programs. One file a family; each has `recognise(argv, context) -> Kind | None`.

Rule 1: a kind only gives defaults; everything can be overridden in the settings.
Rule 2: recognising is pure: it reads the words of a command and its Context, never the system it runs on. A file it asks the Context for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from devstack.core.model import ProbeSpec
from devstack.core.record import Record


def nothing(file: str) -> str:
    return ""


class Context(Record, aside=("read",)):
    """Where a command runs: `process` ("worker.1"), `instance` from 1, `system` as in sys.platform ("linux", "darwin", "win32").

    `read(file)` is the text of a configuration file of the program, relative to `cwd`; empty when there is none.
    """

    process: str
    instance: int
    system: str
    env: Mapping[str, str]
    cwd: str
    state_dir: str
    read: Callable[[str], str] = nothing
    own_reload: bool = False
    """The program keeps a reloader of its own (`reload = "own"`)."""


NO_PROBE = ProbeSpec()


def unchanged(argv: list[str], context: Context) -> list[str]:
    return argv


class Kind(Record, aside=("arguments",)):
    """Defaults for a command. `after` are the roles that must be ready first; times are seconds.

    `arguments(argv, context)` gives the words to run for one instance (adds a node name, a pool, a schedule file). `channel` asks for
    `inside/boot`. `watch`: restart it when Python files change.. `notes` are sentences to say once.
    """

    name: str = "other"
    role: str = "other"
    probe: ProbeSpec = NO_PROBE
    after: tuple[str, ...] = ("redis", "oneshot")
    ready_within: float | None = 60.0
    grace: float = 10.0
    stop_signal: str = "TERM"
    signal_group: bool = True
    oneshot: bool = False
    watch: bool = False
    reload: str = "replace"
    """What a save does. beside: new code comes up beside the old; replace: stop, then start; own: the program sees to it itself."""
    channel: bool = False
    open_stdin: bool = False
    single: bool = False
    """Never more than one instance (beat)."""
    env: Mapping[str, str] = MappingProxyType({})
    url: str = ""
    """Where a person finds it: http://127.0.0.1:8000"""
    notes: tuple[str, ...] = ()
    arguments: Callable[[list[str], Context], list[str]] = unchanged


OTHER = Kind()
FAMILIES = ("celery", "django", "node", "redis", "servers")


def recognise(argv: Sequence[str], context: Context) -> Kind:
    """The kind of an expanded, unwrapped command line; OTHER when no family knows it."""
    for name in FAMILIES:
        family = importlib.import_module(f"{__name__}.{name}")
        if kind := family.recognise(list(argv), context):
            return cast(Kind, kind)
    return OTHER
