"""What stands in front of the program that counts: `uv run`, `poetry run`, `env A=b`, and reloaders whose work devstack does itself.

Rule 1: `prefix + argv` is what runs; a reloader (`watchmedo auto-restart`, `watchfiles`) is in neither.
Rule 2: an option that we do not know ends the reading: then nothing is unwrapped, and the command runs as it stands.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from devstack.errors import DevstackError


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """`reloader` is the name of the reloader that was taken off, if there was one."""

    prefix: list[str]
    argv: list[str]
    reloader: str = ""


# Options that take a word, by wrapper; all others of theirs are flags, or carry their value behind a "=".
UV = {"--with", "--with-editable", "--with-requirements", "--extra", "--group", "--only-group", "--no-group", "--env-file", "--index-url",
      "--index", "-p", "--python", "--package", "--project", "--directory", "-C", "--config-file", "--cache-dir"}  # fmt: skip
WITH_VALUE = {
    "uv": UV,
    "poetry": {"-C", "--directory", "-P", "--project"},
    "pipenv": {"--pypi-mirror"},
    "pdm": {"-p", "--project", "-s", "--site-packages"},
    "rye": {"--pyproject"},
    "hatch": {"-e", "--env"},
    "env": {"-u", "--unset", "-C", "--chdir"},
    "nice": {"-n", "--adjustment"},
    "time": {"-f", "-o"},
    "dotenv": {"-f", "--file", "-q", "--quote"},
}
RUNNERS = {"uv", "poetry", "pipenv", "pdm", "rye", "hatch", "dotenv"}
ELSEWHERE = {"--directory", "-C", "--chdir"}
"""Options that change the directory: what a path behind them means is not ours to guess."""
WATCHMEDO_VALUE = {"-d", "--directory", "-p", "--pattern", "--patterns", "-i", "--ignore-pattern", "--ignore-patterns", "--interval",
                   "--signal", "--kill-after", "--debounce-interval"}  # fmt: skip
WATCHFILES_VALUE = {
    "--filter",
    "--args",
    "--target-type",
    "--ignore-paths",
    "--sigint-timeout",
    "--grace-period",
    "--sigkill-timeout",
}


def unwrap(argv: list[str]) -> Unwrapped:
    """Take wrapper after wrapper off, until the program that counts is first."""
    prefix: list[str] = []
    reloader = ""
    while True:
        at = _behind(argv)
        if at is not None and at < len(argv):
            prefix, argv = prefix + argv[:at], argv[at:]
        elif inner := _reloaded(argv):
            reloader = reloader or _name(argv[0])
            argv = inner
        else:
            return Unwrapped(prefix, argv, reloader)


def _behind(argv: list[str]) -> int | None:
    """Index of the command behind the wrapper that `argv` starts with."""
    name = _name(argv[0])
    if name not in WITH_VALUE:
        return None
    at = _options(argv, 1, WITH_VALUE[name])
    if at is None:
        return None
    if name in RUNNERS:
        if at >= len(argv) or argv[at] != "run":
            return None
        at = _options(argv, at + 1, WITH_VALUE[name])
    elif name == "env":
        while at < len(argv) and re.match(r"[A-Za-z_]\w*=", argv[at]):
            at += 1
    if at is None or ELSEWHERE & set(argv[:at]):
        return None
    return at


def _options(argv: list[str], at: int, with_value: set[str]) -> int | None:
    while at < len(argv) and argv[at].startswith("-"):
        if argv[at] == "--":
            return at + 1
        if argv[at] in ("-m", "--module"):
            return None
        at += 2 if argv[at] in with_value else 1
    return at


def _reloaded(argv: list[str]) -> list[str] | None:
    """The command that a reloader restarts."""
    find: dict[str, Callable[[list[str]], list[str] | None]] = {"watchmedo": _watchmedo, "watchfiles": _watchfiles}
    if (inner := find.get(_name(argv[0]))) is not None:
        return inner(argv)
    if argv[1:3] == ["-m", "watchfiles"]:
        return _watchfiles(argv[2:])
    return None


def _watchmedo(argv: list[str]) -> list[str] | None:
    if argv[1:2] != ["auto-restart"]:
        return None
    if "--" in argv:
        return argv[argv.index("--") + 1 :] or None
    at = _options(argv, 2, WATCHMEDO_VALUE)
    return argv[at:] or None if at is not None else None


def _watchfiles(argv: list[str]) -> list[str] | None:
    """`watchfiles [options] 'celery -A shop worker' [paths]`. A target that is a function (`shop.main`) is no command."""
    at = _options(argv, 1, WATCHFILES_VALUE)
    if at is None or at >= len(argv) or ("--target-type" in argv[:at] and "function" in argv[:at]):
        return None
    try:
        words = shlex.split(argv[at])
    except ValueError as error:
        raise DevstackError("the command of watchfiles cannot be read", why=f"{error}: {argv[at]}") from None
    if len(words) == 1 and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", words[0]):
        return None
    return words or None


def _name(word: str) -> str:
    return re.sub(r"(?i)\.exe$", "", re.split(r"[/\\]", word)[-1])
