"""The names of processes, as a shell offers them while a person types: of the running stack, else of the Procfile."""

from __future__ import annotations

import os
import re
from typing import Any

import click

ENTRY = re.compile(r"^([A-Za-z0-9_-]+):\s*\S", re.MULTILINE)


def offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Nothing that goes wrong here is worth a word."""
    given: dict[str, Any] = context.params
    try:
        found = _known(given.get("procfile"), given.get("directory"))
    except Exception:
        return []
    taken = given.get(parameter.name or "") or ()
    return [name for name in found if name.startswith(incomplete) and name not in taken]


def counted(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """For `scale`."""
    return [f"{name}=" for name in offered(context, parameter, incomplete) if "." not in name]


def _known(procfile: str | None, directory: Any) -> list[str]:
    from devstack.cli.live import Place
    from devstack.config.dirs import PROCFILES
    from devstack.control import client

    place = Place(procfile, str(directory) if directory else None)
    try:
        answer = client.one(place.runtime, "names")
        return [*map(str, answer["services"]), *map(str, answer["processes"])]  # type: ignore[call-overload]
    except (client.NotRunning, client.Lost, client.Refused, OSError):
        pass
    for path in [procfile] if procfile else [os.path.join(place.project, name) for name in PROCFILES]:
        try:
            with open(path, encoding="utf-8-sig", errors="replace") as file:
                return ENTRY.findall(file.read())
        except FileNotFoundError:
            continue
    return []
