"""The words of a command: which program it is, through `python -m` and paths too, and what its options say.

Rule: a word that an option takes is never taken for anything else by `option` and `options`; the last one given counts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence

from devstack.core.record import Record

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*w?|py", re.IGNORECASE)
_WITH_VALUE = "WX"
_NO_SCRIPT = "chVx?"
"""Flags of Python behind which there is no script, and -x, which skips the first line of the script that is run."""


def base_name(word: str) -> str:
    """`/venv/bin/celery`, `Scripts\\celery.exe` → `celery`."""
    return re.sub(r"(?i)\.exe$", "", re.split(r"[/\\]", word)[-1])


def is_python(word: str) -> bool:
    return _PYTHON.fullmatch(base_name(word)) is not None


class PythonProgram(Record):
    """`python <flags> <what> <arguments>` where `how` is "script", or `python <flags> -m <what> …` where it is "module"."""

    flags: list[str]
    how: str
    what: str
    arguments: list[str]


def python_program(argv: Sequence[str]) -> PythonProgram | None:
    """What an interpreter is told to run, read as its own getopt does (`-um celery`, `-Wd`, `-X dev`); None for `-c`, `-` and the like."""
    at = 1
    while at < len(argv):
        word = argv[at]
        if word == "--check-hash-based-pycs":
            at += 2
            continue
        if word == "-" or word.startswith("--"):
            return None
        if not word.startswith("-"):
            return PythonProgram(list(argv[1:at]), "script", word, list(argv[at + 1 :]))
        for i, flag in enumerate(word[1:], 1):
            rest = word[i + 1 :]
            if flag in _NO_SCRIPT:
                return None
            if flag == "m":
                flags = [*argv[1:at], *([word[:i]] if i > 1 else [])]
                after = [*([rest] if rest else []), *argv[at + 1 :]]
                return PythonProgram(flags, "module", after[0], after[1:]) if after else None
            if flag in _WITH_VALUE:
                at += 0 if rest else 1
                break
        at += 1
    return None


def program(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Its name and its words: `python -m daphne -p 1`, `python /x/bin/daphne -p 1` and `daphne -p 1` are ("daphne", ["-p", "1"])."""
    if not argv:
        return "", []
    if is_python(argv[0]) and (ran := python_program(argv)):
        return (base_name(ran.what) if ran.how == "script" else ran.what), ran.arguments
    return base_name(argv[0]), list(argv[1:])


def options(words: Sequence[str], *names: str) -> list[str]:
    """The values of an option in any of its spellings: `-b x`, `-bx`, `--bind x`, `--bind=x`."""
    found: list[str] = []
    for at, word in enumerate(words):
        for name in names:
            if word == name:
                found += words[at + 1 : at + 2] or [""]
            elif word.startswith(f"{name}=" if name.startswith("--") else name):
                found.append(word[len(name) :].removeprefix("="))
    return found


def option(words: Sequence[str], *names: str) -> str | None:
    found = options(words, *names)
    return found[-1] if found else None


def without(words: Sequence[str], flags: Collection[str], with_value: Collection[str] = ()) -> list[str]:
    """The words but for these flags, and these options with their values."""
    kept: list[str] = []
    before = ""
    for word in words:
        named = word in flags or word.partition("=")[0] in with_value
        if not named and before not in with_value:
            kept.append(word)
        before = word if before not in with_value else ""
    return kept


def positionals(words: Sequence[str], with_value: Collection[str]) -> list[str]:
    """The words that are neither options nor, for the options in `with_value`, their values."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and before not in with_value]


def literals(source: str) -> dict[str, object]:
    """What the plain assignments of a Python file say (`reload = True`); empty for one that is none."""
    found: dict[str, object] = {}
    if not source:
        return found
    import ast

    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for statement in ast.parse(source).body:
            match statement:
                case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                    with contextlib.suppress(ValueError, TypeError, RecursionError, MemoryError):
                        found[name] = ast.literal_eval(value)
    return found


def is_on(env: Mapping[str, str], name: str) -> bool:
    """A switch in the environment, as click reads it."""
    return env.get(name, "").strip().lower() in ("1", "true", "t", "yes", "y", "on")
