"""`devstack down`: stops the running stack in order, and is over when it is."""

from __future__ import annotations

import time

import click

from devstack.cli.live import Place, place_options
from devstack.control import client
from devstack.core.names import listing, seconds

REPEATED = 5.0
"""Seconds between two sentences about who holds it up."""


@click.command()
@place_options
@click.option("--force", is_flag=True, help="Do not wait for anything: kill what is there.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
def down(procfile: str | None, directory: str | None, force: bool, quiet: bool) -> None:
    """Stop the running stack in reverse order; workers finish their tasks. Exit code 3 when nothing runs here."""
    place, began, said = Place(procfile, directory), time.monotonic(), 0.0

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    with place.explained():
        try:
            for answer in client.ask(place.runtime, "down", None, force=force):
                match answer:
                    case {"stopping": list(names)}:
                        say(f"stopping {listing(names)}" if names else "stopping")
                    case {"name": str(name), "phase": "down" | "failed" | "done"}:
                        say(f"{name} stopped")
                    case {"lost": str(lost)}:
                        click.echo(f"{lost}; grace says how long a stop waits", err=True)
                    case {"held_up_by": list(names)} if time.monotonic() - max(said, began) >= REPEATED:
                        said = time.monotonic()
                        say(f"waiting for {listing(names)}, {seconds(said - began)}; devstack down --force kills")
        except client.Lost:
            say(f"everything is stopped after {seconds(time.monotonic() - began)}")
