"""`devstack up` as it is typed most often, without click, whose import takes as long as starting ten processes.

It runs when what was typed leaves nothing to interpret: names, and `-f FILE`. In every other case click reads it, and can explain.
"""

from __future__ import annotations

import gc
import os
import sys
from types import ModuleType
from typing import Any

NO_OPTIONS = {"DEVSTACK_STATE_DIR"}
"""Variables of ours that stand for no option of `up`."""
UNUSED = ("inspect", "linecache", "textwrap", "ipaddress", "locale")
"""What asyncio, subprocess and pathlib import and then, mostly, do not use: a fifth of all that is imported."""


def up(words: list[str]) -> None:
    """Comes back when it was something else."""
    if words[:1] != ["up"] or any(name.startswith("DEVSTACK_") for name in os.environ.keys() - NO_OPTIONS):
        return
    names, procfile = list(words[1:]), None
    if "-f" in names[:-1]:
        place = names.index("-f")
        _, procfile = names.pop(place), names.pop(place)
    if any(not word or word.startswith("-") for word in [*names, *([] if procfile is None else [procfile])]):
        return
    from devstack.cli.streams import standard_streams

    standard_streams()
    with _Sparing():
        from devstack.host import here
        from devstack.host.orphans import new_run

        host, run = here(), new_run()
    with host.guard(run) as guard:
        with _Sparing():
            _without_tls()
            from devstack.cli import session
            from devstack.cli.look import look
            from devstack.cli.options import surroundings
            from devstack.config.options import Options
        gc.freeze()
        gc.enable()
        seen = look(timestamps=True, prefix=True, color=None, only=(), hidden=(), as_json=False)
        options = Options(names=tuple(names), procfile=procfile, colour=seen.colour, run=run, **surroundings())
        session.run(options, seen, guard)


def _without_tls() -> None:
    """asyncio as it is where Python was built without ssl: to load OpenSSL takes 5 ms, and the probes that speak TLS do it in threads,
    by themselves.
    """
    if "asyncio" not in sys.modules and "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]
        import asyncio  # noqa: F401

        del sys.modules["ssl"]


class _Later(ModuleType):
    """Stands for a module that is imported when somebody asks it for something."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(__import__(self.__name__), name)


class _Sparing:
    """What is imported inside gets a `_Later` for each module of UNUSED that it imports; what is imported afterwards, the module."""

    def __enter__(self) -> None:
        for name in UNUSED:
            if name not in sys.modules:
                sys.modules[name] = _Later(name)

    def __exit__(self, *_: object) -> None:
        for name in UNUSED:
            if isinstance(sys.modules.get(name), _Later):
                del sys.modules[name]
