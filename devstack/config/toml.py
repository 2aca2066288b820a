"""A TOML document that knows in which line each key stands. tomllib does not say, and an error without a line is half an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from devstack.core.record import Record
from devstack.errors import DevstackError

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_PATH = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_PATH})\s*\]\]?\s*(#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_PATH})\s*=")


class Document(Record):
    values: dict[str, object]
    lines: Mapping[tuple[str, ...], int]
    where: str

    def place(self, path: tuple[str, ...]) -> str:
        """`devstack.toml:7`: the line of the key, else of the table around it, else the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.where}:{self.lines[path]}" if path else self.where


def parse(content: str, where: str) -> Document:
    try:
        values = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+)", str(error))
        place = f"{where}:{line[1]}" if line else where
        fix = 'a text needs quotes: procfile = "Procfile.dev"'
        raise DevstackError(f"{where} is not valid TOML", why=str(error), fix=fix, where=place) from None
    return Document(values, _lines(content), where)


def _lines(content: str) -> dict[tuple[str, ...], int]:
    """Looks for headers and assignments outside of long strings; keys of an inline table are found in the line of that table."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    long_string = ""
    for number, line in enumerate(content.split("\n"), 1):
        if long_string:
            if line.count(long_string) % 2:
                long_string = ""
            continue
        if header := _HEADER.fullmatch(line):
            table = _parts(header[1])
            _note(found, table, number)
        elif assignment := _ASSIGNMENT.match(line):
            _note(found, (*table, *_parts(assignment[1])), number)
        long_string = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
    return found


def _note(found: dict[tuple[str, ...], int], path: tuple[str, ...], number: int) -> None:
    """`[a.b]` is also the place of `a`, unless that has one."""
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], number)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, path))
