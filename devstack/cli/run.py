"""`devstack run CMD…`: a command beside the stack, in exactly its environment and with this terminal.

Rule 1: where the system allows it we become that command: its stdin, stdout, Ctrl-C and exit code are its own.
Rule 2: what we have to say goes to stderr.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from devstack import host
from devstack.cli.live import NOTHING_RUNS, Place, place_options
from devstack.errors import FAILED, DevstackError

TERMINAL = ("TERM", "COLORTERM", "TERM_PROGRAM", "COLUMNS", "LINES", "DISPLAY", "SSH_TTY", "SSH_AUTH_SOCK", "EDITOR")
"""What belongs to this terminal, not to the one in which the stack was started."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND…")
@place_options
@click.option(
    "--wait-for", metavar="NAME,…", multiple=True, envvar="DEVSTACK_WAIT_FOR", help="Not before these are ready."
)
def run(command: tuple[str, ...], procfile: str | None, directory: str | None, wait_for: tuple[str, ...]) -> None:
    """Run a command with the environment of the stack: its venv, .env, PORT, broker URL and directory.

    Without a running stack it gets what the next `devstack up` would give, as far as that is known.
    """
    place = Place(procfile, directory)
    names = [name for each in wait_for for name in each.split(",") if name]
    try:
        if names:
            _wait(place, names)
        found = place.one("environment")
        env, cwd = found["env"], str(found["cwd"])
        assert isinstance(env, dict)
    except DevstackError as error:
        if error.code != NOTHING_RUNS or names:
            raise
        env, cwd = as_it_would_be(procfile, directory)
    env = {name: value for name, value in env.items() if name not in TERMINAL}
    env |= {name: os.environ[name] for name in TERMINAL if name in os.environ}
    try:
        host.here().become(command, env, cwd)
    except FileNotFoundError:
        raise DevstackError(
            f"{command[0]}: command not found", why=f"PATH is {env.get('PATH')}", code=NOT_FOUND
        ) from None
    except OSError as error:
        raise DevstackError(f"{command[0]}: {error.strerror}", code=NOT_EXECUTABLE) from None


def _wait(place: Place, names: list[str]) -> None:
    for answer in place.ask("wait", names=names):
        match answer:
            case {"failed": dict(failed)} if failed:
                name, why = next(iter(failed.items()))
                raise DevstackError(f"{name} is not ready", why=why, fix=f"devstack why {name}", code=FAILED)


def as_it_would_be(procfile: str | None, directory: str | None) -> tuple[dict[str, str], str]:
    from devstack.config.load import load
    from devstack.config.options import Options
    from devstack.control.desk import beside

    project = load(
        Options(
            current=Path.cwd(),
            procfile=procfile,
            directory=Path(directory) if directory else None,
            environ=dict(os.environ),
            system=host.system(),
        )
    )
    return beside(project.services)
