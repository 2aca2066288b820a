"""`devstack up`: what a person can say about it. What happens then is in `session`."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from devstack.cli import background, session
from devstack.cli.look import look as look_of
from devstack.cli.look import look_options
from devstack.cli.names import offered
from devstack.cli.options import options, project_options
from devstack.cli.streams import standard_streams
from devstack.config.load import load
from devstack.config.options import Options
from devstack.host import here
from devstack.host.orphans import new_run


@click.command()
@click.argument("names", nargs=-1, shell_complete=offered)
@project_options
@click.option(
    "--watch/--no-watch", default=True, envvar="DEVSTACK_WATCH", help="Restart workers when Python files change."
)
@click.option(
    "--timeout",
    "ready_within",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    envvar="DEVSTACK_TIMEOUT",
    help="How long a process may take to be ready before it is reported. One-shots take as long as they take. [default: 60]",
)
@click.option(
    "--exit-on-failure",
    is_flag=True,
    envvar="DEVSTACK_EXIT_ON_FAILURE",
    help="Stop everything when one process fails (for CI).",
)
@click.option(
    "--redis-persist",
    is_flag=True,
    envvar="DEVSTACK_REDIS_PERSIST",
    help="Keep the data of the Redis that devstack starts.",
)
@click.option(
    "--redis-docker",
    is_flag=True,
    envvar="DEVSTACK_REDIS_DOCKER",
    help="Start it in a Docker container.",
)
@click.option(
    "--take-over",
    is_flag=True,
    envvar="DEVSTACK_TAKE_OVER",
    help="End what a killed devstack left on a port that is needed.",
)
@click.option(
    "-d",
    "--detach",
    is_flag=True,
    envvar="DEVSTACK_DETACH",
    help="Run in the background; come back when all is ready, or say what is not. (-d DIR is -C DIR, as with honcho.)",
)
@click.option("--follow", is_flag=True, envvar="DEVSTACK_FOLLOW", help="When it runs already, show what it says.")
@look_options
def up(names: tuple[str, ...], take_over: bool, detach: bool, follow: bool, **given: Any) -> None:
    """Start everything in the Procfile (or just NAMES and what they need), in order, and stay until Ctrl-C."""
    if given["ready_within"] is not None and not math.isfinite(given["ready_within"]):
        raise click.BadParameter("a number of seconds is wanted", param_hint="--timeout")
    look = look_of(**{name: given.pop(name) for name in ("timestamps", "prefix", "color", "only", "hidden", "as_json")})
    behind = background.here()
    place = next((name for name in names if _has_procfile(name)), None)
    if detach and place and not given["directory"]:
        detach, given["directory"], names = False, Path(place), tuple(name for name in names if name != place)
    asked = options(names=names, colour=look.colour, run=new_run(), **given)
    if detach and not behind:
        background.detach(load(asked))
    try:
        standard_streams()
        with here().guard(asked.run) as guard:
            session.run(asked, look, guard, take_over)
    except session.AlreadyRuns as already:
        if not follow:
            raise
        _follow(already, asked, names)


def _has_procfile(name: str) -> bool:
    """Whether a word behind `-d` is the directory of a project, as it is for honcho and foreman, rather than a process."""
    return any(os.path.isfile(os.path.join(name, each)) for each in ("Procfile", "Procfile.dev"))


def _follow(already: session.AlreadyRuns, asked: Options, names: tuple[str, ...]) -> None:
    """Never a second stack: show the one that runs."""
    from devstack.cli import logs
    from devstack.cli.live import Place
    from devstack.config.places import directory

    click.echo(f"{already.what}: {already.why}", err=True)
    logs.follow(Place(None, str(directory(asked)[0])), names)
