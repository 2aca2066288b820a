"""Programs and scripts that lines of the Procfile name and that are not there: `up` would stumble over them at once.

Rule: the shell says whether it can read a line for it, and no more; a word that a shell or devstack would replace is not judged.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from typing import Final

from devstack.config.interpreter import which
from devstack.config.load import Project
from devstack.core.model import Launch, Service
from devstack.errors import DevstackError, did_you_mean
from devstack.kinds.arguments import is_python, python_program

_USUAL: Final = (
    *("python", "python3", "celery", "gunicorn", "uvicorn", "daphne", "hypercorn", "granian", "flask"),
    *("npm", "npx", "pnpm", "yarn", "node", "redis-server"),
)
SHELL, READ_WITHIN = "/bin/sh", 5.0
_PLAIN: Final = re.compile(r"[\w./-]+")


def absent(project: Project) -> list[DevstackError]:
    return [error for service in project.services for error in _missing(service)]


def _missing(service: Service) -> list[DevstackError]:
    launch = service.launch(1)
    if launch.shell:
        return _unreadable(service, launch)
    if not launch.argv:
        return []
    if which(launch.argv[0], launch.env, launch.cwd) is None:
        program = os.path.basename(launch.argv[0])
        near = "" if program in _USUAL else did_you_mean(program, _USUAL)
        fix = near or f"is {program} installed, and is its venv beside the Procfile?"
        return [DevstackError(f"{service.name}: {launch.argv[0]} is not found", fix=fix, where=service.where)]
    script = _script(service.command)
    if script and not os.path.exists(os.path.join(launch.cwd, script)):
        fix = "check the path in the Procfile; `cd DIR &&` in front changes the directory"
        why = f"there is no such file in {launch.cwd}"
        return [DevstackError(f"{service.name}: {script} is not found", why=why, fix=fix, where=service.where)]
    return []


def _unreadable(service: Service, launch: Launch) -> list[DevstackError]:
    shell = SHELL if os.path.exists(SHELL) else which("sh", launch.env, launch.cwd)
    if shell is None:
        return []
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        ran = subprocess.run(
            [shell, "-n", "-c", *launch.argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=READ_WITHIN
        )
        if ran.returncode:
            said = re.sub(
                r"^.*?\bsh: (line )?\d*(: )?(-c: )?", "", ran.stderr.decode(errors="replace").partition("\n")[0]
            )
            what, fix = f"{service.name}: sh cannot read this line", "correct it; sh knows less than bash does"
            return [DevstackError(what, why=said, fix=fix, where=service.where)]
    return []


def _script(command: str) -> str:
    """The file that a line such as `python manage.py runserver` runs; empty for any other line."""
    words = command.split()
    ran = python_program(words) if words and is_python(words[0]) else None
    return ran.what if ran and ran.how == "script" and _PLAIN.fullmatch(ran.what) else ""
