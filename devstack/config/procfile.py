"""The Procfile: one `name: command` a line.

Rule 1: honcho's grammar. An inline `#` belongs to the command, and there is no line continuation.
Rule 2: nothing is skipped silently: a line that is neither blank, comment nor process is named with its number and how to write it.
Rule 3: all that is wrong with one file is said in one error.
"""

from __future__ import annotations

import re

from devstack.core.record import Record
from devstack.errors import DevstackError

ENTRY = re.compile(r"([A-Za-z0-9_-]+):\s*(.*)")
_CONFLICT = re.compile(r"(<{7}|\|{7}|={7}|>{7})( |$)")
_SECOND_NAME = re.compile(r"([A-Za-z0-9_-]+):\s+(.+)")


class Entry(Record):
    """`number` is the line's number in the file, `index` (from 0) its place among the processes: PORT depends on it."""

    name: str
    command: str
    number: int
    index: int
    where: str


class _Reading:
    def __init__(self, where: str) -> None:
        self.where = where
        self.entries: dict[str, Entry] = {}
        self.notes: list[str] = []
        self.problems: list[tuple[int, str, str]] = []
        """Line number, what is wrong, what to write instead."""


def parse(text: str, where: str = "Procfile") -> tuple[list[Entry], list[str]]:
    """The processes of a Procfile's text in their order, and notes: odd things that still work."""
    reading = _Reading(where)
    lines = text.split("\n")
    lines = _without_conflicts(lines, reading)
    continued = False
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continued = False
        elif continued and not ENTRY.fullmatch(line.rstrip()):
            continued = line.rstrip().endswith(
                "\\"
            )  # The line that ends with a backslash is the problem, and is named already.
        else:
            _line(number, line.rstrip(), reading)
            continued = line.rstrip().endswith("\\")
    _refuse(reading)
    return list(reading.entries.values()), reading.notes


def _line(number: int, line: str, reading: _Reading) -> None:
    match = ENTRY.fullmatch(line)
    if not match:
        reading.problems.append((number, f"{_short(line)} is not a process", _instead(line)))
        return
    name, command = match[1], match[2].strip()
    earlier = reading.entries.get(name)
    if earlier:
        what = f'"{name}" is already in line {earlier.number}'
        fix = f"give one of them another name, or start {name} twice with -m {name}=2"
        reading.problems.append((number, what, fix))
    elif not command:
        reading.problems.append((number, f'"{name}" has no command', f"{name}: COMMAND, or put a # in front"))
    elif command.endswith("\\"):
        reading.problems.append(
            (number, f'the command of "{name}" ends with a backslash', "a command is one line: join the lines")
        )
    else:
        _notice_second_name(name, command, number, reading)
        command = _without_outer_quotes(name, command, number, reading)
        where = f"{reading.where}:{number}"
        reading.entries[name] = Entry(name, command, number, len(reading.entries), where)


def _notice_second_name(name: str, command: str, number: int, reading: _Reading) -> None:
    if second := _SECOND_NAME.fullmatch(command):
        reading.notes.append(
            f'{reading.where}:{number}: a name has no colon, so this is process "{name}" with the command "{_short(command)}"; '
            f"write {name}-{second[1]}: {second[2]}"
        )


def _without_outer_quotes(name: str, command: str, number: int, reading: _Reading) -> str:
    """`web: "gunicorn shop"` would run a program called "gunicorn shop"; a quoted path with a space in it is left alone."""
    inner = command[1:-1]
    quoted = len(command) > 2 and command[0] == command[-1] and command[0] in "'\"" and command[0] not in inner
    if not quoted or not re.match(r"[^\s/\\]+\s", inner):
        return command
    reading.notes.append(f'{reading.where}:{number}: the quotes around the whole command of "{name}" are left out')
    return inner


def _without_conflicts(lines: list[str], reading: _Reading) -> list[str]:
    """The lines, those from the first to the last conflict marker blanked: what stands there twice is one problem, not ten."""
    marked = [number for number, line in enumerate(lines) if _CONFLICT.match(line)]
    if not marked:
        return lines
    first, last = marked[0], marked[-1]
    what = f"lines {first + 1} to {last + 1} are a merge conflict that nobody has resolved"
    reading.problems.append(
        (first + 1, what, "keep the lines you want and delete the markers <<<<<<<, ======= and >>>>>>>")
    )
    return [*lines[:first], *[""] * (last - first + 1), *lines[last + 1 :]]


def _instead(line: str) -> str:
    if ENTRY.fullmatch(line.lstrip()):
        return f"start the line with the name: {_short(line.strip())}"
    if spaced := re.fullmatch(r"\s*([A-Za-z0-9_-]+)\s+:\s*(.+)", line):
        return f"no space before the colon: {_short(f'{spaced[1]}: {spaced[2]}')}"
    if re.match(r"\s*(export\s+)?[A-Za-z_]\w*=", line):
        return "a variable belongs into .env, or in front of the command: name: VAR=x command"
    if named := re.fullmatch(r"\s*([^\s:]*):\s+(.+)", line):
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", named[1]).strip("-") or "web"
        return f"a name has the letters A-Z, a-z, digits, - and _: {_short(f'{name}: {named[2]}')}"
    return f"write NAME: {_short(line.strip())}, or put a # in front"


def _refuse(reading: _Reading) -> None:
    problems = sorted(reading.problems)
    if len(problems) == 1:
        number, what, fix = problems[0]
        raise DevstackError(what, fix=fix, where=f"{reading.where}:{number}")
    if problems:
        said = "\n".join(f"line {number}: {what}; {fix}" for number, what, fix in problems[:10])
        more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DevstackError(
            f"{len(problems)} lines are wrong", why=said + more, where=f"{reading.where}:{problems[0][0]}"
        )
    if not reading.entries:
        raise DevstackError("there is no process in it", fix="web: python manage.py runserver", where=reading.where)


def _short(text: str) -> str:
    return text if len(text) <= 70 else text[:69] + "…"
