"""Programs that run another one: `uv run celery …`, `env A=b celery …`, `watchmedo auto-restart … -- celery …`.

Rule 1: `prefix + argv` is what runs; the prefix is kept word by word.
Rule 2: a reloader is no part of it: devstack restarts the program itself, and two reloaders would restart it twice. `python -m watchfiles`
is watchfiles.
Rule 3: what is not understood is left where it is, as the program.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from devstack.core.record import Record
from devstack.kinds.arguments import base_name, is_python, option, program, python_program


class Unwrapped(Record):
    prefix: list[str]
    argv: list[str]
    reloader: str = ""
    """The reload wrapper that was left out, by name."""


class _Runner(Record):
    """`values` are its options that take the next word; `verb` stands in front of the program (`run`)."""

    values: frozenset[str] = frozenset()
    verb: str = ""


def _runner(values: str = "", verb: str = "") -> _Runner:
    return _Runner(frozenset(values.split()), verb)


_UV = """
--extra --no-extra --group --no-group --only-group --no-editable-package --env-file -w --with --with-editable --with-requirements --package
--python-platform --index --default-index -i --index-url --extra-index-url -f --find-links --index-strategy --keyring-provider -P
--upgrade-package --upgrade-group --resolution --prerelease --prerelease-package --fork-strategy --exclude-newer --exclude-newer-package
--no-sources-package --reinstall-package --link-mode -C --config-setting --config-settings-package --no-build-isolation-package
--no-build-package --no-binary-package --cache-dir --refresh-package -p --python --color --allow-insecure-host --directory --project
--config-file
"""
_RUNNERS = {
    "uv": _runner(_UV, "run"),
    "poetry": _runner("-C --directory -P --project", "run"),
    "pipenv": _runner("--python --pypi-mirror", "run"),
    "pdm": _runner("-p --project -c --config -e --env-file", "run"),
    "rye": _runner("--pyproject", "run"),
    "hatch": _runner("-e --env -p --project --data-dir --cache-dir --config", "run"),
    "dotenv": _runner("-f --file -q --quote -e --export", "run"),
    "env": _runner("-u --unset -C --chdir"),
    "nice": _runner("-n --adjustment"),
    "time": _runner("-f --format -o --output"),
    "nohup": _runner(),
    "ddtrace-run": _runner(),
    "newrelic-admin": _runner(verb="run-program"),
}
"""Options read off the --help of uv 0.13, python-dotenv 1.2 and the manuals of the others."""
_UP_TO_DASHES = {"doppler", "op", "infisical", "dotenvx", "aws-vault", "chamber", "mise"}
"""They fetch secrets or tools, have many options, and end them with `--`."""
_WATCHMEDO = _runner(
    "-d --directory -p --pattern --patterns -i --ignore-pattern --ignore-patterns --interval --timeout --signal --kill-after"
    " --debounce-interval"
)
_WATCHFILES = _runner(
    "--ignore-paths --target-type --filter --args --verbosity --sigint-timeout --grace-period --sigkill-timeout"
)


def unwrap(argv: Sequence[str]) -> Unwrapped:
    """Takes the wrappers off, one after the other."""
    prefix, rest, reloader = list[str](), list(argv), ""
    while rest:
        name, words = program(rest)
        name = name.removeprefix("watchdog.")  # python -m watchdog.watchmedo
        if inner := _reloaded(name, words, rest):
            rest, reloader = inner, reloader or name
            continue
        name = base_name(rest[0])
        at = _program_at(name, rest)
        if at is None or at >= len(rest):
            break
        wrapper, rest = rest[:at], rest[at:]
        if name == "uv" and (module := {"-m", "--module"}.intersection(wrapper)):
            wrapper, rest = [each for each in wrapper if each not in module], ["python", "-m", *rest]
        prefix += wrapper
    return Unwrapped(prefix, rest, reloader)


def _program_at(name: str, argv: Sequence[str]) -> int | None:
    """Index of the program that `argv` wraps; None when it wraps none."""
    if name in _UP_TO_DASHES:
        return argv.index("--") + 1 if "--" in argv else None
    runner = _RUNNERS.get(name)
    if runner is None:
        return None
    at = _past_options(argv, 1, runner.values)
    if runner.verb:
        if argv[at : at + 1] != [runner.verb]:
            return None
        at = _past_options(argv, at + 1, runner.values)
    if name == "env":
        while at < len(argv) and re.match(r"\w+=", argv[at]):
            at += 1
    return at


def _past_options(argv: Sequence[str], at: int, values: frozenset[str]) -> int:
    while at < len(argv) and argv[at].startswith("-"):
        if argv[at] == "--":
            return at + 1
        at += 2 if argv[at] in values else 1
    return at


def _reloaded(name: str, words: Sequence[str], argv: Sequence[str]) -> list[str] | None:
    """The program that a reload wrapper runs; `words` are those behind its name in `argv`."""
    if name == "watchmedo" and words[:1] == ["auto-restart"]:
        return _of_watchmedo(words[1:])
    return _of_watchfiles(words, argv) if name == "watchfiles" else None


def _of_watchmedo(words: Sequence[str]) -> list[str]:
    """`-R -- celery -A shop` and, as its manual has it, `-R celery -- -A shop`: argparse takes the first `--` away."""
    at = _past_options(words, 0, _WATCHMEDO.values)
    command = list(words[at:])
    if "--" in command and "--" not in words[:at]:
        command.remove("--")
    return command


def _of_watchfiles(words: Sequence[str], argv: Sequence[str]) -> list[str] | None:
    at = _past_options(words, 0, _WATCHFILES.values)
    target = words[at] if at < len(words) else ""
    kind = option(words, "--target-type") or "auto"
    dotted = re.fullmatch(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)+", target) and not target.endswith((".py", ".sh"))
    try:
        if kind == "command" or (kind == "auto" and not dotted):
            return shlex.split(target)
        module, arguments = target.removesuffix(".__main__.main"), shlex.split(option(words, "--args") or "")
    except ValueError:
        return None
    if module == target or not arguments:
        return None  # It imports and calls that: there is no command to run in its place.
    ran = python_program(argv) if is_python(argv[0]) else None
    return [*([argv[0], *ran.flags] if ran else ["python"]), "-m", module, *arguments]
