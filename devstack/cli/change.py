"""`devstack start`, `stop`, `restart`, `scale` and `wait`: ask, and say what happens until those who are named have settled.

Rule 1: exit code 0 when all are as they should be; 1, with the reasons, when one is not or the time is over; 3 when nothing runs here.
Rule 2: what happens goes to stderr.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from devstack.cli.live import Place, place_options
from devstack.cli.names import counted, offered
from devstack.core.names import listing, seconds
from devstack.errors import FAILED, DevstackError

names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=offered)
timeout_option = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=1e9),
    help="How long that may take. [default: as long as it takes]",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing while it goes well.")


@click.command()
@names_argument
@place_options
@timeout_option
@quiet_option
def start(names: tuple[str, ...], **given: Any) -> None:
    """Start what is stopped or has failed, and stay until it is ready. NAME is `web.1`, `worker` (all of them) or `work*`."""
    sys.exit(change("start", "ready", {"names": names}, **given))


@click.command()
@names_argument
@place_options
@timeout_option
@quiet_option
def stop(names: tuple[str, ...], **given: Any) -> None:
    """Stop processes, and stay until they are gone. They stay stopped; the others run on."""
    sys.exit(change("stop", "stopped", {"names": names}, **given))


@click.command()
@names_argument
@place_options
@timeout_option
@quiet_option
def restart(names: tuple[str, ...], **given: Any) -> None:
    """Stop and start processes, and stay until they are ready again. Workers finish the tasks they have."""
    sys.exit(change("restart", "ready", {"names": names}, **given))


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="NAME=COUNT…", shell_complete=counted)
@place_options
@timeout_option
@quiet_option
def scale(counts: tuple[str, ...], **given: Any) -> None:
    """Change how many of each run: devstack scale worker=3. New ones have a port and a node name of their own."""
    wanted = {}
    for each in counts:
        name, equals, count = each.partition("=")
        if not equals or not (count.isascii() and count.isdigit()) or len(count) > 4:
            why = "each is NAME=COUNT, with a COUNT from 0 to 9999"
            raise DevstackError(f'"{each}" does not say how many', why=why, fix="devstack scale worker=3")
        wanted[name] = int(count)
    sys.exit(change("scale", "as asked", {"counts": wanted}, **given))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]", shell_complete=offered)
@place_options
@timeout_option
@quiet_option
def wait(names: tuple[str, ...], **given: Any) -> None:
    """Stay until everything, or each NAME, is ready. Exit code 1 when one fails, or the time is over."""
    sys.exit(change("wait", "ready", {"names": names}, **given))


def change(
    do: str,
    becomes: str,
    asked: dict[str, Any],
    procfile: str | None,
    directory: str | None,
    timeout: float | None,
    quiet: bool,
) -> int:
    place, began = Place(procfile, directory), time.monotonic()
    for answer in place.ask(do, limit=timeout, **asked):
        match answer:
            case {"name": str(name), "phase": str(phase), "why": str(why)}:
                if not quiet:
                    click.echo(f"{name} {phase}" + (f": {why}" if why else ""), err=True)
            case {"settled": dict(settled), "failed": dict(failed)}:
                for name, why in failed.items():
                    click.echo(f"error: {name} is not {becomes}: {why}", err=True)
                    click.echo(f"  try: devstack why {name}", err=True)
                if not failed and not quiet and settled:
                    took = seconds(time.monotonic() - began)
                    click.echo(f"{listing(_few(list(settled)))} {becomes} after {took}", err=True)
            case {"lost": str(lost)}:
                click.echo(f"{lost}; grace says how long a stop waits", err=True)
            case {"late": str(late)}:
                raise DevstackError(late, fix="devstack ps shows the rest", code=FAILED)
            case {"end": int(code)}:
                return code
    return FAILED


def _few(names: list[str]) -> list[str]:
    return names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
