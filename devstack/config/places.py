"""Where a project is: its directory, its Procfile and its .env files.

Rule 1: the directory is `-C`, else that of the Procfile named by `-f`, else the current one or the nearest above it that has a Procfile or
settings, not higher than the repository's root (as git looks for itself).
Rule 2: the Procfile is `-f`, else the `procfile` of the settings, else Procfile.dev, else Procfile.
"""

from __future__ import annotations

import os
from pathlib import Path

from devstack.config import dirs, settings
from devstack.config.options import Options
from devstack.errors import DevstackError, did_you_mean


def directory(options: Options) -> tuple[Path, list[str]]:
    """The project's directory and notes about how it was found."""
    asked, procfile, current = options.directory, options.procfile, options.current
    if asked is not None:
        found = current / asked
        if not found.is_dir():
            what = f"{asked} is not a directory" if found.exists() else f"there is no directory {asked}"
            raise DevstackError(what, where=options.source("directory"))
        return found.resolve(), []
    if procfile is not None:
        found = _existing(procfile, (current,), options.source("procfile")).parent.resolve()
        if found == current.resolve():
            return found, []
        note = f"runs in {called(found, current)}, where the Procfile is; add -C . to run in the current directory"
        return found, [note]
    found = Path(dirs.nearest(str(current.resolve())))
    return found, [] if found == current.resolve() else [f"the project is {found}"]


def procfile(options: Options, chosen: settings.Settings, project: Path) -> tuple[Path | None, str]:
    """The Procfile and who named it; None when there is none and the settings have processes of their own."""
    if options.procfile is not None:
        source = options.source("procfile")
        return _existing(options.procfile, (project, options.current), source), source
    if chosen.procfile is not None:
        return _existing(chosen.procfile, (project,), chosen.sources[("procfile",)]), chosen.sources[("procfile",)]
    for name in dirs.PROCFILES:
        if (project / name).exists() or (project / name).is_symlink():
            return _existing(name, (project,), ""), "default"
    if any(each.command for each in chosen.processes.values()):
        return None, "default"
    from devstack.config import suggest

    raise DevstackError(f"there is no Procfile in {project}", why=_others(project), fix=suggest.sentence(project))


def env_files(options: Options, chosen: settings.Settings, project: Path) -> tuple[list[tuple[Path, str]], str]:
    """The .env files with their names for messages, and who named them."""
    if options.env_files is not None:
        source = options.source("env_files")
        found = [_first(each, (project, options.current)) for each in options.env_files]
    elif chosen.env_files is not None:
        source, found = chosen.sources[("env_files",)], [project / each for each in chosen.env_files]
    else:
        source, found = "default", [each for each in [project / ".env"] if each.is_file()]
    return [(each, called(each, project)) for each in found], source


def called(path: Path, near: Path) -> str:
    """How messages call a path: relative when it lies below `near`."""
    path = Path(os.path.abspath(path))
    base = Path(os.path.abspath(near))
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _first(name: str, places: tuple[Path, ...]) -> Path:
    """`name` in the first of `places` that has it, else where it would be in the first."""
    return next((place / name for place in places if (place / name).exists()), places[0] / name)


def _existing(name: str, places: tuple[Path, ...], where: str) -> Path:
    found = _first(name, places)
    if found.exists():
        return found
    if found.is_symlink():
        what = f"{name} is a link to {os.readlink(found)}, which does not exist"
        raise DevstackError(what, fix="remove the link, or let it lead to a Procfile", where=where)
    there = _lookalikes(places[0])
    near = did_you_mean(name, there) or (f"there is {', '.join(there)}" if there else "")
    raise DevstackError(f"{name} does not exist", why=f"looked in {places[0]}", fix=near, where=where)


def _lookalikes(place: Path) -> list[str]:
    """Files that are perhaps meant: Procfile-dev, procfile, Procfile.txt, docker/web/Procfile."""
    from devstack.config import suggest

    try:
        return sorted(called(each, place) for each in suggest.files(place) if each.name.lower().startswith("procfile"))
    except OSError:
        return []


def _others(place: Path) -> str:
    there = [name for name in _lookalikes(place) if name != "Procfile.example"]
    return f"but there is {', '.join(there)}: devstack up -f {there[0]}" if there else ""
