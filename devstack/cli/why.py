"""`devstack why NAME`: all that is known of how a process came to be as it is."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from devstack.cli.live import Place, place_options
from devstack.cli.names import offered
from devstack.control import rows
from devstack.core.names import listing


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…", shell_complete=offered)
@place_options
@click.option("--json", "as_json", is_flag=True, envvar="DEVSTACK_JSON", help="The same for programs.")
def why(names: tuple[str, ...], procfile: str | None, directory: str | None, as_json: bool) -> None:
    """Say what a process does, what it waits for, how its last runs ended and by whom, and what it said last."""
    found = [each for each in Place(procfile, directory).ask("why", 15.0, names=names) if "row" in each]
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    click.echo("\n\n".join(map(_text, found)))


def _text(known: dict[str, Any]) -> str:
    row = known["row"]
    lines = [f"{row['name']} is {row['phase']}" + (f": {row['why']}" if row["why"] else "")]
    place = f"  ({known['where']})" if known["where"] else ""
    lines.append(f"  command: {known['command']}{place}")
    if row["pid"]:
        restarts = row["restarts"]
        again = f", restarted {restarts} time{'s' * (restarts != 1)}" if restarts else ""
        lines.append(f"  runs: pid {row['pid']}, for {rows.duration(row['up'])}{again}")
    if known["waits_for"]:
        lines.append("  waits for:")
        lines += [f"    {each}" for each in known["waits_for"]]
    elif known["needs"]:
        lines.append(f"  needs: {listing(known['needs'])}")
    if known["needed_by"]:
        lines.append(f"  needed by: {listing(known['needed_by'])}")
    if known["saved"]:
        lines.append(f"  saved last: {known['saved']}")
    if known["old_runs"]:
        lines.append(
            f"  old code: {known['old_runs']} earlier run{'s' * (known['old_runs'] != 1)} finish what they have"
        )
    if known["ends"]:
        lines.append("  ended before:")
    for end in known["ends"]:
        moment = time.strftime("%H:%M:%S", time.localtime(end["at"]))
        lines.append(f"    {moment}  run {end['run']} {end['why']} ({end['how']})")
    if known["last_lines"]:
        lines.append("  last lines:")
        lines += [f"    | {line}" for line in known["last_lines"]]
    return "\n".join(lines)
