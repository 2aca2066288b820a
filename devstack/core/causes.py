"""Why a process ended, as far as its exit code and its last lines tell.

Rule 1: `hopeless` only when starting the same thing again cannot help before somebody changes a file.
Rule 2: a guess is never presented as a fact: without a match the last line speaks for itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from devstack.core.names import exit_sentence
from devstack.errors import did_you_mean

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class Cause:
    """`why` is one sentence; `fix` what to do about it, if known."""

    why: str
    hopeless: bool = False
    fix: str = ""


# Pattern in the last lines → the fix, with the pattern's groups filled in. Each of them stays wrong until a file, a package or a
# setting changes, so it is not tried again before that.
HOPELESS: tuple[tuple[str, str], ...] = (
    (r"No module named '?([\w.]+)'?", "install it into the project's environment: pip install {0}"),
    (
        r"^(?:/bin/)?(?:ba|da|z)?sh: (?:\d+: |line \d+: )?(?:exec: )?([^:\s]+): (?:command )?not found",
        "is {0} installed, and is its venv beside the Procfile?",
    ),
    (
        r"Error: Invalid value for '-A' / '--app': ?\n?(?:Unable to load celery application\.)?\n?(.*)",
        "check the module after -A",
    ),
    (r"^Error: No such (?:command|option):? (.+?)\.?$", "check the spelling in the Procfile"),
    (r"ImproperlyConfigured: (.+)", "set it in .env or in the settings"),
    (r"can't open file '([^']+)'", "check the path in the Procfile; `cd DIR &&` in front changes the directory"),
    (r"^((?:SyntaxError|IndentationError|TabError): .+)", "correct the file and save it"),
    (r"^KeyError: '([A-Z][A-Z0-9_]+)'", "set {0} in .env"),
)


def cause_of(code: int, tail: str, *, modules: Sequence[str] = ()) -> Cause:
    """What ended a process that nobody asked to stop. `modules` are the importable names of its directory, for a spelling hint."""
    sentence = exit_sentence(code)
    if code == 0:
        return Cause(sentence)
    lines = [line.strip() for line in ANSI.sub("", tail).splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if code < 0:
        return Cause(sentence + (", out of memory?" if code == -9 else ""))
    recent = "\n".join(lines[-15:])
    for pattern, fix in HOPELESS:
        found = list(re.finditer(pattern, recent, re.MULTILINE))
        if found:
            match = found[-1]
            what = match[0].strip().splitlines()[-1][:LONGEST_REASON]
            missing = match[1].split(".")[0] if pattern.startswith("No module") else ""
            near = did_you_mean(missing, list(modules)) if missing else ""
            return Cause(f"{sentence}: {what}", True, near or fix.format(*match.groups()))
    return Cause(f"{sentence}: {last[:LONGEST_REASON]}" if last else sentence)
