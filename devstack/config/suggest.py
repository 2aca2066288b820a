"""A Procfile to start from, made from what a directory holds. It only reads text: nothing of the project is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = {
    *("node_modules", "venv", "env", "site-packages", "dist", "build"),
    *("static", "media", "tests", "test", "docs"),
}
_DEPTH = 4
_ENTRIES = 5000
"""Enough for any project, and it bounds the search in somebody's home directory."""
_APP = re.compile(r"(?m)^(?!\s*#).*=\s*Celery\(")
_FAVOURITES = ("celery.py", "celery_app.py", "celeryapp.py", "worker.py", "tasks.py")


def sentence(directory: Path) -> str:
    """What to do about a missing Procfile: a file to write."""
    return "write this into a file named Procfile:\n" + "\n".join(lines(directory))


def lines(directory: Path) -> list[str]:
    python = [each for each in files(directory) if each.suffix == ".py"]
    manage = next((each for each in python if each.name == "manage.py"), None)
    found = []
    if manage:
        cd = _cd(manage.parent, directory)
        found += [f"release: {cd}python manage.py migrate", f"web: {cd}python manage.py runserver"]
    if app := _app(python, directory):
        name, cd = app[0], _cd(app[1], directory)
        found.append(f"worker: {cd}celery -A {name} worker --loglevel=INFO")
        if any(re.search(r"beat_schedule|BEAT_SCHEDULE|django_celery_beat", _read(each)) for each in python):
            found.append(f"beat: {cd}celery -A {name} beat --loglevel=INFO")
    return found or ["web: python manage.py runserver", "worker: celery -A PROJECT worker --loglevel=INFO"]


def celery_app(directory: Path) -> tuple[str, Path] | None:
    """The Celery app that a project seems to have, as `-A` takes it, and the directory in which that works."""
    return _app([each for each in files(directory) if each.suffix == ".py"], directory)


def _app(python: list[Path], directory: Path) -> tuple[str, Path] | None:
    manage = next((each for each in python if each.name == "manage.py"), None)
    app = _celery(python)
    if app is None:
        return None
    root = manage.parent if manage and app.is_relative_to(manage.parent) else _root(app, directory)
    return _module(app, root), root


def files(directory: Path) -> Iterator[Path]:
    """The files of a project that a person wrote, those nearest to the top first."""
    level, seen = [directory], 0
    for _ in range(_DEPTH):
        below: list[Path] = []
        for place in level:
            if seen > _ENTRIES:
                return
            try:
                entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                seen += 1
                if not entry.is_dir(follow_symlinks=False):
                    yield Path(entry.path)
                elif not entry.name.startswith((".", "__")) and entry.name not in _SKIPPED:
                    below.append(Path(entry.path))
        level = below


def _celery(python: list[Path]) -> Path | None:
    """The file that makes the Celery app; one with a usual name rather than a decoy such as Celery("tasks") somewhere."""
    makers = [each for each in python if _APP.search(_read(each))]
    rank = {name: number for number, name in enumerate(_FAVOURITES)}
    return min(makers, key=lambda each: rank.get(each.name, len(rank)), default=None)


def _root(app: Path, directory: Path) -> Path:
    """Where imports of `app` start: above its outermost package."""
    root = app.parent
    while (root / "__init__.py").exists() and root != directory:
        root = root.parent
    return root


def _module(app: Path, root: Path) -> str:
    """`shop` for shop/celery.py (Celery looks there by itself), `shop.worker` for shop/worker.py."""
    parts = app.relative_to(root).with_suffix("").parts
    if len(parts) > 1 and parts[-1] in ("celery", "__init__"):
        parts = parts[:-1]
    return ".".join(parts)


def _cd(place: Path, directory: Path) -> str:
    return "" if place == directory else f"cd {place.relative_to(directory).as_posix()} && "


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace") if path.stat().st_size < 500_000 else ""
    except OSError:
        return ""
