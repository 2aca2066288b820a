"""A virtual environment in the checkout with devstack in it: made once, and brought up to date when pyproject.toml has changed.

Rule 1: standard library only; this runs before anything is installed.
Rule 2: each step says what it does and how long it took; what pip said is shown only when it failed.
Rule 3: an environment that somebody else made is used if it works, and never deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
STAMP = "made-by-devstack"
"""In an environment that we made: the checkout it was made for (its scripts hold that path), and what was installed."""
LAST_LINES = 40


class Failed(Exception):
    """With a sentence for the person."""


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns what went wrong into a sentence and an exit code."""
    try:
        yield
    except (Failed, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def ready(name: str, requirements: Sequence[str]) -> str:
    """The Python of the environment `name` in the checkout. The first requirement is the checkout itself: `.`, with extras."""
    directory = ROOT / name
    python = directory / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = directory / STAMP
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + "\n".join(requirements).encode()).hexdigest()
    done = f"{ROOT}\n{digest}\n"
    found = stamp.read_text("utf-8") if stamp.exists() else None
    if found == done and _works(python):
        return str(python)
    moved = found is not None and not found.startswith(f"{ROOT}\n")
    if moved or not _works(python):
        if directory.exists() and found is None:
            raise Failed(
                f"{directory} is not a virtual environment with Python 3.11 or newer; move it away and try again"
            )
        _make(directory, stamp)
    if not _succeeds([str(python), "-m", "pip", "--version"]):
        # uv makes environments without pip.
        step(f"putting pip into {name}", [str(python), "-m", "ensurepip"])
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    step(f"installing devstack and what it needs into {name}", [*pip, "--editable", *requirements])
    stamp.write_text(done, "utf-8")
    return str(python)


def _make(directory: Path, stamp: Path) -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        fix = (
            f"apt install {package}"
            if shutil.which("apt")
            else "install a complete Python, from python.org for instance"
        )
        raise Failed(f"this Python cannot make virtual environments, a part of it is missing; try: {fix}")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir()
    # At once, so that one that was interrupted is known as ours.
    stamp.write_text(f"{ROOT}\n", "utf-8")
    step(f"making {directory.name}", [sys.executable, "-m", "venv", str(directory)])


def _works(python: Path) -> bool:
    return python.exists() and _succeeds([str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"])


def _succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def step(what: str, command: Sequence[str]) -> None:
    """Run a command in the checkout and show how long it has taken so far. Failed, after its last lines, when it did not succeed."""
    on_terminal = sys.stdout.isatty()
    began = time.monotonic()
    print(f"{what} ...", end="", flush=True)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                if on_terminal:
                    print(f"\r{what} ... {time.monotonic() - began:.0f} s", end="", flush=True)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        print(f"\r{what} ... " if on_terminal else " ", end="")
        print(f"{time.monotonic() - began:.1f} s" if process.returncode == 0 else "failed", flush=True)
        if process.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()[-LAST_LINES:]
            print("\n".join(f"  {line}" for line in lines), flush=True)
            raise Failed(f"`{' '.join(command)}` exited {process.returncode}")


def become(command: Sequence[str]) -> NoReturn:
    """Run it in place of this process, so that signals for this one reach it."""
    if sys.platform == "win32":
        # There, exec returns to the shell at once.
        sys.exit(subprocess.call(command))
    os.execv(command[0], list(command))
