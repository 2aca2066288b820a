"""`devstack doctor`: what is wrong with this machine, as far as devstack is concerned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from devstack.core.secrets import mask
from devstack.host import orphans as leftovers


@click.command()
@click.option("--orphans", is_flag=True, help="Processes that an earlier `devstack up` left behind.")
@click.option("--end", is_flag=True, help="End them: asked to leave, then killed.")
@click.option(
    "-C",
    "--directory",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Only those that run in here.",
)
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def doctor(orphans: bool, end: bool, directory: Path | None, as_json: bool) -> None:
    """Find what a killed `devstack up` left behind. Exit code 1 when something is left."""
    if not orphans:
        raise click.UsageError("say what to look for: devstack doctor --orphans")
    found = [
        each
        for each in leftovers.find()
        if directory is None or Path(each.directory).resolve().is_relative_to(directory)
    ]
    left = leftovers.end(found) if end else found
    if as_json:
        rows = [
            {
                "process": orphan.process,
                "pid": orphan.pid,
                "command": mask(orphan.command),
                "directory": orphan.directory,
                "ended": orphan not in left,
            }
            for orphan in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif not found:
        click.echo("nothing is left behind")
    else:
        for orphan in found:
            click.echo(mask(f"{'left' if orphan in left else 'ended'}  {orphan}  in {orphan.directory}"))
        if left and not end:
            click.echo("try: devstack doctor --orphans --end")
    sys.exit(1 if left else 0)
