"""`devstack check`: reads the Procfile, .env and settings, and says what they mean. Starts nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from devstack.cli.options import options, project_options
from devstack.cli.provide import wants_redis
from devstack.config.explain import Explained
from devstack.config.interpreter import which
from devstack.config.load import Project, load
from devstack.core.model import ProbeSpec, Service
from devstack.core.secrets import mask, mask_value

WIDEST = 72


@click.command()
@project_options
@click.option("--explain", is_flag=True, help="Every value with the place it comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(explain: bool, as_json: bool, **shared: Any) -> None:
    """Read the Procfile, .env and settings, and say what they mean. Starts nothing."""
    project = load(options(**shared))
    if as_json:
        click.echo(json.dumps(_document(project, explain), indent=2, ensure_ascii=False))
        return
    called = project.procfile.name if project.procfile else "the settings"
    click.echo(f"ok: {called} has {', '.join(service.name for service in project.services)}")
    click.echo()
    rows = [("NAME", "KIND", "READY WHEN", "NEEDS", "COMMAND")]
    rows += [
        (_counted(each), each.kind, _probe(each), ", ".join(_needs(project, each)) or "-", mask(each.command))
        for each in project.services
    ]
    _table(rows)
    if explain:
        click.echo()
        _table([("VALUE", "IS", "FROM"), *(_explained(each) for each in project.explained)])
    for note in [*project.notes, *_not_found(project)]:
        click.echo(f"note: {note}", err=True)


def _not_found(project: Project) -> list[str]:
    """What `up` would stumble over at once: programs that are not there. A line for a shell is not looked into."""
    launches = [(service, service.launch(1)) for service in project.services]
    return [
        f"{service.name}: {launch.argv[0]} is not found ({service.where})"
        for service, launch in launches
        if launch.argv and not launch.shell and which(launch.argv[0], launch.env, launch.cwd) is None
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]).rstrip())


def _counted(service: Service) -> str:
    return service.name if service.instances == 1 else f"{service.name} ×{service.instances}"


def _needs(project: Project, service: Service) -> list[str]:
    """With the Redis that `up` finds or starts, where no line of the Procfile is one."""
    waits = service.name in project.waits_for_redis and "redis" not in service.needs
    found = ["redis"] if waits and wants_redis(project) else []
    return [*found, *service.needs]


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


def _document(project: Project, explain: bool) -> dict[str, object]:
    services = [
        {
            "name": each.name,
            "kind": each.kind,
            "role": each.role,
            "command": mask(each.command),
            "instances": each.instances,
            "needs": _needs(project, each),
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
        "notes": [mask(note) for note in project.notes],
    }
    if explain:
        document["explained"] = [
            {"scope": each.scope, "key": each.key, "value": _shown(each), "source": each.source}
            for each in project.explained
        ]
    return document


def _plain(options: Any) -> dict[str, object]:
    return {key: mask(value) if isinstance(value, str) else value for key, value in options.items()}
