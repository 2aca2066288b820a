"""Why a process ended, as far as its exit code and its last lines tell.

Rule 1: `hopeless` only when starting the same thing again cannot help before somebody changes a file, a package or a setting.
Rule 2: a guess is never presented as a fact: what is not known speaks for itself, with the line that says most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devstack.core.names import exit_sentence
from devstack.core.record import Record
from devstack.errors import did_you_mean

# Compiled when something has crashed, not at each start.
ANSI = r"\x1b\[[0-9;?]*[A-Za-z]"
EXCEPTION = r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Configured|Unavailable|Exit|Refused|NotFound|Failure)\b.*"
FRAME = r'File "(?P<file>[^"]+)", line (?P<line>\d+)'
GROUP, GROUPED = "Exception Group Traceback", r"(?m)^[ \t]*[|+][|+ \t-]*(?:\d+ -+$)?"
"""The frame that Python draws around the exceptions of a group."""
LONGEST_REASON = 160
RECENT = 25
"""Lines that are looked at: a traceback's end, and what a program says about it."""


class Cause(Record):
    """`why` is one sentence; `fix` what to do about it, if known."""

    why: str
    hopeless: bool = False
    fix: str = ""


class Known(Record):
    """A line that tells the cause. The groups of `pattern` fill in `fix`; `is_module`: the first one may be misspelt."""

    pattern: str
    fix: str
    is_module: bool = False
    hopeless: bool = True


INSTALL = "install it into the project's environment: pip install {0}"
KNOWN = (
    Known(r"No module named '?([\w.]+)'?", INSTALL, is_module=True),
    Known(r"^The module ([\w.]+) was not found", "check the module after -A", is_module=True),
    Known(
        r"^(?:/bin/)?(?:ba|da|z)?sh: (?:\d+: |line \d+: )?(?:exec: )?([^:\s]+): (?:command )?not found",
        "is {0} installed, and is its venv beside the Procfile?",
    ),
    Known(r"^(?:/bin/)?sh: (?:\d+: |line \d+: )?[Ss]yntax error\b.*", "correct the line in the Procfile"),
    Known(r"^Error: No such (?:command|option):? (.+?)\.?$", "check the spelling in the Procfile"),
    Known(r"ImproperlyConfigured: (.+)", "set it in .env or in the settings"),
    Known(r"can't open file '([^']+)'", "check the path in the Procfile; `cd DIR &&` in front changes the directory"),
    Known(r"^((?:SyntaxError|IndentationError|TabError): .+)", "correct the file"),
    Known(r"^KeyError: '([A-Z][A-Z0-9_]+)'", "set {0} in .env"),
    Known(r"^(?:Error: )?Unable to load celery application\.\n(.+)", "check the module after -A"),
    Known(
        r"(?:.*WinError 10013\b.*|.*don't have permission to access that port\.?)",
        "take another port: those below 1024 may be root's, and Windows keeps ranges for itself, "
        "see `netsh interface ipv4 show excludedportrange tcp`",
    ),
    Known(r"OperationalError: .*[Cc]onnection refused.*", "is the database running?", hopeless=False),
)


def cause_of(code: int, tail: str, *, modules: Sequence[str] = (), directory: str = "") -> Cause:
    """What ended a process that nobody asked to stop.

    `modules` are the importable names of its directory, for a spelling hint; `directory` is where it ran: the innermost frame of a
    traceback below it is the project's own line.
    """
    sentence = exit_sentence(code)
    if code == 0:
        return Cause(sentence)
    if code < 0:
        return Cause(sentence + (", out of memory?" if code == -9 else ""))
    tail = re.sub(ANSI, "", tail)
    tail = re.sub(GROUPED, "", tail) if GROUP in tail else tail
    lines = [line.strip() for line in tail.splitlines() if line.strip()][-RECENT:]
    if not lines:
        return Cause(sentence)
    place = _place(lines, directory)
    recent = "\n".join(lines)
    for known in KNOWN:
        found = list(re.finditer(known.pattern, recent, re.MULTILINE))
        if found:
            match = found[-1]
            what = match[0].strip().splitlines()[-1]
            own = _own_module(match[1], modules) if known.is_module else ""
            return Cause(_sentence(sentence, what, place), known.hopeless, own or known.fix.format(*match.groups()))
    # The last line of a message may be its least telling one; the one with the exception's name is not.
    says = next((line for line in reversed(lines[-12:]) if re.fullmatch(EXCEPTION, line)), lines[-1])
    return Cause(_sentence(sentence, says, place))


def _own_module(name: str, modules: Sequence[str]) -> str:
    """What to do about a missing module that seems to be the project's."""
    root, dot, rest = name.partition(".")
    if root not in modules:
        return did_you_mean(root, list(modules))
    return f"check the name: {root} is there, and has no {rest}" if dot else ""


def _sentence(ended: str, what: str, place: str) -> str:
    return f"{ended}: {what[:LONGEST_REASON]}" + (f" ({place})" if place else "")


def _place(lines: Sequence[str], directory: str) -> str:
    """`shop/tasks.py:53`, where the traceback in `lines` was last in a file of the project."""
    frames = [match for line in lines if (match := re.match(FRAME, line))]
    own = [match for match in frames if directory and _below(match["file"], directory)]
    if not own:
        return ""
    file = own[-1]["file"]
    if file.startswith(directory):
        file = file[len(directory) :].lstrip("/\\")
    return f"{file}:{own[-1]['line']}"


def _below(file: str, directory: str) -> bool:
    if not file.startswith(("/", "<")) and ":" not in file:
        return True  # relative to where it ran
    return file.startswith((f"{directory}/", f"{directory}\\")) and "site-packages" not in file
