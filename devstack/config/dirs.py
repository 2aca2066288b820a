"""Which directory is a project, and where it keeps what does not belong into it. Light: `devstack ps` waits for this.

Rule 1: the nearest directory that has a Procfile or settings, here or above, not higher than the repository's root.
Rule 2: the key is of the real path, so that every way to a directory leads to the same stack.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Mapping

PROCFILES = ("Procfile.dev", "Procfile")
LOGINS = "/run/user"
"""Where systemd makes a directory for each user who is logged in."""


def nearest(current: str) -> str:
    """The project that `current`, a real path, is in; `current` itself when it is in none."""
    for candidate in _upwards(current):
        if any(os.path.isfile(os.path.join(candidate, name)) for name in PROCFILES) or has_settings(candidate):
            return candidate
    return current


def has_settings(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, "devstack.toml")) or in_pyproject(directory)


def in_pyproject(directory: str) -> bool:
    try:
        with open(os.path.join(directory, "pyproject.toml"), encoding="utf-8", errors="replace") as file:
            return bool(re.search(r"(?m)^\s*\[\s*tool\s*\.\s*devstack\b", file.read()))
    except OSError:
        return False


def identity(project: str) -> tuple[str, str]:
    """A name for people and a key that differs for every directory: ("shop", "3f2a91c0")."""
    real = os.path.normcase(os.path.realpath(project))
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(project).lower()).strip("-")[:30] or "project"
    return name, _sha256(real.encode("utf-8", "surrogateescape"))[:8]


def _sha256(data: bytes) -> str:
    module = "_sha2" if sys.version_info >= (3, 12) else "_sha256"  # hashlib loads OpenSSL, for 3 ms
    with contextlib.suppress(ImportError):
        return str(importlib.import_module(module).sha256(data).hexdigest())
    import hashlib

    return hashlib.sha256(data).hexdigest()


def state(project: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The directories for what is kept (logs, schedules, data) and for what lives as long as a run (sockets).

    DEVSTACK_STATE_DIR moves both. Without XDG_RUNTIME_DIR, a name in /tmp is what anybody could have made first; the state directory is
    private.
    """
    called = "-".join(identity(project))
    if moved := environ.get("DEVSTACK_STATE_DIR"):
        both = os.path.join(os.path.abspath(moved), called)
        return both, both
    kept, living = _on_linux(environ) or _anywhere()
    return os.path.join(kept, called), os.path.join(living, called)


def _anywhere() -> tuple[str, str]:
    """The user's directories for devstack."""
    import warnings

    import platformdirs

    kept = platformdirs.user_state_dir("devstack", appauthor=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return kept, platformdirs.user_runtime_dir("devstack", appauthor=False)
        except Warning:
            return kept, kept


def _on_linux(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The same without platformdirs, whose import takes 7 ms. None when there is something unusual, for it knows much more."""
    home, living = environ.get("HOME", ""), environ.get("XDG_RUNTIME_DIR")
    kept = os.path.join(environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state"), "devstack")
    with contextlib.suppress(OSError):
        user = os.stat("/proc/self").st_uid
        if not os.path.isabs(home) or not os.path.isabs(kept):
            return None
        if not living:
            return kept, kept
        found = os.lstat(living)
        if living == os.path.join(LOGINS, str(user)) and found.st_uid == user and found.st_mode == 0o40700:
            return kept, os.path.join(living, "devstack")
    return None


def _upwards(start: str) -> list[str]:
    """`start` and the directories above it to the repository's root; `start` alone outside of a repository."""
    above = [start]
    while (parent := os.path.dirname(above[-1])) != above[-1]:
        above.append(parent)
    for number, each in enumerate(above):
        if os.path.exists(os.path.join(each, ".git")) or os.path.exists(os.path.join(each, ".hg")):
            return above[: number + 1]
    return [start]
