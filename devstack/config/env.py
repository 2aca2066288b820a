""".env files, read as python-dotenv reads them (with its own parser), each value with the line it comes from.

Rule 1: the real environment wins over a file, unless `overrides`; a later file wins over an earlier one.
Rule 2: what python-dotenv only warns of (an unclosed quote) is an error here, with file and line.

Django projects load the same file with python-dotenv or django-environ, so their reading is the one to agree with; honcho's own reader
drops blanks, quotes and backslashes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from devstack.config import text
from devstack.errors import DevstackError

# Compiled by whoever needs it, not at each start.
_WINDOWS_PATH = r"""=\s*"[A-Za-z]:(?:\\\\|[^"])*?(?<!\\)\\[abfnrtv'"]"""
"""A drive letter in double quotes followed by a backslash that python-dotenv takes for a control character."""

_SWALLOWED = r"\n(export )?[A-Za-z_]\w*="


class EnvFile:
    """Values of all the files together, where each stands (".env:3"), and notes about those that look wrong."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.notes: list[str] = []


def read(
    files: Iterable[tuple[Path, str]], environ: Mapping[str, str], overrides: bool = False, source: str = ""
) -> EnvFile:
    """The files (each a path and how it is called in messages) that `source` names, merged. `${X}` sees earlier lines and `environ`."""
    found = EnvFile()
    for path, where in files:
        content = text.read(path, where, fix_missing=f"create it, or take it out of {source}")
        parse(content, where, environ, overrides, found)
    return found


def parse(content: str, where: str, environ: Mapping[str, str], overrides: bool, found: EnvFile) -> None:
    """Adds the variables of one file's text to `found`."""
    from dotenv.parser import parse_stream
    from dotenv.variables import parse_variables

    problems: list[tuple[int, str, str]] = []
    for binding in parse_stream(io.StringIO(content)):
        original = binding.original.string.lstrip()
        # python-dotenv counts from the blank lines in front.
        line = binding.original.line + binding.original.string.removesuffix(original).count("\n")
        if binding.error:
            problems.append((line, *_explain(original)))
        elif binding.key is not None and binding.value is None:
            found.notes.append(f"{where}:{line}: {binding.key} has no = and is left out")
        elif binding.key is not None and binding.value is not None:
            if re.search(_WINDOWS_PATH, original):
                found.notes.append(
                    f"{where}:{line}: \\n, \\t and the like are control characters in double quotes; "
                    f"write {binding.key}='…' with single quotes, or / for \\"
                )
            if re.search(_SWALLOWED, original.rstrip()):
                lines = f"{line} to {line + original.rstrip().count(chr(10))}"
                found.notes.append(
                    f"{where}:{line}: the value of {binding.key} goes over lines {lines}; is a closing quote missing?"
                )
            seen = {**environ, **found.values} if overrides else {**found.values, **environ}
            found.values[binding.key] = "".join(atom.resolve(seen) for atom in parse_variables(binding.value))
            found.sources[binding.key] = f"{where}:{line}"
    if len(problems) == 1:
        raise DevstackError(problems[0][1], fix=problems[0][2], where=f"{where}:{problems[0][0]}")
    if problems:
        said = "\n".join(f"line {line}: {what}; {fix}" for line, what, fix in problems[:10])
        raise DevstackError(f"{len(problems)} lines are wrong", why=said, where=f"{where}:{problems[0][0]}")


def _explain(original: str) -> tuple[str, str]:
    first = original.strip().split("\n")[0]
    key, equal, value = first.partition("=")
    key = key.removeprefix("export ").strip()
    value = value.lstrip()
    if equal and value[:1] in ("'", '"'):
        quote = value[0]
        other = "'" if quote == '"' else '"'
        if value.count(quote) == 1:
            return f"the {quote} of {key} is never closed", f"{key}={value}{quote}"
        return f"something stands behind the closing {quote} of {key}", f"put the whole value into {other}…{other}"
    if equal and re.search(r"\s", key):
        return f'"{key}" is not the name of a variable', "a name has no spaces"
    return f'"{first[:60]}" is not a variable', "write NAME=value, or put a # in front"
