"""`devstack check`: reads the Procfile, .env and settings, and says what they mean.

Rule 1: it starts nothing but children that load the Celery apps to read their settings, and changes nothing.
Rule 2: what `up` would fail on is an error, with exit code 2, behind the table; what is odd or could not be looked into is a note.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from devstack.cli.absent import absent
from devstack.cli.options import options, project_options
from devstack.cli.outlook import Outlook, outlook
from devstack.config.explain import Explained
from devstack.config.load import Project, load
from devstack.core.model import ProbeSpec, Service
from devstack.core.secrets import mask, mask_value
from devstack.errors import USAGE

WIDEST = 72


@click.command()
@project_options
@click.option("--explain", is_flag=True, help="Every value with the place it comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(explain: bool, as_json: bool, **shared: Any) -> None:
    """Read the Procfile, .env and settings, and say what they mean. Starts no server and changes nothing.

    The Celery apps are loaded in a child process, for the address of the broker. Exit code 2 when something is wrong.
    """
    project = load(options(**shared))
    seen = outlook(project, lambda text: click.echo(mask(text), err=True))
    missing = absent(project)
    if any(service.oneshot for service in project.services):
        # The one-shot may be what installs it.
        seen.notes += [f"{each.what} ({each.where})" for each in missing]
    else:
        seen.errors += missing
    explained = _all_explained(project, seen)
    if as_json:
        click.echo(json.dumps(_document(project, seen, explained if explain else None), indent=2, ensure_ascii=False))
        sys.exit(USAGE if seen.errors else 0)
    called = project.procfile.name if project.procfile else "the settings"
    count = len(seen.errors)
    verdict = f"{count} error{'s' if count > 1 else ''}, see below" if count else "ok"
    click.echo(f"{verdict}: {called} has {', '.join(service.name for service in project.services)}")
    click.echo()
    rows = [("NAME", "KIND", "READY WHEN", "NEEDS", "COMMAND")]
    rows += [
        (_counted(each), each.kind, _probe(each), ", ".join(_needs(project, seen, each)) or "-", mask(each.command))
        for each in project.services
    ]
    _table(rows)
    if seen.broker and seen.broker.url:
        click.echo(f"\nbroker: {mask(seen.broker.url)} ({seen.broker.source})")
        for each in seen.redis:
            click.echo(f"redis: {mask(each)}")
    if explain:
        click.echo()
        _table([("VALUE", "IS", "FROM"), *map(_explained, _shared_once(explained, len(project.services)))])
    sys.stdout.flush()
    for note in [*project.notes, *seen.notes]:
        click.echo(f"note: {mask(note)}", err=True)
    for error in seen.errors:
        click.echo(mask(str(error)), err=True)
    if seen.errors:
        sys.exit(USAGE)


def _all_explained(project: Project, seen: Outlook) -> list[Explained]:
    """With what only a look at the broker tells."""
    rows = [
        Explained(each.scope, each.key, _needs_named(project, seen, each.scope), each.source)
        if each.key == "needs"
        else each
        for each in project.explained
    ]
    broker = seen.broker
    ours = [Explained("", "broker", broker.url or None, broker.source or seen.origin)] if broker else []
    if broker:
        ours.append(Explained("", "result_backend", seen.backend or None, seen.backend_source or "default"))
    shared = sum(1 for each in rows if not each.scope)
    return [*rows[:shared], *ours, *rows[shared:]]


def _needs_named(project: Project, seen: Outlook, name: str) -> list[str]:
    return next((_needs(project, seen, each) for each in project.services if each.name == name), [])


def _shared_once(explained: Sequence[Explained], processes: int) -> list[Explained]:
    """Variables that all processes have: what most of them share is said once, as "all", and then only what differs."""
    variables = [each for each in explained if each.key.startswith("env ")]
    times = Counter((each.key, str(each.value), each.source) for each in variables)
    having = Counter(each.key for each in variables)
    common: dict[str, Explained] = {}
    for each in variables:
        most = times[each.key, str(each.value), each.source]
        if processes > 1 and having[each.key] == processes and 2 * most > processes:
            common[each.key] = Explained("all", each.key, each.value, each.source)
    alike = {(each.key, str(each.value), each.source) for each in common.values()}
    own = [each for each in explained if each.scope and (each.key, str(each.value), each.source) not in alike]
    return [*(each for each in explained if not each.scope), *common.values(), *own]


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _counted(service: Service) -> str:
    return service.name if service.instances == 1 else f"{service.name} ×{service.instances}"


def _needs(project: Project, seen: Outlook, service: Service) -> list[str]:
    """With the Redis that `up` finds or starts, where no line of the Procfile is one."""
    waits = seen.adds and service.name in project.waits_for_redis and seen.adds not in service.needs
    return [*([seen.adds] if waits else []), *service.needs]


def _probe(service: Service) -> str:
    return "it has ended" if service.oneshot else describe(service.probe)


def describe(probe: ProbeSpec) -> str:
    """A probe in a few words, to complete "ready when"."""
    options = probe.options
    address = f"{options.get('host', '127.0.0.1')}:{options.get('port')}"
    if options.get("port") is None:
        address = str(options.get("path") or "a port of its own")
    match probe.how:
        case "none":
            return "it runs"
        case "http":
            status = f" with {options['status']}" if options.get("status") else ""
            return f"http://{address}{options.get('path', '/')} answers{status}"
        case "tcp":
            return f"{address} accepts"
        case "exec":
            command = options["command"]
            return f"`{mask(command if isinstance(command, str) else ' '.join(command))}` exits 0"  # type: ignore[arg-type]
        case "log":
            return f"it prints /{options['pattern']}/"
        case "redis":
            return "it answers PING"
        case "celery":
            return "the worker is registered"
        case "beat":
            return "it schedules"
        case how:
            return how


def _explained(each: Explained) -> tuple[str, str, str]:
    name = f"{each.scope}.{each.key}" if each.scope else each.key
    value = _shown(each)
    # One long PATH must not push the sources of all other values off the screen; --json has it whole.
    return name, value if len(value) <= WIDEST else f"{value[: WIDEST - 2]} …", each.source


def _shown(each: Explained) -> str:
    value = each.value
    if each.key.startswith("env "):
        return mask_value(each.key.removeprefix("env "), str(value))
    if isinstance(value, ProbeSpec):
        return describe(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return mask(f"{value:g}" if isinstance(value, float) else str(value))


def _document(project: Project, seen: Outlook, explained: list[Explained] | None) -> dict[str, object]:
    services = [
        {
            "name": each.name,
            "kind": each.kind,
            "role": each.role,
            "command": mask(each.command),
            "instances": each.instances,
            "needs": _needs(project, seen, each),
            "probe": {"how": each.probe.how, **_plain(each.probe.options)},
            "ready_within": each.ready_within,
            "grace": each.grace,
            "stop_signal": each.stop_signal,
            "oneshot": each.oneshot,
            "watch": list(each.watch),
            "where": each.where,
            "port": launch.port,
            "cwd": launch.cwd,
            "url": launch.url,
        }
        for each in project.services
        for launch in [each.launch(1)]
    ]
    document: dict[str, object] = {
        "directory": str(project.directory),
        "procfile": str(project.procfile) if project.procfile else None,
        "venv": str(project.venv.path) if project.venv else None,
        "state": str(project.state_dir),
        "services": services,
        "broker": {
            "url": mask(seen.broker.url) or None,
            "source": seen.broker.source,
            "origin": seen.origin,
            "result_backend": mask(seen.backend) or None,
            "result_backend_source": seen.backend_source,
        }
        if seen.broker
        else None,
        "redis": {"adds": seen.adds or None, "ours": seen.ours, "says": [mask(each) for each in seen.redis]},
        "notes": [mask(note) for note in [*project.notes, *seen.notes]],
        "errors": [
            {"what": mask(each.what), "why": mask(each.why), "try": mask(each.fix), "where": each.where}
            for each in seen.errors
        ],
    }
    if explained is not None:
        document["explained"] = [
            {"scope": each.scope, "key": each.key, "value": _shown(each), "source": each.source} for each in explained
        ]
    return document


def _plain(options: Any) -> dict[str, object]:
    return {key: mask(value) if isinstance(value, str) else value for key, value in options.items()}
