"""Which virtual environment a command belongs to, which program a word means, and how `inside/boot` gets in front of a Python program.

Rule 1: nobody has to activate anything: the project's venv is found and put first on the PATH.
Rule 2: `boot` never guesses: what is not surely a Python program is started as it is, without a channel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

BOOT = str(Path(__file__).parents[1] / "inside" / "boot.py")
NAMES = (".venv", "venv", "env")
POETRY_WITHIN = 5.0
PYTHON = re.compile(r"(python|pypy)[0-9.]*(\.exe)?", re.IGNORECASE)
# Python's own options that take the next word when their value is not attached.
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


@dataclass(frozen=True, slots=True)
class Venv:
    """`bin` holds its programs; `source` says where it was found."""

    path: Path
    bin: Path
    source: str


def find_venv(directories: Iterable[Path], environ: Mapping[str, str]) -> Venv | None:
    """The venv in one of `directories`, nearest first; else the activated one (VIRTUAL_ENV); else Poetry's."""
    directories = list(directories)
    for directory in directories:
        for name in NAMES:
            if venv := _venv(directory / name, f"{name} in {directory.name or directory}"):
                return venv
    if (active := environ.get("VIRTUAL_ENV")) and (venv := _venv(Path(active), "VIRTUAL_ENV")):
        return venv
    for directory in directories:
        if venv := _poetry(directory, environ):
            return venv
    return None


def with_venv(env: Mapping[str, str], venv: Venv) -> dict[str, str]:
    """The environment that activating it gives."""
    path = os.pathsep.join([str(venv.bin), *filter(None, [env.get("PATH", os.defpath)])])
    changed = {**env, "PATH": path, "VIRTUAL_ENV": str(venv.path)}
    changed.pop("PYTHONHOME", None)
    return changed


def which(program: str, env: Mapping[str, str], cwd: str) -> str | None:
    """The file that `program` means in `env` and `cwd`, as execvp would find it."""
    if os.path.dirname(program):
        found = os.path.normpath(os.path.join(cwd, program))
        return found if os.path.isfile(found) and os.access(found, os.X_OK) else None
    path = os.pathsep.join(os.path.join(cwd, entry) for entry in env.get("PATH", os.defpath).split(os.pathsep))
    return shutil.which(program, path=path)


def boot(argv: list[str], env: Mapping[str, str], cwd: str) -> list[str] | None:
    """`argv` with inside/boot in front of its program; None when it is no Python program, or one without a script or module."""
    if PYTHON.fullmatch(os.path.basename(argv[0])):
        at = 1
        while at < len(argv) and argv[at].startswith("-") and argv[at] not in ("-m", "-c", "-"):
            if re.match(r"-[A-Za-z]*m$", argv[at]) and not argv[at].startswith("--"):
                return None  # -um and the like: rare, and easily written as -u -m
            at += 2 if argv[at] in WITH_VALUE else 1
        if at >= len(argv) or argv[at] in ("-c", "-"):
            return None
        if argv[at] == "-m":
            return [*argv[:at], BOOT, "module", *argv[at + 1 :]] if at + 1 < len(argv) else None
        return [*argv[:at], BOOT, "script", *argv[at:]]
    script = which(argv[0], env, cwd)
    interpreter = _shebang(script) if script else None
    return [*interpreter, BOOT, "script", str(script), *argv[1:]] if interpreter else None


def _venv(path: Path, source: str) -> Venv | None:
    if not (path / "pyvenv.cfg").is_file():
        return None
    programs = next((path / name for name in ("bin", "Scripts") if (path / name).is_dir()), None)
    return Venv(path, programs, source) if programs else None


def _poetry(directory: Path, environ: Mapping[str, str]) -> Venv | None:
    """The venv that Poetry keeps elsewhere. Asked only where a pyproject.toml speaks of Poetry, since the answer takes a second."""
    try:
        if "[tool.poetry" not in (directory / "pyproject.toml").read_text("utf-8"):
            return None
        poetry = shutil.which("poetry", path=environ.get("PATH"))
        if poetry is None:
            return None
        done = subprocess.run(
            [poetry, "env", "info", "-p"],
            cwd=directory,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=POETRY_WITHIN,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return _venv(Path(done.stdout.strip()), "poetry env info") if done.returncode == 0 and done.stdout.strip() else None


def _shebang(script: str) -> list[str] | None:
    """The Python that a console script names in its first line, with its flags.

    pip writes `#!/bin/sh` and an `exec` in the second line when the path of the interpreter is too long or has spaces.
    """
    try:
        with open(script, "rb") as file:
            head = file.read(1024).decode("utf-8", "replace").split("\n")
    except OSError:
        return None
    if not head[0].startswith("#!"):
        return None
    words = head[0][2:].split()
    if (
        words[:1] == ["/bin/sh"]
        and len(head) > 1
        and (match := re.match(r"""'''exec' "?([^"]+?)"? "\$0" "\$@\"""", head[1]))
    ):
        words = [match[1]]
    return words if words and PYTHON.fullmatch(os.path.basename(words[0])) and os.path.isabs(words[0]) else None
