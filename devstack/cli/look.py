"""How the stream looks: the options of `up` that change nothing but what a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from devstack.cli import colour
from devstack.errors import DevstackError, did_you_mean
from devstack.runtime.output import Look

F = TypeVar("F", bound=Callable[..., Any])
STDOUT = colour.STDOUT


def look_options(command: F) -> F:
    """Adds them; the command takes them as keyword arguments and passes them to `look`."""
    import click

    for option in reversed(
        (
            click.option(
                "--timestamps/--no-timestamps",
                default=True,
                envvar="DEVSTACK_TIMESTAMPS",
                help="The time in front of each line.",
            ),
            click.option(
                "--prefix/--no-prefix",
                default=True,
                envvar="DEVSTACK_PREFIX",
                help="Time and name in front of each line.",
            ),
            click.option(
                "--color/--no-color",
                default=None,
                envvar="DEVSTACK_COLOR",
                help="[default: when the output is a terminal]",
            ),
            click.option(
                "--only",
                metavar="NAME,…",
                multiple=True,
                envvar="DEVSTACK_ONLY",
                help="Show the output of these processes alone; the others run too.",
            ),
            click.option(
                "-q",
                "--quiet",
                "hidden",
                metavar="NAME,…",
                multiple=True,
                envvar="DEVSTACK_QUIET",
                help="Do not show the output of these processes.",
            ),
            click.option("--json", "as_json", is_flag=True, envvar="DEVSTACK_JSON", help="Each line as a JSON object."),
        )
    ):
        command = option(command)
    return command


def look(
    timestamps: bool, prefix: bool, color: bool | None, only: tuple[str, ...], hidden: tuple[str, ...], as_json: bool
) -> Look:
    coloured = (colour.wanted() if color is None else color) and not as_json
    return Look(coloured, timestamps, prefix, as_json, _names(only), _names(hidden))


def check_names(look: Look, services: Iterable[str], processes: Iterable[str]) -> None:
    """DevstackError for a name that no process has."""
    known = [*services, *processes]
    for option, names in (("--only", look.only), ("--quiet", look.hidden)):
        for name in sorted(names.difference(known)):
            fix = did_you_mean(name, known) or f"there are: {', '.join(services)}"
            raise DevstackError(f'{option}: there is no process "{name}"', fix=fix)


def _names(given: tuple[str, ...]) -> frozenset[str]:
    return frozenset(part for part in (part.strip() for each in given for part in each.split(",")) if part)
