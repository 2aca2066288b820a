"""Lays the demo shop out in a directory.

Rule 1: a directory with files of somebody else is refused; nothing in it is touched.
Rule 2: laid out again, files that somebody edited stay as they are, and the others are brought up to date. The file `.devstack-demo`
remembers what each was when we wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from devstack.errors import DevstackError

MARKER = ".devstack-demo"
_ELSEWHERE = "name another directory: devstack demo DIR"


def lay_out(directory: Path) -> bool:
    """Write the shop; True when it was not there before. DevstackError when the directory is somebody else's, or not writable."""
    try:
        return _lay_out(directory)
    except OSError as error:
        why = f"{error.filename or directory}: {error.strerror or error}"
        raise DevstackError(f"cannot write the demo shop to {directory}", why=why, fix=_ELSEWHERE) from None


def _lay_out(directory: Path) -> bool:
    marker = directory / MARKER
    is_new = not marker.exists()
    if is_new:
        if directory.exists() and (stranger := next(directory.iterdir(), None)):
            why = f"it has files that are not the demo shop's, {stranger.name} for one"
            raise DevstackError(f"the demo shop is not put into {directory}", why=why, fix=_ELSEWHERE)
        directory.mkdir(parents=True, exist_ok=True)
        # First of all, so that a layout that is interrupted here is ours the next time.
        marker.write_text("{}\n", "utf-8")
    remembered = _read(marker)
    for name, content in shop().items():
        target = directory / name
        there, ours = (_digest(target.read_bytes()) if target.exists() else None), _digest(content)
        if there in (None, remembered.get(name)) and there != ours:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            there = ours
        if there == ours:
            remembered[name] = ours
    marker.write_text(json.dumps(remembered, indent=1) + "\n", "utf-8")
    return is_new


def shop() -> dict[str, bytes]:
    """The files of the project by their path in it, with `/`."""
    return dict(_below(files("devstack.demo") / "project", ""))


def _below(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(directory.iterdir(), key=lambda each: each.name):
        if entry.is_file() and not entry.name.endswith(".pyc"):
            yield f"{prefix}{entry.name}", entry.read_bytes()
        elif entry.is_dir():
            yield from _below(entry, f"{prefix}{entry.name}/")


def _read(marker: Path) -> dict[str, str]:
    """Digests by name. A marker that was damaged remembers nothing: then every file that differs counts as edited."""
    try:
        found = json.loads(marker.read_text("utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()
