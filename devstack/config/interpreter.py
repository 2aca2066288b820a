"""Which Python a project's commands run on: its virtual environment, found without anybody activating it; and how a Python program is
started through `inside/boot.py`.

Rule 1: the nearest environment counts: one beside the command, then Poetry's, then the one that is active.
Rule 2: a program is run by the very interpreter that would have run it, with its flags in their place.
Rule 3: what differs on Windows depends on `system`, never on where this runs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from devstack.core.record import Record
from devstack.kinds.arguments import is_python, python_program

CHAIN = str(Path(__file__).parents[1] / "host" / "chain.py")
BOOT = str(Path(__file__).parents[1] / "inside" / "boot.py")
NAMES = (".venv", "venv", "env")
POETRY_WITHIN = 5.0
_BARE = re.compile(r"(?:python[0-9.]*|py)(?:\.exe)?", re.IGNORECASE)
_MODULES = {"celery": "celery", "flower": "flower"}
"""Launchers on Windows are .exe files without a shebang that could be read; those that we start are also modules."""


class Venv(Record):
    path: Path
    bin: Path
    source: str


def find_venv(directories: Iterable[Path], environ: Mapping[str, str]) -> Venv | None:
    """The environment of a project that lies in `directories`, the nearest first."""
    directories = list(directories)
    for directory in directories:
        for name in NAMES:
            if found := _venv(directory / name, f"{name} in {directory}"):
                return found
    for directory in directories:
        if found := _poetrys(directory, environ):
            return found
    active = environ.get("VIRTUAL_ENV")
    return _venv(Path(active), "VIRTUAL_ENV") if active else None


def _venv(path: Path, source: str) -> Venv | None:
    """Only one that has a Python: `env` may be any directory, and an environment may have lost its interpreter."""
    for scripts, python in (("bin", "python"), ("Scripts", "python.exe")):
        if (path / scripts / python).is_file():
            return Venv(path, path / scripts, source)
    return None


def _poetrys(directory: Path, environ: Mapping[str, str]) -> Venv | None:
    """Poetry keeps environments in its cache, under a name that only it knows."""
    try:
        if not re.search(r"^\s*\[tool\.poetry[.\]]", (directory / "pyproject.toml").read_text("utf-8"), re.MULTILINE):
            return None
    except (OSError, UnicodeDecodeError):
        return None
    poetry = which("poetry", environ, str(directory))
    if poetry is None:
        return None
    try:
        ran = subprocess.run(
            [poetry, "env", "info", "-p"],
            cwd=directory,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=POETRY_WITHIN,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    path = ran.stdout.strip()
    return _venv(Path(path), "poetry env info") if ran.returncode == 0 and path else None


def with_venv(env: Mapping[str, str], venv: Venv) -> dict[str, str]:
    """`env` as after activation."""
    changed = {name: value for name, value in env.items() if name != "PYTHONHOME"}
    first, rest = str(venv.bin), env.get("PATH", os.defpath)
    if rest.split(os.pathsep)[0] != first:
        changed["PATH"] = f"{first}{os.pathsep}{rest}" if rest else first
    changed["VIRTUAL_ENV"] = str(venv.path)
    return changed


def which(program: str, env: Mapping[str, str], cwd: str) -> str | None:
    """The file that `program` names in that environment and directory."""
    import shutil

    if os.path.dirname(program):
        return shutil.which(os.path.join(cwd, program))
    places = env.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(program, path=os.pathsep.join(os.path.join(cwd, place) for place in places))


def at_home(argv: Sequence[str], env: Mapping[str, str], cwd: str, system: str) -> list[str]:
    """On Windows a bare `python`, `python3` or `py` as the project's: an environment has no python3.exe there, and what is found instead
    may be the alias of the store, which runs nothing."""
    if system != "win32" or not argv or not _BARE.fullmatch(argv[0]):
        return list(argv)
    if argv[0].lower().startswith("py") and re.fullmatch(r"-\d[\d.]*(-\d+)?|-V:.*", "".join(argv[1:2])):
        argv = [argv[0], *argv[2:]]  # `py -3.12` chooses among installed Pythons.
    venv = env.get("VIRTUAL_ENV")
    own = Path(venv, "Scripts", "python.exe") if venv else None
    if own and own.is_file():
        return [str(own), *argv[1:]]
    return [which("python.exe", env, cwd) or argv[0], *argv[1:]]


def chain(steps: Sequence[tuple[str, str, Mapping[str, str], Sequence[str]]]) -> list[str]:
    """The words that run several programs one after the other without a shell: each with the joiner before it, its directory and its
    variables."""
    import json

    return [
        sys.executable,
        "-I",
        CHAIN,
        json.dumps([[each[0], each[1], dict(each[2]), list(each[3])] for each in steps]),
    ]


def boot(argv: Sequence[str], env: Mapping[str, str], cwd: str, system: str = "") -> list[str] | None:
    """The words that run the same program through `inside/boot.py`; None when it is not a Python program that we can tell."""
    if not argv:
        return None
    if is_python(argv[0]):
        argv = at_home(argv, env, cwd, system)
        ran = python_program(argv)
        return [argv[0], *ran.flags, BOOT, ran.how, ran.what, *ran.arguments] if ran else None
    found = which(argv[0], env, cwd)
    if found is None and system == "win32":
        found = which(f"{argv[0]}.exe", env, cwd)
    if found is None:
        return None
    if system == "win32" and found.lower().endswith(".exe"):
        return _launcher(Path(found), argv[1:])
    python = _shebang(Path(found), env, cwd)
    return [*python, BOOT, "script", found, *argv[1:]] if python else None


def _launcher(path: Path, arguments: Sequence[str]) -> list[str] | None:
    """`celery.exe worker` → `python.exe boot.py module celery worker`."""
    module = _MODULES.get(path.stem.lower())
    pythons = (path.with_name("python.exe"), path.parent.with_name("python.exe"))
    python = next((each for each in pythons if each.is_file()), None)
    return [str(python), BOOT, "module", module, *arguments] if module and python else None


def _shebang(path: Path, env: Mapping[str, str], cwd: str) -> list[str] | None:
    """The interpreter and its flags that a script asks for, if that is Python.

    Where the path of the interpreter has blanks or is too long, installers write a script for sh that is Python too:
    `#!/bin/sh`, then `'''exec' "/a path/python" "$0" "$@"`. uv's relocatable form has a `"$(dirname …)"/'python'` there.
    """
    try:
        with path.open("rb") as file:
            first, second = (file.readline(4096).decode(errors="surrogateescape").rstrip() for _ in range(2))
    except OSError:
        return None
    if not first.startswith("#!"):
        return None
    if re.fullmatch(r"#!\s*/bin/(ba)?sh", first) and second.startswith("'''exec' "):
        second = second[len("'''exec' ") :]
        if second.startswith('"$(dirname '):
            name = re.search(r"/'?([^/'\"$ ]+)'? \"\$0\"", second)
            return [str(path.resolve().with_name(name[1]))] if name else None
        try:
            words = shlex.split(second)
        except ValueError:
            return None
        words = words[: words.index("$0")] if "$0" in words else words
    else:
        # The system passes all that follows the interpreter as one word.
        words = first[2:].strip().split(None, 1)
        if words and os.path.basename(words[0]) == "env":
            words = words[1].split() if len(words) > 1 else []
            words = words[1:] if words[:1] == ["-S"] else words
            found = which(words[0], env, cwd) if words else None
            words = [found, *words[1:]] if found else []
    return words if words and is_python(words[0]) else None
