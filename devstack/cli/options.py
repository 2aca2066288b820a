"""The options that `up` and `check` share, and how they become `Options`. Every option has a DEVSTACK_ variable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from devstack import host
from devstack.config.options import Options
from devstack.errors import DevstackError

if TYPE_CHECKING:
    import click

F = TypeVar("F", bound=Callable[..., Any])


def project_options(command: F) -> F:
    """Adds -f -e -C -p -m and --env-overrides. The command takes them as keyword arguments and passes them to `options`."""
    import click

    for option in reversed(
        (
            click.option(
                "-f",
                "--procfile",
                metavar="FILE",
                envvar="DEVSTACK_PROCFILE",
                help="The file with the processes. [default: Procfile.dev, else Procfile]",
            ),
            click.option(
                "-e",
                "--env-file",
                "env_files",
                metavar="FILE,…",
                multiple=True,
                envvar="DEVSTACK_ENV_FILE",
                help="Files with variables; a later one wins. [default: .env, if there is one]",
            ),
            click.option(
                "-C",
                "--directory",
                metavar="DIR",
                type=click.Path(path_type=Path),
                envvar="DEVSTACK_DIRECTORY",
                help="The project. [default: where the Procfile is, here or above up to the repository's root]",
            ),
            click.option(
                "-p",
                "--port",
                type=click.IntRange(1, 65535),
                envvar="DEVSTACK_PORT",
                help="PORT of the first process; each further one gets 100 more. [default: PORT, else 5000]",
            ),
            click.option(
                "-m",
                "--formation",
                metavar="NAME=N,…",
                default="",
                envvar="DEVSTACK_FORMATION",
                help="How many of each: worker=2,beat=0; all=1 for those not named.",
            ),
            click.option(
                "--env-overrides",
                is_flag=True,
                envvar="DEVSTACK_ENV_OVERRIDES",
                help="The files of -e win over the environment.",
            ),
        )
    ):
        command = option(command)
    return command


def options(
    *,
    procfile: str | None,
    env_files: tuple[str, ...],
    directory: Path | None,
    port: int | None,
    formation: str,
    env_overrides: bool,
    **more: Any,
) -> Options:
    """The Options of the running command; `more` are those that it has alone (names, watch, …)."""
    import click

    files = tuple(part for part in (part.strip() for each in env_files for part in each.split(",")) if part)
    return Options(
        procfile=procfile,
        env_files=files or None,
        directory=directory,
        port=port,
        formation=formation,
        env_overrides=env_overrides,
        sources=_sources(click.get_current_context()),
        **surroundings(),
        **more,
    )


def surroundings() -> dict[str, Any]:
    """What Options have that nobody types."""
    try:
        return {"current": Path.cwd(), "environ": dict(os.environ), "system": host.system()}
    except FileNotFoundError:
        raise DevstackError("the current directory is gone", fix="cd into the project again") from None


def _sources(context: click.Context) -> dict[str, str]:
    """How messages call each option: by its variable, where that gave the value, else by its longest spelling."""
    import click
    from click.core import ParameterSource

    found = {}
    for parameter in context.command.params:
        if not isinstance(parameter, click.Option) or parameter.name is None:
            continue
        said_no = bool(parameter.secondary_opts) and context.params.get(parameter.name) is False
        spellings = parameter.secondary_opts if said_no else parameter.opts
        from_variable = context.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
        found[parameter.name] = str(parameter.envvar) if from_variable else max(spellings, key=len)
    return found
