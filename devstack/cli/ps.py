"""`devstack ps`: every process, what it does, and why. (Without options, `control.instant` answers before this is even imported.)"""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from devstack.cli.live import Place, place_options
from devstack.control import rows
from devstack.core.secrets import mask

CLEAR = "\x1b[H\x1b[2J"


@click.command()
@place_options
@click.option("--json", "as_json", is_flag=True, envvar="DEVSTACK_JSON", help="The same for programs.")
@click.option("-w", "--watch", is_flag=True, help="Stay, and show every change until Ctrl-C.")
def ps(procfile: str | None, directory: str | None, as_json: bool, watch: bool) -> None:
    """Show every process: phase, pid, since when, restarts, CPU and memory of all it started, where it is found, and why."""
    place = Place(procfile, directory)
    if not watch:
        found = place.one("ps")["rows"]
        click.echo(rows.document(_rows(found)) if as_json else rows.text(_rows(found)) + "\n", nl=False)
        return
    for answer in place.ask("watch"):
        if "rows" not in answer:
            continue
        if as_json:
            import json

            click.echo(json.dumps(answer["rows"], ensure_ascii=False))
        else:
            tty = sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if tty else 0
            click.echo((CLEAR if tty else "") + rows.text(_rows(answer["rows"]), width))


def _rows(found: object) -> list[dict[str, Any]]:
    assert isinstance(found, list), mask(repr(found))
    return found
